"""Makes what this process owns what the group gives it.

A state, not a sequence of callbacks: whatever happened meanwhile, the next round compares what is
assigned with what is owned and does what is missing. Partitions that are assigned and owned are
only confirmed, so that a rebalance disturbs no actor.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.term import Partition
from orchestrator.feed.owner import Owner, Patiently
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_LOOK_AGAIN_S = 0.05  # while an old owner hands over
_PROVE_AGAIN_S = 0.5
_MARGIN_S = 0.5  # an old owner ends its actors and writes its release after the grace

Some = Callable[[Sequence[Partition]], Awaitable[frozenset[Partition]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What ownership is decided by."""

    prove: Some  # those for which the group accepts an offset commit of ours now
    vacant: Some  # those that no living process has still to hand over; raises `Unavailable`
    patiently: Patiently
    held: asyncio.Event  # set while the lock on the database is ours


class Ownership:
    """`run` keeps `owner` at what `assign` said last."""

    def __init__(
        self, owner: Owner, means: Means, handover_grace_s: float, metrics: Metrics
    ) -> None:
        self._owner = owner
        self._means = means
        self._wait_s = handover_grace_s + _MARGIN_S
        self._metrics = metrics
        self._assigned: frozenset[Partition] = frozenset()
        self._unconfirmed = False
        self._leaving: set[Partition] = set()
        self._wanted_since: dict[Partition, float] = {}
        self._changed = asyncio.Event()

    def assign(self, partitions: frozenset[Partition]) -> None:
        """Take note of what the group gives us, from now on and until it says otherwise."""
        self._metrics.rebalances.inc()
        self._assigned = partitions
        self._unconfirmed = True
        self._changed.set()

    async def run(self) -> None:
        """Settle differences until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._note_lost())
            pause: float | None = None
            while True:
                await self._until_changed(pause)
                await self._means.held.wait()
                pause = await self._settle(group)

    async def _note_lost(self) -> None:
        """Look again when the fence ended a term: the group may still give us the partition."""
        while True:
            await self._owner.lost.get()
            self._changed.set()

    async def _until_changed(self, pause: float | None) -> None:
        try:
            async with asyncio.timeout(pause):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def _settle(self, group: asyncio.TaskGroup) -> float | None:
        """Do what is to be done now; return in how many seconds to look again, if at all."""
        owned = frozenset(self._owner.partitions())
        leaving = owned - self._assigned
        if leaving:
            self._leaving |= leaving
            group.create_task(self._hand_over(sorted(leaving)))
        if self._unconfirmed:
            self._unconfirmed = False
            await self._means.patiently(self._owner.confirm)
        wanted = self._assigned - frozenset(self._owner.partitions()) - self._leaving
        return await self._claim(wanted)

    async def _claim(self, wanted: frozenset[Partition]) -> float | None:
        """Claim what the group proves to be ours and nobody has still to hand over."""
        now = asyncio.get_running_loop().time()
        self._wanted_since = {p: self._wanted_since.get(p, now) for p in wanted}
        if not wanted:
            return None
        try:
            free = await self._means.vacant(sorted(wanted))
        except Unavailable:
            return _PROVE_AGAIN_S
        overdue = {p for p in wanted if now - self._wanted_since[p] >= self._wait_s}
        ready = free | overdue
        ours = await self._means.prove(sorted(ready)) if ready else frozenset[Partition]()
        if ours:
            await self._owner.own(sorted(ours))
        if ready - ours:
            return _PROVE_AGAIN_S
        return _LOOK_AGAIN_S if wanted - ready else None

    async def _hand_over(self, partitions: Sequence[Partition]) -> None:
        await self._owner.hand_over(partitions)
        self._leaving -= set(partitions)
        self._changed.set()
