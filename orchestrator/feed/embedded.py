"""The embedded feed: one process serves the database, and every partition is at home.

What says so is a watched session lock on the database. A lock that was lost (the database was
restarted, the session was cut) is taken again before anything new starts; one that another process
holds by then ends this process with one clear line.
"""

import asyncio
from collections.abc import Mapping

from orchestrator.domain.hint import Hint
from orchestrator.domain.term import Partition
from orchestrator.feed.owner import Lock, Owner, Patiently, watch_lock


class EmbeddedFeed:
    """Gives all partitions to `owner`, and sees that they stay there."""

    name = "embedded"

    def __init__(self, partitions: int, owner: Owner, lock: Lock, patiently: Patiently) -> None:
        self._partitions = [Partition(number) for number in range(partitions)]
        self._owner = owner
        self._lock = lock
        self._patiently = patiently
        self._held = asyncio.Event()

    async def start(self) -> None:
        """Own every partition."""
        await self._owner.own(self._partitions)

    async def run(self) -> None:
        """Watch the lock and the terms until cancelled; raise `Misconfigured` when it is gone."""
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_lock(self._lock, self._owner, self._patiently, self._held))
            group.create_task(self._claim_again())

    def publish(self, hint: Hint) -> None:
        """Do nothing: there is no other process that could take the run up."""

    async def lags(self) -> Mapping[Partition, int]:
        """Return nothing: there is no topic to lag behind."""
        return {}

    async def _claim_again(self) -> None:
        """Claim terms that the fence ended: while the lock is ours, nobody else may own them."""
        while True:
            partition = await self._owner.lost.get()
            await self._held.wait()
            await self._owner.own([partition])
