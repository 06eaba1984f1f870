"""Group commit: what many tasks want written goes, by lane, in few statements.

A lane is one connection, what waits for it, and a task that takes everything that is ready at the
moment, bounded by rows and bytes. Under load the batches grow by themselves; alone nobody waits.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import structlog

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.record import record
from orchestrator.store.session import Connect, Session

log = structlog.get_logger(__name__)


class Waiting(Protocol):
    """Something to be written, and the future by which its owner learns what became of it."""

    @property
    def key(self) -> Hashable: ...  # at most one of a key in a batch
    @property
    def size(self) -> int: ...  # bytes, roughly
    @property
    def done(self) -> asyncio.Future[Any]: ...


W = TypeVar("W", bound=Waiting)


@record
class Bounds:
    """How much a batch may hold; one thing larger than that goes alone."""

    rows: int
    bytes: int


class Lanes(Generic[W]):
    """`async with` runs the lanes; one that dies cancels the body, and its error comes out.

    `commit` writes one batch and resolves its futures; what it raises ends the program. Leaving
    the body writes what still waits, for at most `close_within` seconds.
    """

    loop: asyncio.AbstractEventLoop  # while it runs

    def __init__(
        self,
        connect: Connect,
        commit: Callable[[Session, list[W]], Awaitable[None]],
        *,
        lanes: int,
        bounds: Bounds,
        close_within: float,
    ) -> None:
        self._commit = commit
        self._close_within = close_within
        self._sessions = [Session(connect) for _ in range(lanes)]
        self._queues: list[_Queue[W]] = [_Queue(bounds) for _ in range(lanes)]
        self._group = asyncio.TaskGroup()

    @property
    def depth(self) -> int:
        """How many wait or are being written."""
        return sum(queue.depth for queue in self._queues)

    def put(self, waiting: W, lane: int) -> None:
        """Have it written by a lane; its future says when. Fails at once when closed."""
        self._queues[lane % len(self._queues)].put(waiting)

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        await self._group.__aenter__()
        for session, queue in zip(self._sessions, self._queues, strict=True):
            self._group.create_task(self._run(session, queue))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for queue in self._queues:
            queue.close()
        try:
            async with asyncio.timeout(self._close_within):
                await self._group.__aexit__(kind, error, trace)
        except TimeoutError:
            log.warning("lanes_closed_unwritten", waiting=self.depth)

    async def _run(self, session: Session, queue: "_Queue[W]") -> None:
        try:
            while batch := await queue.take():
                await self._commit(session, batch)
                queue.taken = []
        finally:
            queue.close()
            try:
                await session.close()
            finally:
                # Last of all: whoever is told may end the body, and that would cancel this task
                # before its own error is out.
                queue.fail()


class _Queue(Generic[W]):
    """What waits for a lane, in order. A waiter that was cancelled before its turn is dropped."""

    def __init__(self, bounds: Bounds) -> None:
        self.taken: list[W] = []
        self._bounds = bounds
        self._waiting: deque[W] = deque()
        self._more = asyncio.Event()
        self._closed = False

    @property
    def depth(self) -> int:
        return len(self._waiting) + len(self.taken)

    def put(self, waiting: W) -> None:
        if self._closed:
            waiting.done.set_exception(_closed())
            return
        self._waiting.append(waiting)
        self._more.set()

    async def take(self) -> list[W]:
        """Return the next batch, waiting for it; empty when closed and nothing is left."""
        while not (batch := self._next()) and not self._closed:
            self._more.clear()
            await self._more.wait()
        self.taken = batch
        return batch

    def _next(self) -> list[W]:
        batch: dict[Hashable, W] = {}
        later: list[W] = []
        rows, room = self._bounds.rows, self._bounds.bytes
        while self._waiting and len(batch) < rows:
            first = self._waiting[0]
            if batch and first.size > room:
                break
            self._waiting.popleft()
            if first.done.done():
                continue
            if first.key in batch:
                later.append(first)
                continue
            batch[first.key] = first
            room -= first.size
        self._waiting.extendleft(reversed(later))
        return list(batch.values())

    def close(self) -> None:
        """Accept nothing more; what waits is still taken."""
        self._closed = True
        self._more.set()

    def fail(self) -> None:
        """Tell everybody who still waits that nothing will come."""
        for waiting in (*self.taken, *self._waiting):
            if not waiting.done.done():
                waiting.done.set_exception(_closed())
        self._waiting.clear()


def _closed() -> Unavailable:
    return Unavailable("Database connection failed: the server is stopping")
