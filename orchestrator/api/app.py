"""The application: every operation and page behind one middleware."""

import time

from aiohttp import web

from orchestrator.api import pages
from orchestrator.api.admission import Admission
from orchestrator.api.deps import DEPS, Deps
from orchestrator.api.executions import ADMISSION
from orchestrator.api.middleware import around
from orchestrator.api.routes import OPERATIONS


def make_app(deps: Deps) -> web.Application:
    """Build the web application; `server.runner` runs it."""
    app = web.Application(middlewares=[around], client_max_size=deps.max_body_bytes)
    app[DEPS] = deps
    app[ADMISSION] = Admission(deps.pool, deps.definitions)
    for operation in OPERATIONS:
        # Any text is an id here: what is none gets its own answer, not that of an unknown path.
        path = operation.path.replace("}", ":[^/]+}")
        app.router.add_route(operation.method, path, operation.handler, expect_handler=_expect)
        if operation.method == "GET":
            app.router.add_route("HEAD", path, operation.handler)
    pages.add_routes(app)
    deps.metrics.watch(deps.metrics.uptime, lambda: time.monotonic() - deps.started)
    return app


async def _expect(request: web.Request) -> None:
    """Let a client that asks first go on; an expectation nobody knows is ignored."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
