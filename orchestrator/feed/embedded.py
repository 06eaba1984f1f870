"""The embedded feed: one process serves the database, and every partition is at home.

What says so is a watched session lock on the database. A lock that was lost (the database was
restarted, the session was cut) is taken again before anything new starts; one that another process
holds by then ends this process with one clear line.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from orchestrator.domain.term import Partition

log = structlog.get_logger(__name__)


class Lock(Protocol):
    """The session lock; `retake` raises `Misconfigured` when another process holds it."""

    @property
    def lost(self) -> asyncio.Event: ...
    async def retake(self) -> None: ...


class Owner(Protocol):
    """Whom the feed gives the partitions to."""

    @property
    def lost(self) -> asyncio.Queue[Partition]: ...
    async def own(self, partitions: Sequence[Partition]) -> None: ...
    async def confirm(self) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...


class EmbeddedFeed:
    """Gives all partitions to `owner`, and sees that they stay there."""

    name = "embedded"

    def __init__(
        self,
        partitions: int,
        owner: Owner,
        lock: Lock,
        patiently: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        self._partitions = [Partition(number) for number in range(partitions)]
        self._owner = owner
        self._lock = lock
        self._patiently = patiently
        self._held = asyncio.Event()
        self._held.set()

    async def start(self) -> None:
        """Own every partition."""
        await self._owner.own(self._partitions)

    async def run(self) -> None:
        """Watch the lock and the terms until cancelled; raise `Misconfigured` when it is gone."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_lock())
            group.create_task(self._claim_again())

    async def _watch_lock(self) -> None:
        while True:
            await self._lock.lost.wait()
            log.warning("ownership_lock_lost")
            self._held.clear()
            self._owner.suspend()
            await self._patiently(self._lock.retake)
            await self._patiently(self._owner.confirm)
            self._owner.resume()
            self._held.set()
            log.info("ownership_lock_taken_again")

    async def _claim_again(self) -> None:
        """Claim terms that the fence ended: while the lock is ours, nobody else may own them."""
        while True:
            partition = await self._owner.lost.get()
            await self._held.wait()
            await self._owner.own([partition])
