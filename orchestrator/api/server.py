"""Serves the application so that also what aiohttp refuses before any route gets the envelope."""

from typing import cast

import structlog
from aiohttp import web

from orchestrator.api import problems
from orchestrator.api.deps import DEPS
from orchestrator.api.middleware import protect, request_id_of
from orchestrator.api.shedding import shedding

log = structlog.get_logger(__name__)


class Runner(web.AppRunner):
    """An `AppRunner` whose connections answer unreadable requests with the envelope."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.request_handler = shedding(server.request_handler, self.app[DEPS])
        server.__class__ = _Server  # aiohttp takes no factory for its connections
        return server


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it may quote a header, and with it a secret
    ) -> web.StreamResponse:
        """Answer what is no readable HTTP; the connection closes."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        request_id = request_id_of(request)
        if status == problems.CRASHED:
            log.error("request_crashed", request_id=request_id, exc_info=exc)
            detail = problems.UNEXPECTED
        else:
            log.info("request_unreadable", request_id=request_id, kind=type(exc).__name__)
            detail = "The HTTP request could not be read"
        answer = problems.problem(request, request_id, status, detail)
        return cast(web.StreamResponse, _closing(answer, request_id))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the answer; one of aiohttp's own, made before any middleware, in the envelope."""
        if isinstance(resp, web.HTTPException):
            request_id = request_id_of(request)
            answer = problems.of_http(request, request_id, resp)
            resp = _closing(answer, request_id)
        return await super().finish_response(request, resp, start_time)


def _closing(answer: web.Response, request_id: str) -> web.Response:
    """Complete an answer that no middleware sees; the connection closes after it."""
    answer.headers["X-Request-ID"] = request_id
    protect(answer)
    answer.force_close()
    return answer
