"""A way to PostgreSQL that can be cut: what was sent may have arrived, and nobody is told."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit, urlunsplit

_PORT = 5432
_FIELDS = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"
_FAREWELL = b"E" + (len(_FIELDS) + 4).to_bytes(4, "big") + _FIELDS


@dataclass
class _Line:
    """What passes on the connections that were opened together."""

    answers: bool = True
    requests: bool = True


class Proxy:
    """Listens on a port of its own and passes everything on, until told otherwise."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._socket = parse_qs(parts.query)["host"][0] + f"/.s.PGSQL.{_PORT}"
        self._parts = parts
        self._writers: list[asyncio.StreamWriter] = []
        self._clients: list[tuple[asyncio.StreamWriter, _Line]] = []
        self._line = _Line()
        self._open = True
        self.swallowed = asyncio.Event()
        self.refused = asyncio.Event()
        self.dsn = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.username
        self.dsn = urlunsplit(("postgresql", f"{user}@127.0.0.1:{port}", self._parts.path, "", ""))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def swallow_answers(self) -> None:
        """From now on pass on what is sent, and nothing that is answered."""
        self._line.answers = False

    def swallow_requests(self) -> None:
        """From now on pass on nothing that is sent."""
        self._line.requests = False

    def pass_new(self) -> None:
        """Leave the connections that are open as they are; new ones work."""
        self._line = _Line()

    def say_farewell(self) -> None:
        """Say what a server says that is being stopped, and do not hang up yet."""
        for client, line in self._clients:
            line.answers = False  # a server that has said so says nothing more
            client.write(_FAREWELL)
        self._line = _Line()

    def cut(self) -> None:
        """Break every connection; new ones work again."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self._clients.clear()
        self._line = _Line()

    def refuse(self) -> None:
        """Break every connection, old and new."""
        self._open = False
        self.cut()

    def accept(self) -> None:
        self._open = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            self.refused.set()
            writer.transport.abort()
            return
        try:
            answers, requests = await asyncio.open_unix_connection(self._socket)
        except OSError:  # the server is not there: nor are we
            writer.transport.abort()
            return
        self._writers += [writer, requests]
        line = self._line
        self._clients.append((writer, line))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_requests(line, reader, requests))
                group.create_task(self._pass_answers(line, answers, writer))
        except* (ConnectionError, OSError):
            pass
        finally:
            requests.transport.abort()
            writer.transport.abort()

    async def _pass_requests(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65_536):
            if line.requests:
                writer.write(data)
            else:
                self.swallowed.set()
        writer.transport.abort()

    async def _pass_answers(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65_536):
            if line.answers:
                writer.write(data)
        writer.transport.abort()
