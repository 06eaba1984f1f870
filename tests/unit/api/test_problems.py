"""The envelope, and that every expected error has a status."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from orchestrator.api import problems
from orchestrator.domain import errors, reference
from orchestrator.domain.errors import Fault, Malformed, OrchestratorError

FIELDS = {"error", "detail", "status_code", "timestamp", "path", "request_id"}
REQUEST = make_mocked_request("GET", "/api/v1/agents")


def body(answer: web.Response) -> dict[str, Any]:
    assert isinstance(answer.body, bytes)
    value = json.loads(answer.body)
    assert isinstance(value, dict)
    return value


def subclasses(kind: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_every_expected_error_has_a_status() -> None:
    for kind in OrchestratorError.__subclasses__():
        assert kind in problems.STATUS, kind


def test_an_error_below_another_has_the_status_of_that_one() -> None:
    assert problems.status_of(reference.MalformedReference) == 400
    for kind in subclasses(OrchestratorError):
        assert problems.status_of(kind) in {400, 404, 422, 429, 500, 503}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Refused("no"), 400),
        (errors.NotFound("no"), 404),
        (errors.Overloaded("no"), 429),
        (errors.Unavailable("no"), 503),
    ],
)
def test_an_expected_error_says_its_sentence(error: OrchestratorError, status: int) -> None:
    answer = problems.of_error(REQUEST, "req-1", error)

    said = body(answer)
    assert answer.status == said["status_code"] == status
    assert set(said) == FIELDS
    assert said["detail"] == "no"
    assert said["path"] == "/api/v1/agents"
    assert said["request_id"] == "req-1"
    assert ("Retry-After" in answer.headers) is (status in {429, 503})


@pytest.mark.parametrize("kind", [errors.Fenced, errors.Stale, errors.Poisoned])
def test_what_should_never_leave_says_nothing(kind: type[OrchestratorError]) -> None:
    answer = problems.of_error(REQUEST, "req-1", kind("select * from secret"))

    assert answer.status == 500
    assert body(answer)["detail"] == "An unexpected error occurred"


def test_wrong_fields_are_listed_twice() -> None:
    fault = Fault(("body", "retry_config", "max_retries"), "int_type", "Input should be …", "x")
    answer = problems.of_error(REQUEST, "req-1", Malformed(fault))

    said = body(answer)
    assert set(said) == FIELDS | {"errors"}
    assert said["detail"] == [
        {
            "type": "int_type",
            "loc": ["body", "retry_config", "max_retries"],
            "msg": "Input should be …",
            "input": "x",
        }
    ]
    assert said["errors"] == [
        {"field": "retry_config.max_retries", "message": "Input should be …", "type": "int_type"}
    ]
    assert said["error"] == "Unprocessable Entity"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(("body", "auth_config", "token"), "string_type", "m", {"s": "hunter2"}),
        Fault(("body", "auth_config"), "dict_type", "m", "hunter2"),
        Fault(("body",), "dict_type", "m", [{"auth_config": {"token": "hunter2"}}]),
        Fault(("body",), "dict_type", "m", [{"auth_config": "hunter2"}]),
    ],
)
def test_a_secret_is_not_echoed(fault: Fault) -> None:
    answer = problems.of_faults(REQUEST, "req-1", [fault])

    assert isinstance(answer.body, bytes)
    assert b"hunter2" not in answer.body


def test_a_million_wrong_fields_get_a_short_answer() -> None:
    answer = problems.of_faults(REQUEST, "r", [Fault(("body", n), "t", "m") for n in range(1000)])

    assert len(body(answer)["errors"]) == 100


@pytest.mark.parametrize(
    ("value", "written"),
    [("\udcff", '"\ufffd"'), (float("nan"), "null"), ({"a": ["\ud800", 2**70]}, None)],
)
def test_what_came_in_and_cannot_go_out_is_replaced(value: object, written: str | None) -> None:
    text = problems.dump(value).decode()

    assert text == (written or '{"a":["\ufffd",1180591620717411303424]}')


def test_a_wrong_method_names_the_right_ones() -> None:
    error = web.HTTPMethodNotAllowed("PATCH", {"GET", "POST"})
    answer = problems.of_http(REQUEST, "r", error)

    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, OPTIONS, POST"
