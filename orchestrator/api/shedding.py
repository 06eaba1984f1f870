"""Refuses executes beyond the limit before anything else is done for them.

A flood must cost those who are let in as little as can be: routing, middleware and reading the body
are half of what a refusal would take.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp import web

from orchestrator.api import problems
from orchestrator.api.deps import Deps
from orchestrator.api.middleware import protect, request_id_of
from orchestrator.api.throttle import REFUSAL

_Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_EXECUTE = re.compile(r"/api/v1/workflows/[^/]+/execute")
_ROUTE = "/api/v1/workflows/{workflow_id}/execute"


def shedding(handler: _Handler, deps: Deps) -> _Handler:
    """Return a handler that refuses what `handler` would only refuse later."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if (
            request.method == "POST"
            and deps.throttle.is_full()
            and _EXECUTE.fullmatch(request.path)
        ):
            return _refused(request, deps)
        return await handler(request)

    return handle


def _refused(request: web.BaseRequest, deps: Deps) -> web.Response:
    request_id = request_id_of(request)
    answer = problems.problem(request, request_id, 429, REFUSAL)
    answer.headers["X-Request-ID"] = request_id
    protect(answer)
    deps.metrics.request("POST", _ROUTE, 429, 0.0)
    return answer
