"""Reads what agents answer: the envelope, if any, then a Message or a Task of any version.

Tolerant on purpose, as agents differ: unknown fields are ignored, results may be wrapped or bare,
with `kind` or without, states upper or lower case.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from orchestrator import json_text
from orchestrator.agents import failures
from orchestrator.agents.auth import Credentials
from orchestrator.agents.exchange import Answer
from orchestrator.agents.failures import malformed
from orchestrator.domain.record import record

log = structlog.get_logger(__name__)

TERMINAL = frozenset({"completed", "failed", "canceled", "rejected"})
INTERRUPTED = frozenset({"input-required", "auth-required"})

_STATE_PREFIX = "TASK_STATE_"
_NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


@record
class Message:
    """The agent answered at once."""

    body: Mapping[str, Any]


@record
class Task:
    """The agent's work and how it stands; `state` is lower case with hyphens, or any new name."""

    id: str | None
    context_id: str | None
    state: str
    body: Mapping[str, Any]


def read(answer: Answer, request_id: str | None, credentials: Credentials) -> Message | Task:
    """Return what the agent answered; raise `Fault` for an error or for nonsense.

    `request_id` is that of the JSON-RPC request; None: the answer comes without an envelope.
    """
    return understood(result(answer, request_id, credentials))


def result(answer: Answer, request_id: str | None, credentials: Credentials) -> dict[str, Any]:
    """Return the answer's result as an object; raise `Fault` for an error or for nonsense."""
    return _object(credentials.scrub_value(_result(answer, request_id), answer.body))


def event(data: bytes, request_id: str | None, credentials: Credentials) -> dict[str, Any]:
    """Return one event of a stream, like `result`."""
    try:
        value = json_text.loads(data)
    except ValueError as why:
        raise malformed(f"sent an event that is not JSON: {why}") from None
    members = value if isinstance(value, dict) else {}
    if isinstance(error := members.get("error"), dict):
        raise failures.of_error(error, 200, _NO_HEADERS)
    if request_id is not None and "result" in members:
        value = members["result"]
    return _object(credentials.scrub_value(value, data))


def understood(value: dict[str, Any]) -> Message | Task:
    """Return the message or the task that a result is."""
    for name, kind in (("task", task_of), ("message", _message)):
        if isinstance(wrapped := value.get(name), dict):
            return kind(wrapped)
    if isinstance(value.get("status"), dict):
        return task_of(value)
    if "parts" in value:
        return _message(value)
    raise malformed("answered a result that is neither a message nor a task")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise malformed("answered a result that is no object")
    return value


def _result(answer: Answer, request_id: str | None) -> Any:
    succeeded = answer.status in failures.SUCCESS
    if answer.status in failures.REDIRECT:
        raise failures.of_status(answer.status, answer.headers, "")
    try:
        body = json_text.loads(answer.body)
    except ValueError as why:
        if succeeded:
            raise malformed(_not_json(answer, why)) from None
        raise failures.of_status(answer.status, answer.headers, _excerpt(answer)) from None
    members = body if isinstance(body, dict) else {}
    if isinstance(error := members.get("error"), dict):
        raise failures.of_error(error, answer.status, answer.headers)
    if not succeeded:
        raise failures.of_status(answer.status, answer.headers, _excerpt(answer))
    if request_id is None:
        return body
    if "result" not in members:
        raise malformed("answered JSON that holds neither a result nor an error")
    if members.get("id") != request_id:
        log.warning("answer_id_differs", asked=request_id, answered=repr(members.get("id"))[:100])
    return members["result"]


def _not_json(answer: Answer, why: ValueError) -> str:
    if not answer.body.strip():
        return f"answered HTTP {answer.status} with an empty body"
    kind = answer.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip()
    if kind and kind not in ("application/json", "application/a2a+json"):
        return f"answered {kind}, which is not JSON"
    return f"answered something that is not JSON: {why}"


def _excerpt(answer: Answer) -> str:
    """Return what an error's body says, if it is for people."""
    kind = answer.headers.get(hdrs.CONTENT_TYPE, "")
    return "" if "html" in kind else answer.body.decode("utf-8", "replace").strip()


def _message(body: dict[str, Any]) -> Message:
    if not isinstance(body.get("parts"), list):
        raise malformed("answered a message without parts")
    return Message(body)


def task_of(body: Mapping[str, Any]) -> Task:
    """Read a task; raise `Fault` for one without a status."""
    status = body.get("status")
    if not isinstance(status, dict):
        raise malformed("answered a task without a status")
    return Task(
        name(body.get("id")), name(body.get("contextId")), _state(status.get("state")), body
    )


def name(value: Any) -> str | None:
    """Return an id as it may be used; None for what is none."""
    return value if isinstance(value, str) and value else None


def _state(value: Any) -> str:
    if not isinstance(value, str):
        return "unknown"
    state = value.removeprefix(_STATE_PREFIX).lower().replace("_", "-")
    return "canceled" if state == "cancelled" else state
