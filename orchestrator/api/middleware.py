"""Around every request: its id, its errors in the envelope, its count, and the safe headers."""

import random
import re
import time

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from structlog.contextvars import bind_contextvars, clear_contextvars

from orchestrator.api import problems
from orchestrator.api.deps import DEPS
from orchestrator.domain.errors import OrchestratorError

log = structlog.get_logger(__name__)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("REQUEST_ID", str)

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# What a browser may do with an answer; the pages of the documentation set their own policy.
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"})


@web.middleware
async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request; nothing it raises leaves but as the documented envelope."""
    began = time.monotonic()
    request_id = request_id_of(request)
    request[REQUEST_ID] = request_id
    clear_contextvars()  # a connection's requests share one context
    bind_contextvars(request_id=request_id)
    try:
        answer = await handler(request)
    except OrchestratorError as error:
        answer = problems.of_error(request, request_id, error)
        if answer.status == problems.CRASHED:
            log.exception("request_crashed", method=request.method, path=request.path)
    except web.HTTPException as error:
        answer = _preflight(request, error) or problems.of_http(request, request_id, error)
    except (web.RequestPayloadError, HttpProcessingError):
        sentence = "Request body could not be read"
        answer = problems.problem(request, request_id, 400, sentence)
        answer.force_close()
        request.content.feed_eof()  # or aiohttp reads on, and logs its failure as a crash of ours
    except Exception:
        log.exception("request_crashed", method=request.method, path=request.path)
        answer = problems.problem(request, request_id, problems.CRASHED, problems.UNEXPECTED)
    answer.headers["X-Request-ID"] = request_id
    protect(answer)
    _count(request, answer.status, time.monotonic() - began)
    return answer


def request_id_of(request: web.BaseRequest) -> str:
    """Return the client's own request id if it is sane, else a new one."""
    given = request.headers.get("X-Request-ID")
    if given is not None and _SANE.fullmatch(given):
        return given
    raw = f"{random.getrandbits(128):032x}"
    return f"req-{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


def protect(answer: web.StreamResponse) -> None:
    """Tell browsers not to guess the type, not to frame, and not to pass addresses on."""
    headers = answer.headers
    headers["Server"] = "orchestrator"  # not which versions of what are to be attacked
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("Cache-Control", "no-store")


def _preflight(request: web.Request, error: web.HTTPException) -> web.Response | None:
    """Answer OPTIONS on a known path with what it takes; no other origin is allowed anything."""
    if request.method != "OPTIONS" or not isinstance(error, web.HTTPMethodNotAllowed):
        return None
    return web.Response(status=204, headers={"Allow": problems.allow(error)})


def _count(request: web.Request, status: int, seconds: float) -> None:
    # Labels are bounded: the route's pattern, and no method of a client's invention.
    resource = request.match_info.route.resource
    route = "unmatched" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    request.app[DEPS].metrics.request(method, route, status, seconds)
    log.debug("request_answered", method=method, route=route, status=status, seconds=seconds)
