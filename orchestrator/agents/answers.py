"""Reads what agents answer: the JSON-RPC envelope, then a Message or a Task of any version.

Tolerant on purpose, as agents differ: unknown fields are ignored, results may be wrapped or bare,
with `kind` or without, states upper or lower case.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import hdrs

from orchestrator import json_text
from orchestrator.agents import failures
from orchestrator.agents.auth import Credentials
from orchestrator.agents.exchange import Answer
from orchestrator.agents.failures import malformed

log = structlog.get_logger(__name__)

TERMINAL = frozenset({"completed", "failed", "canceled", "rejected"})
INTERRUPTED = frozenset({"input-required", "auth-required"})

_STATE_PREFIX = "TASK_STATE_"


@dataclass(frozen=True, slots=True)
class Message:
    """The agent answered at once."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """The agent's work and how it stands; `state` is lower case with hyphens, or any new name."""

    id: str | None
    context_id: str | None
    state: str
    body: Mapping[str, Any]


def read(answer: Answer, request_id: str, credentials: Credentials) -> Message | Task:
    """Return what the agent answered; raise `Fault` for an error or for nonsense."""
    result = credentials.scrub_value(_result(answer, request_id), answer.body)
    if not isinstance(result, dict):
        raise malformed("answered a result that is no object")
    for name, kind in (("task", _task), ("message", _message)):
        if isinstance(wrapped := result.get(name), dict):
            return kind(wrapped)
    if isinstance(result.get("status"), dict):
        return _task(result)
    if "parts" in result:
        return _message(result)
    raise malformed("answered a result that is neither a message nor a task")


def _result(answer: Answer, request_id: str) -> Any:
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


def _task(body: dict[str, Any]) -> Task:
    status = body.get("status")
    if not isinstance(status, dict):
        raise malformed("answered a task without a status")
    return Task(
        _name(body.get("id")), _name(body.get("contextId")), _state(status.get("state")), body
    )


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _state(value: Any) -> str:
    if not isinstance(value, str):
        return "unknown"
    state = value.removeprefix(_STATE_PREFIX).lower().replace("_", "-")
    return "canceled" if state == "cancelled" else state
