"""Listens to what an agent streams of a task, and keeps a stream from one effect to the next."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from orchestrator.agents import answers
from orchestrator.agents.answers import INTERRUPTED, TERMINAL, Message, Task
from orchestrator.agents.auth import Credentials
from orchestrator.agents.failures import malformed
from orchestrator.agents.folding import Folding
from orchestrator.agents.sse import Events
from orchestrator.agents.stream_exchange import Opened

# A stream may send more than its result: news on the way. Beyond this the agent is polled.
_BYTES_PER_ANSWER = 8
_KEPT_S = 10.0  # how long a stream may wait for whoever follows its task


class Listening:
    """One stream; whoever has it closes it."""

    def __init__(
        self,
        opened: Opened,
        request_id: str | None,
        credentials: Credentials,
        max_bytes: int,
        *,
        on_close: Callable[[], None],
    ) -> None:
        self._opened = opened
        self._on_close = on_close
        self._request_id = request_id
        self._credentials = credentials
        self._max_bytes = max_bytes
        self._seen = 0
        self._events = Events(max_bytes)
        self._waiting: list[bytes] = []
        self._folding = Folding()
        self._ended = False

    async def news(self) -> Message | Task | None:
        """Return what is known after the next event, None at the stream's end.

        Raises `Fault` for a stream that breaks, says nonsense, says nothing for as long as the
        agent's timeout, or says too much.
        """
        while not self._waiting:
            if self._ended:
                return None
            chunk = await self._opened.chunk()
            self._seen += len(chunk)
            if self._seen > self._max_bytes * _BYTES_PER_ANSWER:
                raise malformed(f"streamed more than {self._seen} bytes")
            self._ended = not chunk
            self._waiting = self._events.feed(chunk) if chunk else self._events.end()
            self._waiting.reverse()
        event = answers.event(self._waiting.pop(), self._request_id, self._credentials)
        return self._folding.add(event)

    async def result(self) -> Message | Task | None:
        """Listen until the task has ended or asks for something; None: the stream ended before."""
        while (known := await self.news()) is not None:
            if decisive(known):
                return known
        return None

    def close(self) -> None:
        """Hang up; closing twice does no harm."""
        self._opened.close()
        self._on_close()


def decisive(answer: Message | Task) -> bool:
    """Whether nothing more is to be expected of a stream that said this."""
    return isinstance(answer, Message) or answer.state in TERMINAL | INTERRUPTED


@dataclass(slots=True)
class _Kept:
    stream: Listening | None
    done: Callable[[], None]
    timer: asyncio.TimerHandle


class Keep:
    """What a task's follower takes over from whoever sent its message.

    Between the two the task's id is made durable. A stream (and the place at the agent that the
    task holds) that nobody comes for is given up after some seconds.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept] = {}

    def put(self, key: Hashable, stream: Listening | None, done: Callable[[], None]) -> None:
        """Keep a stream; `done` is called when the task no longer holds its place."""
        self.drop(key)
        timer = asyncio.get_running_loop().call_later(_KEPT_S, self.drop, key)
        self._kept[key] = _Kept(stream, done, timer)

    def take(self, key: Hashable) -> tuple[Listening | None, Callable[[], None]] | None:
        """Return what was kept; the caller closes the stream and calls `done`."""
        kept = self._kept.pop(key, None)
        if kept is None:
            return None
        kept.timer.cancel()
        return kept.stream, kept.done

    def drop(self, key: Hashable) -> None:
        """Give up what was kept, if anything."""
        if (taken := self.take(key)) is not None:
            stream, done = taken
            if stream is not None:
                stream.close()
            done()

    def close(self) -> None:
        for key in list(self._kept):
            self.drop(key)
