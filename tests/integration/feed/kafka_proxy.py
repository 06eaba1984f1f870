"""A way to Kafka on which answers to fetches can be kept back: all else goes on as if well."""

import asyncio
from types import TracebackType
from typing import Self

_FETCH = 1


class KafkaProxy:
    """Listens on `port` and passes everything on to the broker at `behind`."""

    def __init__(self, port: int, behind: int) -> None:
        self.port = port
        self.swallows_fetches = False
        self._behind = behind
        self._writers: list[asyncio.StreamWriter] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        answers, requests = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers += [writer, requests]
        fetches: set[bytes] = set()  # by correlation id
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_requests(reader, requests, fetches))
                group.create_task(self._pass_answers(answers, writer, fetches))
        except* (ConnectionError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            requests.transport.abort()
            writer.transport.abort()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fetches: set[bytes]
    ) -> None:
        while True:
            size, body = await _frame(reader)
            if int.from_bytes(body[:2]) == _FETCH:
                fetches.add(body[4:8])
            writer.write(size + body)

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fetches: set[bytes]
    ) -> None:
        while True:
            size, body = await _frame(reader)
            if not (self.swallows_fetches and body[:4] in fetches):
                writer.write(size + body)


async def _frame(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    size = await reader.readexactly(4)
    return size, await reader.readexactly(int.from_bytes(size))
