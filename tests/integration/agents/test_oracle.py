"""What we send, judged by the official SDKs in their own environments."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from orchestrator.agents import rest, v03, v1
from orchestrator.agents.dialect import Form, PushTarget, Wire
from orchestrator.domain.agent import Call, InputAs
from tests.agents_under_test import launch
from tests.integration.agents.conftest import call_with

pytestmark = pytest.mark.integration

PUSH = PushTarget("https://me/push", "s3cret")
FORMS = [
    Form(),
    Form(input_as=InputAs.TEXT),
    Form(input_as=InputAs.BOTH, wait=True, push=PUSH),
    Form(with_context=False),
]
# Objects only: a step's input always is one, and 0.3's data parts must be.
CALLS: list[Call] = [
    call_with({}),
    call_with({"cmd": "echo", "n": [1, 2.5, None, True, {"deep": "ä\n\u2028😀"}]}, attempt=11),
    call_with({"empty": ""}, step='schritt "ä" ' + "x" * 200),
    replace(call_with({"an": "answer"}), task_id="t", text="in words"),
    replace(call_with({}), task_id="t", text="in words only", input=None),
    call_with({"a": 1}, prompt="Look at this:", skill="count", context_id=None),
    call_with({"a": 1}, text="blue", task_id="t"),
]


def _body(wire: Wire | None) -> bytes:
    assert wire is not None
    assert wire.body is not None
    return wire.body


def _verdicts(python: Path, script: str, bodies: list[bytes]) -> list[str | None]:
    judged = subprocess.run(
        [python, launch.HERE / script],
        input=b"[" + b",".join(bodies) + b"]",
        capture_output=True,
        check=True,
        timeout=60,
    )
    verdicts: list[str | None] = json.loads(judged.stdout)
    return verdicts


@pytest.mark.parametrize(
    ("dialect", "python", "script", "forms"),
    [
        (v1, launch.SDK1, "oracle1.py", [*FORMS, Form(tenant="blue")]),
        (v03, launch.SDK03, "oracle03.py", FORMS),
    ],
    ids=["1.0", "0.3"],
)
def test_the_sdks_find_nothing_wrong_with_our_requests(
    dialect: ModuleType, python: Path, script: str, forms: list[Form]
) -> None:
    bodies = [_body(dialect.send(call, form)) for call in CALLS for form in forms]
    bodies += [_body(dialect.stream(call, form)) for call in CALLS for form in forms]
    for ask in (dialect.get, dialect.cancel, dialect.subscribe):
        bodies += [_body(ask("t", form)) for form in forms]
    if dialect is v1:
        bodies += [_body(v1.find("c", form)) for form in forms]

    assert _verdicts(python, script, bodies) == [None] * len(bodies)


def test_the_sdk_finds_nothing_wrong_with_a_body_of_http_json() -> None:
    bodies = [
        b'{"method":"SendMessage","params":%b}' % _body(rest.send(call, form))
        for call in CALLS
        for form in [*FORMS, Form(tenant="blue")]
    ]

    assert _verdicts(launch.SDK1, "oracle1.py", bodies) == [None] * len(bodies)


def test_the_oracles_find_what_is_wrong() -> None:
    wrong_for_1 = _body(v03.send(CALLS[1], Form())).replace(b"message/send", b"SendMessage")
    wrong_for_03 = _body(v1.send(CALLS[1], Form())).replace(b"SendMessage", b"message/send")

    assert _verdicts(launch.SDK1, "oracle1.py", [wrong_for_1]) != [None]
    assert _verdicts(launch.SDK03, "oracle03.py", [wrong_for_03]) != [None]
