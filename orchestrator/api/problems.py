"""The one envelope of every error, and which expected error has which status."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from aiohttp import web

from orchestrator import json_text
from orchestrator.api.render import JSON, utc
from orchestrator.domain import errors
from orchestrator.domain.errors import Fault, Malformed, OrchestratorError

CRASHED = 500
UNEXPECTED = "An unexpected error occurred"
RETRY_AFTER = "1"  # seconds; for 429 and 503
_MAX_FAULTS = 100  # a body of a million wrong fields gets no answer many times its size
_SECRET = "auth_config"  # noqa: S105 - the field that never comes out, not a secret

# The last ones never leave the program; were one to, it would be a fault of ours.
STATUS: Mapping[type[OrchestratorError], int] = {
    errors.Malformed: 422,
    errors.Refused: 400,
    errors.NotFound: 404,
    errors.Overloaded: 429,
    errors.Unavailable: 503,
    errors.MissingReference: CRASHED,
    errors.Fenced: CRASHED,
    errors.Stale: CRASHED,
    errors.Poisoned: CRASHED,
    errors.CallFailed: CRASHED,
    errors.Misconfigured: CRASHED,
}

# Where Python's versions differ in the phrase.
_TITLES = {413: "Content Too Large", 422: "Unprocessable Entity"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def of_error(request: web.BaseRequest, request_id: str, error: OrchestratorError) -> web.Response:
    """Answer an expected error; one that should never leave says nothing of itself."""
    if isinstance(error, Malformed):
        return of_faults(request, request_id, error.faults)
    status = status_of(type(error))
    detail = UNEXPECTED if status == CRASHED else error.message
    return problem(request, request_id, status, detail)


def status_of(kind: type[OrchestratorError]) -> int:
    """Return the status of a kind of error: its own, or that of the nearest kind above it."""
    return next((STATUS[above] for above in kind.__mro__ if above in STATUS), CRASHED)


def of_faults(request: web.BaseRequest, request_id: str, faults: Sequence[Fault]) -> web.Response:
    """Answer 422 with one entry for each wrong field."""
    shown = faults[:_MAX_FAULTS]
    detail = [
        {"type": f.type, "loc": list(f.loc), "msg": f.msg, "input": _shown_input(f)} for f in shown
    ]
    summary = [{"field": field(f), "message": f.msg, "type": f.type} for f in shown]
    return problem(request, request_id, 422, detail, errors=summary)


def of_http(request: web.BaseRequest, request_id: str, error: web.HTTPException) -> web.Response:
    """Answer what aiohttp itself refuses: unknown paths, wrong methods, bodies too large."""
    answer = problem(request, request_id, error.status, _sentence(request, error))
    if isinstance(error, web.HTTPMethodNotAllowed):
        answer.headers["Allow"] = allow(error)
    return answer


def problem(
    request: web.BaseRequest, request_id: str, status: int, detail: Any, **more: Any
) -> web.Response:
    """Make an answer in the envelope; `more` are further fields of it."""
    answer = web.Response(
        status=status,
        body=dump(envelope(request.path, request_id, status, detail) | more),
        content_type=JSON,
    )
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        answer.headers["Retry-After"] = RETRY_AFTER
    return answer


def envelope(path: str, request_id: str, status: int, detail: Any) -> dict[str, Any]:
    """Return the fields that every error has."""
    return {
        "error": title(status),
        "detail": detail,
        "status_code": status,
        "timestamp": utc(datetime.now(UTC)),
        "path": path,
        "request_id": request_id,
    }


def title(status: int) -> str:
    """Return the name of a status, the same with every version of Python."""
    return _TITLES.get(status) or HTTPStatus(status).phrase


def field(fault: Fault) -> str:
    """Name a fault's field without the part of the request that it stands in."""
    return ".".join(map(str, fault.loc[1:])) or str(fault.loc[0])


def allow(error: web.HTTPMethodNotAllowed) -> str:
    """List what a path takes; OPTIONS is answered everywhere."""
    return ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))


def dump(value: Any) -> bytes:
    """Write JSON, also where a client's broken bytes are echoed."""
    try:
        return json_text.dump_bytes(value)
    except (TypeError, ValueError):
        return json_text.dump_bytes(_writable(value))


def _shown_input(fault: Fault) -> Any:
    """Return the refused input, without an agent's secret."""
    if fault.type == "missing":
        return {}  # as in the guide's example: not all that stands around the missing field
    return None if _SECRET in fault.loc else _redacted(fault.input)


def _redacted(value: Any) -> Any:
    match value:
        case dict():
            return {k: None if k == _SECRET else _redacted(v) for k, v in value.items()}
        case list():
            return [_redacted(item) for item in value]
        case _:
            return value


def _writable(value: Any) -> Any:
    """Replace what came in but cannot go out: undecodable bytes of a path, NaN."""
    match value:
        case str():
            return _SURROGATE.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {_writable(key): _writable(item) for key, item in value.items()}
        case list():
            return [_writable(item) for item in value]
        case _:
            return value


def _sentence(request: web.BaseRequest, error: web.HTTPException) -> str:
    match error:
        case web.HTTPNotFound():
            return f"Path '{request.path}' not found"
        case web.HTTPMethodNotAllowed():
            return f"Method {error.method} is not allowed for this path"
        case web.HTTPRequestEntityTooLarge():
            return "Request body is too large"
        case _:
            return title(error.status)
