"""One HTTP exchange with an agent; nothing else in this package touches the network.

It promises: no redirect is followed, no cookie kept, no proxy or netrc of the environment used, no
address called that the egress policy forbids; the answer is bounded in bytes (also after
decompression) and in time, from the first name lookup to the last byte; and whoever fails knows
whether the request may have reached the agent.
"""

import asyncio
import os
import socket
import ssl
import zlib
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator.agents import egress
from orchestrator.agents.egress import Denied, Egress
from orchestrator.agents.failures import Fault, TimedOut, malformed
from orchestrator.domain.agent import Outcome

# Below what common servers keep an idle connection (uvicorn and node: 5 s): a request written into
# a connection that is being closed has an unknown outcome.
_KEEPALIVE_S = 4.0
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)  # ours is around it all
_AUTOMATIC = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
_SLICE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """`seconds` bounds the whole exchange, `max_bytes` the answer's body."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    seconds: float
    max_bytes: int
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class _Body(aiohttp.payload.Payload):
    """A request body that knows whether any of it was handed to the connection."""

    _value: bytes

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._size = len(value)
        self.sent = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - the header is made from our size
    ) -> None:
        self.sent = True
        if len(self._value) <= _SLICE:
            await writer.write(self._value)
            return
        for start in range(0, len(self._value), _SLICE):  # a slow reader stops us in between
            await writer.write(self._value[start : start + _SLICE])


class Exchange:
    """An async context manager; `max_connections` bounds what is open at a time."""

    _session: aiohttp.ClientSession

    def __init__(self, max_connections: int, policy: Egress | None = None) -> None:
        self._max_connections = max_connections
        self._egress = policy if policy is not None else Egress()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._max_connections,
                keepalive_timeout=_KEEPALIVE_S,
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

    async def __call__(self, request: Request) -> Answer:
        """Make the exchange; raise `Fault` when there is no whole answer."""
        self._egress.check(request.url)
        body = None if request.body is None else _Body(request.body)
        async with _bounded(request, body), self._request(request, body) as response:
            raw = await _read(response, request.max_bytes)
            return Answer(response.status, response.headers, raw)

    async def open(self, request: Request) -> "Opened":
        """Make the exchange up to the answer's head, in the time the request gives; or raise.

        Whoever gets it closes it.
        """
        self._egress.check(request.url)
        body = None if request.body is None else _Body(request.body)
        async with _bounded(request, body):
            return Opened(request, await self._request(request, body))

    def _request(
        self, request: Request, body: _Body | None
    ) -> aiohttp.client._RequestContextManager:
        return self._session.request(
            request.method, request.url, headers=request.headers, data=body, allow_redirects=False
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
        async with _bounded(self._request, _SENT):
            raw = await _read(self._response, self._request.max_bytes)
            return Answer(self.status, self.headers, raw)

    async def chunk(self) -> bytes:
        """Return the next bytes, empty at the end; raise `Fault` when none come in time."""
        async with _bounded(self._request, _SENT):
            return await self._response.content.readany()

    def close(self) -> None:
        """Hang up, unless the answer has been read to its end."""
        self._response.close()


_SENT = _Body(b"")
_SENT.sent = True


class _bounded:  # noqa: N801 - used like a function
    """Bounds what is inside in time, and translates its errors.

    An async context manager, written out: one is entered for every exchange.
    """

    __slots__ = ("_body", "_limit", "_request")

    def __init__(self, request: Request, body: _Body | None) -> None:
        self._request = request
        self._body = body
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
            raise TimedOut(
                f"Connection timeout after {round(self._request.seconds * 1000)}ms",
                Outcome.UNKNOWN if self._sent() else Outcome.TRANSIENT,
            ) from None
        if isinstance(error, TimeoutError):
            return
        if isinstance(error, aiohttp.ClientError | OSError | ValueError):
            raise _fault(error, self._request.url, sent=self._sent()) from None

    def _sent(self) -> bool:
        return self._body is not None and self._body.sent


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the body, stopping at the first byte too many."""
    length = response.content_length
    if length is not None and length <= max_bytes:
        return _unpacked(response, await response.read(), max_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        chunks.append(chunk)
    return _unpacked(response, b"".join(chunks), max_bytes)


def _unpacked(response: aiohttp.ClientResponse, raw: bytes, max_bytes: int) -> bytes:
    encoding = response.headers.get(hdrs.CONTENT_ENCODING)
    return raw if encoding is None else _decompress(raw, encoding.strip().lower(), max_bytes)


def _decompress(raw: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a compression that was not asked for (some proxies do it all the same)."""
    if encoding in ("", "identity") or not raw:
        return raw
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise malformed(f"answered with Content-Encoding {encoding}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        value = unpacker.decompress(raw, max_bytes + 1)
    except zlib.error:
        raise malformed(f"answered with a broken {encoding} body") from None
    if len(value) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacker.eof:
        raise malformed(f"answered with a broken {encoding} body")
    return value


def _too_large(max_bytes: int) -> Fault:
    return malformed(f"answered more than {max_bytes} bytes")


def _fault(error: Exception, url: URL, *, sent: bool) -> Fault:
    """Say what aiohttp's error means, and whether the agent may have the request."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "it does not verify"
            return Fault(f"has an invalid TLS certificate at {_origin(url)}: {why}", Outcome.FINAL)
        case aiohttp.ClientConnectorError(os_error=Denied() as denied):
            return egress.refused(str(denied))
        case aiohttp.ClientConnectorError():
            return Fault(
                f"cannot be reached at {_origin(url)}: {_reason(error.os_error)}",
                Outcome.TRANSIENT,
                unreached=True,
            )
        case aiohttp.InvalidURL() | ValueError():
            return Fault(f"has a url that cannot be called: {_origin(url)}", Outcome.FINAL)
        case aiohttp.ClientResponseError():
            return malformed(f"answered something that is not HTTP: {error.message}")
        case aiohttp.ClientPayloadError():
            said = "did not answer: connection lost in the middle of the answer"
        case _:
            when = "after" if sent else "before"
            said = f"did not answer: connection lost {when} the request was sent"
    return Fault(said, Outcome.UNKNOWN if sent else Outcome.TRANSIENT, unreached=True)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed ({error.reason or error.strerror or 'no reason given'})"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _origin(url: URL) -> str:
    """Return the part of a url that may be shown: no user, password, path or query."""
    try:
        return str(url.origin())
    except ValueError:
        return "(no host)"
