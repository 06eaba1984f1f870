"""Reading what agents answer: tolerant of form, never of nonsense."""

import json
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.agents import answers
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.auth import NONE, Credentials
from orchestrator.agents.exchange import Answer
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Outcome

PARTS = [{"data": {"a": 1}}]


def _answer(body: Any, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Answer(status, named, raw)


def _read(result: Any) -> Message | Task:
    body = {"jsonrpc": "2.0", "id": "1", "result": result}
    return answers.read(_answer(body), "1", NONE)


def _fault(body: Any, status: int = 200, **headers: str) -> Fault:
    with pytest.raises(Fault) as caught:
        answers.read(_answer(body, status, **headers), "1", NONE)
    return caught.value


@pytest.mark.parametrize(
    "result",
    [
        {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": PARTS}},
        {"kind": "message", "messageId": "m", "role": "agent", "parts": PARTS},
        {"parts": PARTS},
        {"task": None, "message": {"parts": PARTS}},
    ],
)
def test_a_message_is_read_in_every_form(result: Any) -> None:
    read = _read(result)

    assert isinstance(read, Message)
    assert read.body["parts"] == PARTS


@pytest.mark.parametrize(
    "state", ["TASK_STATE_INPUT_REQUIRED", "input-required", "INPUT_REQUIRED", "input_required"]
)
@pytest.mark.parametrize("wrap", [True, False])
def test_a_task_is_read_in_every_form(state: str, *, wrap: bool) -> None:
    task = {"id": "t", "contextId": "c", "status": {"state": state}, "future": 1}

    read = _read({"task": task} if wrap else {"kind": "task", **task})

    assert isinstance(read, Task)
    assert (read.id, read.context_id, read.state) == ("t", "c", "input-required")


@pytest.mark.parametrize(
    ("state", "read_as"),
    [
        ("TASK_STATE_CANCELLED", "canceled"),
        ("cancelled", "canceled"),
        (None, "unknown"),
        (7, "unknown"),
        ("TASK_STATE_BRAND_NEW", "brand-new"),
    ],
)
def test_odd_states_are_read(state: Any, read_as: str) -> None:
    read = _read({"id": "t", "status": {"state": state}})

    assert isinstance(read, Task)
    assert read.state == read_as


@pytest.mark.parametrize(
    "result",
    [None, [], "text", 3, {}, {"message": {}}, {"message": {"parts": 1}}, {"task": {"id": "t"}}],
)
def test_a_result_that_is_nothing_known_is_a_fault(result: Any) -> None:
    fault = _fault({"jsonrpc": "2.0", "id": "1", "result": result})

    assert fault.outcome is Outcome.FINAL


def test_an_error_beats_a_result() -> None:
    fault = _fault({"id": "1", "result": {"parts": []}, "error": {"code": -32602, "message": "no"}})

    assert fault.said == "answered with error -32602: no"


def test_another_id_is_only_warned_of() -> None:
    body = {"jsonrpc": "2.0", "id": 77, "result": {"parts": PARTS}}

    assert isinstance(answers.read(_answer(body), "1", NONE), Message)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (-32700, Outcome.FINAL),
        (-32600, Outcome.FINAL),
        (-32601, Outcome.FINAL),
        (-32602, Outcome.FINAL),
        (-32603, Outcome.TRANSIENT),
        (-32603.0, Outcome.TRANSIENT),
        (-32000, Outcome.TRANSIENT),
        (-32001, Outcome.FINAL),
        (-32002, Outcome.FINAL),
        (-32005, Outcome.FINAL),
        (-32006, Outcome.TRANSIENT),
        (-32009, Outcome.FINAL),
        (-32010, Outcome.TRANSIENT),
        (-32099, Outcome.TRANSIENT),
        (-32100, Outcome.FINAL),
        (1, Outcome.FINAL),
        ("odd", Outcome.FINAL),
        (True, Outcome.FINAL),
        (None, Outcome.FINAL),
    ],
)
def test_a_json_rpc_error_says_by_its_code_whether_it_may_pass(code: Any, outcome: Outcome) -> None:
    assert _fault({"id": "1", "error": {"code": code, "message": "m"}}).outcome is outcome


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (400, -32603, Outcome.FINAL),
        (401, -32000, Outcome.FINAL),
        (429, -32602, Outcome.TRANSIENT),
        (500, -32602, Outcome.FINAL),
        (500, -32603, Outcome.TRANSIENT),
        (503, None, Outcome.TRANSIENT),
    ],
)
def test_status_and_code_together(status: int, code: int | None, outcome: Outcome) -> None:
    fault = _fault({"id": "1", "error": {"code": code, "message": "m"}}, status)

    assert fault.outcome is outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "final") for status in (400, 401, 403, 404, 405, 418, 499)),
        *((status, "transient") for status in (408, 425, 429, 500, 501, 502, 503, 504, 599)),
    ],
)
@pytest.mark.parametrize("body", [b"<html>", b"", b"{}", b'{"detail": "x"}'])
def test_an_http_status_says_whether_it_may_pass(status: int, outcome: str, body: bytes) -> None:
    fault = _fault(body, status)

    assert fault.outcome == outcome
    assert fault.said.startswith(f"answered HTTP {status}")


def test_a_redirect_is_named_and_not_followed() -> None:
    fault = _fault(b"", 307, Location="https://other/")

    assert "a redirect to https://other/; redirects are not followed" in fault.said
    assert fault.outcome is Outcome.FINAL


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "an empty body"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"id": "1", "result": NaN}', "not JSON"),
        (b'{"id": "1", "result": {"parts": [{"text": "\\ud800"}]}}', "not JSON"),
        (b'{"id": "1", "result": {"parts": [{"text": "\\u0000"}]}}', "NUL"),
        (b'{"id": "1", "result": {"parts": [{"data": 1e999}]}}', "not JSON"),
        (b'{"id": "1", "result": ' + b"[" * 100_000, "not JSON"),
        (b"[]", "neither a result nor an error"),
        (b"{}", "neither a result nor an error"),
        (b'{"id": "1", "error": null}', "neither a result nor an error"),
    ],
)
def test_nonsense_with_status_200_is_final(body: bytes, said: str) -> None:
    fault = _fault(body)

    assert said in fault.said
    assert fault.outcome is Outcome.FINAL


def test_an_answer_of_another_kind_is_named() -> None:
    fault = _fault(b"data: {}\n\n", Content_Type="text/event-stream; charset=utf-8")

    assert fault.said == "answered text/event-stream, which is not JSON"


def test_an_html_error_page_is_not_quoted() -> None:
    assert _fault(b"<h1>", 502, Content_Type="text/html").said == "answered HTTP 502"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "1.5"}, 1.5),
        ({"Retry_After": "99999999999999999999"}, 86_400),
        ({"Retry_After": "inf"}, 86_400),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After": "-1"}, None),
        ({"Retry_After": "soon"}, None),
        (
            {
                "Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30,
        ),
        ({"Retry_After": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    fault = _fault(b"", 429, **headers)

    assert fault.retry_after == (None if seconds is None else timedelta(seconds=seconds))


def test_a_secret_that_an_agent_echoes_does_not_reach_the_output() -> None:
    credentials = Credentials({"Authorization": "Bearer s3cret-token"}, ("s3cret-token",))
    body = {"id": "1", "result": {"parts": [{"data": {"s3cret-token": ["Bearer s3cret-token"]}}]}}

    read = answers.read(_answer(body), "1", credentials)

    assert read.body["parts"] == [{"data": {"***": ["Bearer ***"]}}]
