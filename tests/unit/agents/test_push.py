"""Which pushes are believed, and which tasks they are about."""

from typing import Any

import pytest

from orchestrator.agents.push import PATH, Push, task_ids
from orchestrator.domain.agent import Call

CALL = Call("run-1", "step", 1, "run-1.step.1", "{}", "run-1")
STATUS = {"state": "working"}


def test_each_attempt_has_an_address_and_a_secret_of_its_own() -> None:
    push = Push("https://me/base/")
    one, other = push.target(CALL), push.target(CALL)

    assert one.url.startswith(f"https://me/base{PATH}/")
    assert one.url != other.url
    assert one.secret != other.secret
    name = one.url.rpartition("/")[2]
    assert push.accepts(name, one.secret, None)
    assert push.accepts(name, None, f"Bearer {one.secret}")
    assert push.accepts(name, "wrong", f"bearer  {one.secret}")
    assert push.accepts(name, one.secret, "Bearer wrong")


@pytest.mark.parametrize(
    ("token", "authorization"),
    [(None, None), ("", ""), ("x", "Bearer x"), ("ä", "Bearer ä"), (None, "Bearer")],
)
def test_without_the_secret_nothing_is_believed(
    token: str | None, authorization: str | None
) -> None:
    push = Push("https://me")
    one, other = push.target(CALL), push.target(CALL)
    name = one.url.rpartition("/")[2]

    assert not push.accepts(name, token, authorization)
    assert not push.accepts(name, other.secret, f"Bearer {other.secret}")
    assert not Push("https://me").accepts(name, one.secret, None)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "task", "id": "t", "status": STATUS},
        {"task": {"id": "t", "status": STATUS}},
        {"statusUpdate": {"taskId": "t", "status": STATUS}},
        {"artifactUpdate": {"taskId": "t", "artifact": {}}},
        {"message": {"messageId": "m", "taskId": "t"}},
        {"kind": "status-update", "taskId": "t", "status": STATUS},
        {"jsonrpc": "2.0", "result": {"id": "t", "status": STATUS}},
    ],
)
def test_the_task_is_found_in_every_form(body: Any) -> None:
    assert list(task_ids(body)) == ["t"]


@pytest.mark.parametrize(
    "body", [None, [], "t", {}, {"task": {"id": 7, "status": {}}}, {"id": "t"}]
)
def test_nonsense_is_about_no_task(body: Any) -> None:
    assert list(task_ids(body)) == []
