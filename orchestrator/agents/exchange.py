"""One HTTP exchange with an agent; nothing else in this package touches the network.

It promises: no redirect is followed, no cookie kept, no proxy or netrc of the environment used, no
address called that the egress policy forbids; the answer is bounded in bytes (also after
decompression) and in time, from the first name lookup to the last byte; and whoever fails knows
whether the request may have reached the agent.

Whole answers come over the lean transport, streams by aiohttp (`stream_exchange`).
"""

import os
import socket
import ssl
import zlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeAlias

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator.agents import egress
from orchestrator.agents.egress import Denied, Egress
from orchestrator.agents.failures import Fault, TimedOut, malformed
from orchestrator.agents.transport import (
    Lost,
    NotConnected,
    NotHttp,
    RawHeaders,
    Sending,
    TooLarge,
    Transport,
)
from orchestrator.domain.agent import Outcome
from orchestrator.domain.record import record

# Below what common servers keep an idle connection (uvicorn and node: 5 s): a request written into
# a connection that is being closed has an unknown outcome.
_KEEPALIVE_S = 4.0
_ENCODING = b"content-encoding"
_ENCODING_LENGTH = len(_ENCODING)


Headers: TypeAlias = Sequence[tuple[str, str]]


@record
class Request:
    """`seconds` bounds the whole exchange, `max_bytes` the answer's body."""

    method: str
    url: URL
    headers: Headers
    seconds: float
    max_bytes: int
    body: bytes | None = None


class Answer:
    """A whole answer; `pairs` are its headers as they came."""

    __slots__ = ("_headers", "_pairs", "body", "status")

    def __init__(self, status: int, pairs: RawHeaders, body: bytes) -> None:
        self.status = status
        self.body = body
        self._pairs = pairs
        self._headers: CIMultiDictProxy[str] | None = None

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers by name: made when somebody asks, which of a good answer nobody does."""
        if self._headers is None:
            read = ((k.decode("latin-1"), v.decode("latin-1")) for k, v in self._pairs)
            self._headers = CIMultiDictProxy(CIMultiDict(read))
        return self._headers


class Exchange:
    """An async context manager; `max_connections` bounds what is open at a time."""

    def __init__(self, max_connections: int, policy: Egress | None = None) -> None:
        self._egress = policy if policy is not None else Egress()
        self._transport = Transport(
            keep=max_connections, keep_s=_KEEPALIVE_S, sockets=self._egress.socket_to
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transport.close()

    async def __call__(self, request: Request) -> Answer:
        """Make the exchange; raise `Fault` when there is no whole answer."""
        self._egress.check(request.url)
        sending = Sending()
        limit = self._transport.within(request.seconds)
        try:
            with limit:
                status, pairs, raw = await self._transport.call(
                    request.method,
                    request.url,
                    request.headers,
                    request.body or b"",
                    request.max_bytes,
                    sending,
                )
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(
                f"Connection timeout after {round(request.seconds * 1000)}ms",
                _outcome(request, sending),
            ) from None
        except (NotConnected, NotHttp, TooLarge, Lost, ValueError) as error:
            raise _fault(error, request, sending) from None
        for name, value in pairs:
            if len(name) == _ENCODING_LENGTH and name.lower() == _ENCODING:
                raw = _decompress(raw, value.decode("latin-1").strip().lower(), request.max_bytes)
                break
        return Answer(status, pairs, raw)


def overridden(headers: Headers, *by: Mapping[str, str]) -> Headers:
    """Return the headers with those of `by` instead of others of the same name."""
    merged = CIMultiDict(headers)
    for each in by:
        merged.update(each)
    return tuple(merged.items())


def _outcome(request: Request, sending: Sending) -> Outcome:
    """Say whether the agent may have work to do: a request without a body asks for none."""
    return Outcome.UNKNOWN if sending.sent and request.body is not None else Outcome.TRANSIENT


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


def _fault(  # noqa: PLR0911 - one case a line
    error: Exception, request: Request, sending: Sending
) -> Fault:
    """Say what an error means, and whether the agent may have the request."""
    place = origin(request.url)
    match error:
        case NotConnected(__cause__=ssl.SSLCertVerificationError() as invalid):
            verdict = invalid.verify_message or "it does not verify"
            return Fault(f"has an invalid TLS certificate at {place}: {verdict}", Outcome.FINAL)
        case NotConnected(__cause__=Denied() as denied):
            return egress.refused(str(denied))
        case NotConnected(__cause__=OSError() as reason):
            said = f"cannot be reached at {place}: {why(reason)}"
            return Fault(said, Outcome.TRANSIENT, unreached=True)
        case NotHttp():
            return malformed(f"answered something that is not HTTP: {error}")
        case TooLarge():
            return _too_large(request.max_bytes)
        case Lost():
            when = "in the middle of the answer" if error.begun else "after the request was sent"
            said = f"did not answer: connection lost {when}"
            return Fault(said, _outcome(request, sending), unreached=True)
        case _:
            return Fault(f"has a url that cannot be called: {place}", Outcome.FINAL)


def why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed ({error.reason or error.strerror or 'no reason given'})"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def origin(url: URL) -> str:
    """Return the part of a url that may be shown: no user, password, path or query."""
    try:
        return str(url.origin())
    except ValueError:
        return "(no host)"
