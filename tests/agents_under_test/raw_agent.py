"""An agent that answers byte for byte what a test tells it, in the test's own event loop."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Peer:
    """The other end of a connection: what a test may do instead of answering."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def closed(self) -> None:
        """Wait until the caller has hung up."""
        await self._reader.read()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """End the connection at once, with nothing more sent."""
        self._writer.transport.abort()


Handler = Callable[[Received, Peer], Awaitable[bytes | None]]


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP answer; `_` in a header's name stands for `-`."""
    named = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def ok(request: Received, result: Any) -> bytes:
    """Return a JSON-RPC result."""
    body = {"jsonrpc": "2.0", "id": request.json["id"], "result": result}
    return http(200, json.dumps(body).encode())


def error(request: Received, code: Any, message: str, **more: Any) -> bytes:
    """Return a JSON-RPC error."""
    what = {"code": code, "message": message, **more}
    body = {"jsonrpc": "2.0", "id": request.json["id"], "error": what}
    return http(200, json.dumps(body).encode())


SSE = b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(request: Received, result: Any) -> bytes:
    """Return one event of a stream, to be written after `SSE`."""
    body = {"jsonrpc": "2.0", "id": request.json["id"], "result": result}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def data(value: Any) -> dict[str, Any]:
    """Return a Message of one data part."""
    return {"kind": "message", "parts": [{"kind": "data", "data": value}]}


def task(state: str, task_id: str = "t1", **more: Any) -> dict[str, Any]:
    """Return a Task."""
    return {"kind": "task", "id": task_id, "contextId": "c", "status": {"state": state}, **more}


class RawAgent:
    """`post` answers calls; `cards` maps paths to card answers (anything else is 404)."""

    def __init__(
        self, post: Handler, cards: dict[str, Any] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.post = post
        self.cards = cards or {}
        self.posts: list[Received] = []
        self.gets: list[Received] = []
        self.connections = 0
        self._tls = tls
        self._busy: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for busy in self._busy:
            busy.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    def card(self, path: str = "/", version: str = "1.0", **more: Any) -> dict[str, Any]:
        """Return a card that names this agent."""
        interface = {
            "url": self.url + path,
            "protocolBinding": "JSONRPC",
            "protocolVersion": version,
        }
        return {"name": "raw", "supportedInterfaces": [interface], **more}

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        serving = asyncio.current_task()
        assert serving is not None
        self._busy.add(serving)
        try:
            while (request := await _receive(reader)) is not None:
                answer = await self._answer(request, Peer(reader, writer))
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._busy.discard(serving)
            writer.close()

    async def _answer(self, request: Received, peer: Peer) -> bytes | None:
        if request.method == "POST":
            self.posts.append(request)
            return await self.post(request, peer)
        self.gets.append(request)
        found = self.cards.get(request.path.partition("?")[0])
        if found is None:
            return http(404, b"{}")
        if callable(found):
            answer: bytes = found(request)
            return answer
        return found if isinstance(found, bytes) else http(200, json.dumps(found).encode())


async def _receive(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in headers.items()}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)
