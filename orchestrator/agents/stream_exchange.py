"""The head of an answer whose body comes little by little: what streams need, by aiohttp.

It promises what `exchange` promises, but for the whole: each wait is bounded, and whoever reads
bounds the bytes.
"""

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import hdrs

from orchestrator.agents import egress
from orchestrator.agents.egress import Denied, Egress
from orchestrator.agents.exchange import Answer, Request, origin, why
from orchestrator.agents.failures import Fault, TimedOut, malformed
from orchestrator.domain.agent import Outcome

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)  # ours is around each wait
_AUTOMATIC = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)


class StreamExchange:
    """An async context manager; its connections are closed after use, since streams are long."""

    _session: aiohttp.ClientSession

    def __init__(self, max_connections: int, policy: Egress) -> None:
        self._max_connections = max_connections
        self._egress = policy

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_connections,
                force_close=True,
                socket_factory=self._egress.socket_to,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            skip_auto_headers=_AUTOMATIC,
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def open(self, request: Request) -> "Opened":
        """Make the exchange up to the answer's head, in the time the request gives; or raise.

        What fails on the way may have reached the agent, but for a failure to connect. Whoever gets
        it closes it.
        """
        self._egress.check(request.url)
        async with _Bounded(request):
            return Opened(
                request,
                await self._session.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=request.body,
                    allow_redirects=False,
                ),
            )


class Opened:
    """An answer whose body comes little by little."""

    def __init__(self, request: Request, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._request = request
        self._response = response

    async def whole(self) -> Answer:
        """Read what turned out to be an ordinary answer."""
        chunks: list[bytes] = []
        size = 0
        async with _Bounded(self._request):
            async for chunk in self._response.content.iter_any():
                size += len(chunk)
                if size > self._request.max_bytes:
                    raise malformed(f"answered more than {self._request.max_bytes} bytes")
                chunks.append(chunk)
        return Answer(self.status, self._response.raw_headers, b"".join(chunks))

    async def chunk(self) -> bytes:
        """Return the next bytes, empty at the end; raise `Fault` when none come in time."""
        async with _Bounded(self._request):
            return await self._response.content.readany()

    def close(self) -> None:
        """Hang up."""
        self._response.close()


class _Bounded:
    """An async context manager: bounds what is inside in time, and translates aiohttp's errors."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._limit = asyncio.timeout(request.seconds)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            said = f"Connection timeout after {round(self._request.seconds * 1000)}ms"
            raise TimedOut(said, Outcome.UNKNOWN) from None
        if isinstance(error, aiohttp.ClientError | OSError | ValueError):
            raise _fault(error, self._request) from None


def _fault(error: Exception, request: Request) -> Fault:
    """Say what aiohttp's error means, and whether the agent may have the request."""
    place = origin(request.url)
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=invalid):
            verdict = getattr(invalid, "verify_message", "") or "it does not verify"
            return Fault(f"has an invalid TLS certificate at {place}: {verdict}", Outcome.FINAL)
        case aiohttp.ClientConnectorError(os_error=Denied() as denied):
            return egress.refused(str(denied))
        case aiohttp.ClientConnectorError(os_error=reason):
            said = f"cannot be reached at {place}: {why(reason)}"
            return Fault(said, Outcome.TRANSIENT, unreached=True)
        case aiohttp.InvalidURL():
            return Fault(f"has a url that cannot be called: {place}", Outcome.FINAL)
        case aiohttp.ClientResponseError():
            return malformed(f"answered something that is not HTTP: {error.message}")
        case _:
            said = "did not answer: connection lost after the request was sent"
            return Fault(said, Outcome.UNKNOWN, unreached=True)
