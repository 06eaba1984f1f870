"""A flood of executes that costs its sender little, so that it takes nothing from who is flooded.

An HTTP client costs as much for a request as the server does for refusing it; on one machine it
would be the client that is measured. This one writes bytes that are made once, on connections that
are kept, and looks at an answer's first line only.
"""

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import cast

import orjson
from yarl import URL

_TICK_S = 0.005
_STATUS = slice(9, 12)  # of HTTP/1.1 202 Accepted
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(slots=True)
class Flood:
    """What came of it: answers by status, and how many requests found no connection free."""

    answers: Counter[int] = field(default_factory=Counter)
    unsent: int = 0


async def execute(url: str, workflow: str, rate: float, seconds: float, connections: int) -> Flood:
    """Send so many executes a second for so long; return when all are answered."""
    place = URL(url)
    body = orjson.dumps({"input_data": {"source": "bench"}})
    request = (
        f"POST /api/v1/workflows/{workflow}/execute HTTP/1.1\r\n"
        f"Host: {place.host}:{place.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    flood, idle = Flood(), deque[_Connection]()
    made = [await _connect(flood, idle, place) for _ in range(connections)]
    idle.extend(made)
    began, sent = time.monotonic(), 0
    while (now := time.monotonic() - began) < seconds:
        due = int(rate * now)
        for _ in range(due - sent):
            if idle:
                idle.popleft().send(request)
            else:
                flood.unsent += 1
        sent = due
        await asyncio.sleep(_TICK_S)
    await asyncio.gather(*(connection.answered for connection in made))
    for connection in made:
        connection.close()
    return flood


async def _connect(flood: Flood, idle: "deque[_Connection]", place: URL) -> "_Connection":
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(
        lambda: _Connection(flood, idle), place.host or "", place.port or 0
    )
    return made


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, flood: Flood, idle: "deque[_Connection]") -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answered.set_result(None)
        self._flood = flood
        self._idle = idle
        self._read = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def close(self) -> None:
        self._transport.close()

    def send(self, request: bytes) -> None:
        self._read = b""
        self.answered = self.answered.get_loop().create_future()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(_END)
        if found and len(body) >= _length(head):
            self._flood.answers[int(head[_STATUS])] += 1
            self._idle.append(self)
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is one
        if not self.answered.done():
            self.answered.set_result(None)


def _length(head: bytes) -> int:
    _, _, after = head.lower().partition(_LENGTH)
    return int(after.split(b"\r\n", 1)[0])
