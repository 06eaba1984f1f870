"""The listening socket: reserved before anything else starts, answered when everything has."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from orchestrator.api.server import Runner
from orchestrator.domain.errors import Misconfigured

_GRACE_S = 2.0  # for requests under way at a stop
_KEEPALIVE_S = 75.0
_BACKLOG = 1024


def bind(host: str, port: int) -> socket.socket:
    """Reserve the address before anything else is started; nobody is answered yet."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise Misconfigured(f"ORCHESTRATOR_HOST: {host} is no address ({error.strerror})") from None
    listening = socket.socket(family, kind, proto)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise _taken(host, port, error) from None
    return listening


def _taken(host: str, port: int, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or set"
        " ORCHESTRATOR_PORT (or ORCHESTRATOR_HOST)"
    )


@asynccontextmanager
async def serving(app: web.Application, listening: socket.socket) -> AsyncIterator[None]:
    """Answer requests for the length of the block; raise `Misconfigured` if the port was taken."""
    runner = Runner(app, access_log=None, keepalive_timeout=_KEEPALIVE_S, shutdown_timeout=_GRACE_S)
    await runner.setup()
    try:
        try:
            listening.listen(_BACKLOG)  # whoever started at the same moment may have been quicker
        except OSError as error:
            host, port = listening.getsockname()[:2]
            raise _taken(host, port, error) from None
        await web.SockSite(runner, listening, backlog=_BACKLOG).start()
        yield
    finally:
        await runner.cleanup()


def name(listening: socket.socket) -> str:
    """Return how people tell this process from the others of its deployment."""
    return f"{socket.gethostname()}:{listening.getsockname()[1]}"


def url(listening: socket.socket) -> str:
    """Return the address for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
