"""What the agents on the official SDKs share: a record of what reached them, and how they serve.

Runs in the environments of both SDK versions; imports nothing but the standard library and uvicorn.
"""

import argparse
import json
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Recorder:
    """Wraps an agent's application.

    GET /record answers `{"requests": [{"headers", "body"}], "executions": {messageId: n}}`,
    and GET /health that all is well.
    """

    def __init__(self, app: App) -> None:
        self.executions: Counter[str] = Counter()
        self._app = app
        self._requests: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/record":
            record = {"requests": self._requests, "executions": self.executions}
            await _answer(send, record)
        elif scope["type"] == "http" and scope["path"] == "/health":
            await _answer(send, {"status": "ok"})
        elif scope["type"] == "http" and scope["method"] == "POST":
            await self._app(scope, await self._recording(scope, receive), send)
        else:
            await self._app(scope, receive, send)

    async def _recording(self, scope: Scope, receive: Receive) -> Receive:
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        body = b"".join(m.get("body", b"") for m in messages)
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        self._requests.append({"headers": headers, "body": json.loads(body or b"null")})
        left = iter(messages)

        async def replay() -> MutableMapping[str, Any]:
            return next(left, None) or await receive()

        return replay


async def _answer(send: Send, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def told(text: str) -> dict[str, Any]:
    """Return the input that came as text, to an agent whose card takes nothing else."""
    value = json.loads(text) if text.startswith("{") else {}
    return value if isinstance(value, dict) else {}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--text-only", action="store_true", help="the card takes text only")
    return parser


def listen(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    return sock


def serve(app: App, sock: socket.socket) -> None:
    """Serve until killed, or until the pipe on stdin ends (whoever started us is gone)."""
    threading.Thread(target=_die_with_stdin, daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)  # noqa: T201 - for the launcher
    server.run(sockets=[sock])


def _die_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
