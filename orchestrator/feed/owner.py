"""What every feed works with: whom it gives partitions to, and the lock on the database."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import structlog

from orchestrator.domain.hint import Hint
from orchestrator.domain.term import Partition

log = structlog.get_logger(__name__)

# Does something again and again while the database is away.
Patiently: TypeAlias = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class Lock(Protocol):
    """The session lock; `retake` raises `Misconfigured` when another process holds it."""

    @property
    def lost(self) -> asyncio.Event: ...
    async def retake(self) -> None: ...


class Owner(Protocol):
    """Whom the feed gives the partitions to, and whom it tells the hints."""

    @property
    def lost(self) -> asyncio.Queue[Partition]: ...  # partitions whose term the fence ended
    def partitions(self) -> Sequence[Partition]: ...
    async def own(self, partitions: Sequence[Partition]) -> None: ...
    async def hand_over(self, partitions: Sequence[Partition]) -> None: ...
    async def confirm(self) -> None: ...
    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def hint(self, hint: Hint) -> None: ...


async def watch_lock(lock: Lock, owner: Owner, patiently: Patiently, held: asyncio.Event) -> None:
    """Take a lost lock again before anything new starts; until cancelled.

    `held` is set while the lock is. Raises `Misconfigured` when another process took it meanwhile.
    """
    held.set()
    while True:
        await lock.lost.wait()
        held.clear()
        log.warning("ownership_lock_lost")
        owner.suspend()
        await patiently(lock.retake)
        await patiently(owner.confirm)
        owner.resume()
        held.set()
        log.info("ownership_lock_taken_again")
