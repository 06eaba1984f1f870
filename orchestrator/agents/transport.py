"""HTTP/1.1 for one request and its whole answer, on httptools' parser: what most calls are.

aiohttp's client costs four times as much for such a call (ADR 7), and cannot be tuned there. This
one does what they need and no more: a pool of connections that are kept for a few seconds, TLS,
answers of any framing, caps on head and body. It follows nothing, keeps nothing, unpacks nothing.
"""

import asyncio
import functools
import re
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import aiohappyeyeballs
import httptools
from yarl import URL

from orchestrator import failpoints
from orchestrator.time_limits import TimeLimit, within

_MAX_HEAD = 64 * 1024
_HAPPY_EYEBALLS_S = 0.25  # RFC 8305: before the next of a name's addresses is tried beside
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*", re.DOTALL)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FRAMING = (b"content-length", b"transfer-encoding")
_INFORMATIONAL = range(100, 200)
_SWITCHING = 101

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
Whole: TypeAlias = tuple[int, RawHeaders, bytes]  # status, headers, body
Sockets: TypeAlias = Callable[[tuple[Any, ...]], Any]


class NotConnected(Exception):
    """No connection was made; nothing of the request has left. `__cause__` says why."""


class NotHttp(Exception):
    """The answer is no HTTP, or more than its head may be."""


class TooLarge(Exception):
    """The answer's body is larger than it may be."""


class Lost(Exception):
    """The connection ended before the answer did; `begun`: in the middle of it."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__("connection lost")
        self.begun = begun


@dataclass(slots=True)
class Sending:
    """How far a request is: `sent` as soon as any of it was handed to a connection."""

    sent: bool = False


class Transport:
    """Keeps connections for `keep_s` seconds after a call, at most `keep` of them.

    How many calls are made at a time is for the caller to bound. `sockets` makes the socket for one
    of a name's addresses, and may refuse by an `OSError`.
    """

    def __init__(self, *, keep: int, keep_s: float, sockets: Sockets | None = None) -> None:
        self._keep = keep
        self._keep_s = keep_s
        self._sockets = sockets
        self._idle: dict[tuple[str, str, int], deque[_Connection]] = {}
        self._kept = 0
        self._tls: ssl.SSLContext | None = None
        self._running: asyncio.AbstractEventLoop | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def call(
        self,
        method: str,
        url: URL,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        max_bytes: int,
        sending: Sending,
    ) -> Whole:
        """Return status, headers and body of the answer.

        Raises `NotConnected`, `NotHttp`, `TooLarge`, `Lost`, and `ValueError` for a header that
        cannot be sent. A call that is cancelled ends its connection.
        """
        head = _head(method, url, headers, len(body))
        place = (url.scheme, url.raw_host or "", url.port or 0)
        connection = self._take(place) or await self._connect(url)
        sending.sent = True
        try:
            answer = await connection.exchange(head, body, max_bytes)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable:
            self._put(place, connection)
        else:
            connection.abort()
        return answer

    def within(self, seconds: float) -> TimeLimit:
        """Return the limit that is so many seconds from now."""
        return within(seconds, self._loop)

    def close(self) -> None:
        """End the connections that are kept."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()
        self._kept = 0

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        """The loop that all of this runs in; to ask for it is a system call (in Python 3.11)."""
        if self._running is None:
            self._running = asyncio.get_running_loop()
        return self._running

    # -- the pool ---------------------------------------------------------------------------------

    def _take(self, place: tuple[str, str, int]) -> "_Connection | None":
        idle = self._idle.get(place)
        now = self._loop.time()
        while idle:
            connection = idle.pop()  # the one used last is the likeliest to live
            self._kept -= 1
            if connection.reusable and now < connection.keep_until:
                return connection
            connection.abort()
        return None

    def _put(self, place: tuple[str, str, int], connection: "_Connection") -> None:
        if self._kept >= self._keep:
            connection.abort()
            return
        loop = self._loop
        connection.keep_until = loop.time() + self._keep_s
        self._idle.setdefault(place, deque()).append(connection)
        self._kept += 1
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._keep_s, self._sweep)

    def _sweep(self) -> None:
        """End what was kept for too long; come again while anything is kept."""
        loop = self._loop
        now = loop.time()
        for place, idle in list(self._idle.items()):
            while idle and (idle[0].keep_until <= now or not idle[0].reusable):
                idle.popleft().abort()
                self._kept -= 1
            if not idle:
                del self._idle[place]
        self._sweeping = loop.call_later(self._keep_s, self._sweep) if self._kept else None

    async def _connect(self, url: URL) -> "_Connection":
        loop = self._loop
        host, port = url.raw_host or "", url.port or 0
        try:
            infos = await loop.getaddrinfo(host, port, type=1)  # SOCK_STREAM
            sock = await aiohappyeyeballs.start_connection(
                infos,
                happy_eyeballs_delay=_HAPPY_EYEBALLS_S,
                interleave=1,
                loop=loop,
                socket_factory=self._sockets,
            )
            _, connection = await loop.create_connection(
                lambda: _Connection(loop),
                sock=sock,
                ssl=self._context() if url.scheme == "https" else None,
                server_hostname=host if url.scheme == "https" else None,
            )
        except OSError as error:  # and ssl.SSLError
            raise NotConnected from error
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


class _Connection(asyncio.Protocol):
    """One connection; one exchange at a time. The methods in `on_` are the parser's callbacks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.keep_until = 0.0
        self.reusable = False
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Whole] | None = None
        self._reset(0)

    def _reset(self, max_bytes: int) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._head_left = _MAX_HEAD
        self._body_left = max_bytes
        self._status = 0

    def exchange(self, head: bytes, body: bytes, max_bytes: int) -> "asyncio.Future[Whole]":
        """Send the request; the future is the answer's."""
        self._reset(max_bytes)
        self.reusable = False
        answer: asyncio.Future[Whole] = self._loop.create_future()
        self._answer = answer
        self._transport.write(head + body if len(body) <= _MAX_HEAD else head)
        if len(body) > _MAX_HEAD:  # not copied once more
            self._transport.write(body)
        failpoints.reached("call.after")
        return answer

    def abort(self) -> None:
        """End it at once, whatever is under way."""
        self.reusable = False
        self._transport.abort()

    # -- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self.abort()
            return
        if not self._status:
            self._head_left -= len(data)
        try:
            self._parser.feed_data(data)
        except TooLarge as error:
            self._fail(error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, TooLarge) else NotHttp(str(error)))
        if not self._status and self._head_left < 0:
            self._fail(NotHttp("a head that is too long"))

    def eof_received(self) -> None:
        """Take the end of the connection for the end of a body that says no other."""
        if self._answer is not None and self._status and not self._is_framed():
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is one
        self.reusable = False
        self._fail(Lost(begun=bool(self._status)))

    def _fail(self, error: Exception) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _is_framed(self) -> bool:
        """Whether the answer says where its body ends."""
        return any(name.lower() in _FRAMING for name, _ in self._headers)

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        answer.set_result((self._status, self._headers, body))

    # -- httptools --------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status in _INFORMATIONAL and status != _SWITCHING:
            return
        self._status = status

    def on_body(self, chunk: bytes) -> None:
        self._body_left -= len(chunk)
        if self._body_left < 0:
            raise TooLarge
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        if not self._status:  # an informational one: the answer is yet to come
            self._headers.clear()
            return
        self.reusable = self._parser.should_keep_alive()
        self._finish()


def _head(method: str, url: URL, headers: Iterable[tuple[str, str]], length: int) -> bytes:
    lines = [f"{method} {url.raw_path_qs} HTTP/1.1\r\nHost: {url.host_port_subcomponent}"]
    for name, value in headers:
        if not _is_name(name) or not (
            (value.isascii() and value.isprintable()) or _VALUE.fullmatch(value)
        ):
            raise ValueError(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}")
    if length or method not in {"GET", "HEAD"}:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@functools.lru_cache(maxsize=512)
def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
