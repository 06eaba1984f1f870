"""A simulated consumer group: it assigns late and anew; its topic brings hints in any order.

Stands in for `KafkaFeed`: the real `Ownership` is told what a member would be told, and asks the
group by `prove` as it would ask the coordinator.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.hint import Hint
from orchestrator.domain.term import Partition
from orchestrator.feed.owner import Lock, Owner, Patiently, watch_lock
from orchestrator.feed.ownership import Means, Ownership, Some
from orchestrator.telemetry.metrics import Metrics
from tests.simulation.loop import ProcessLoop, State


@dataclass(slots=True)
class Member:
    """A process in the group, and what it believes to be assigned."""

    feed: "GroupFeed"
    generation: int = -1
    assigned: frozenset[Partition] = frozenset()


@dataclass(slots=True)
class HintWeather:
    """Probabilities a hint."""

    lost: float = 0.1
    late: float = 0.3
    doubled: float = 0.2


@dataclass(slots=True)
class Group:
    """The coordinator."""

    partitions: int
    outside: ProcessLoop
    chance: random.Random
    away: bool = False
    generation: int = 0
    members: list[Member] = field(default_factory=list)
    hints: HintWeather = field(default_factory=HintWeather)

    def join(self, feed: "GroupFeed") -> Member:
        member = Member(feed)
        self.members.append(member)
        self.rebalance()
        return member

    def leave(self, member: Member) -> None:
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def rebalance(self) -> None:
        """Share the partitions out anew; the members learn it one after the other."""
        if self.away or not self.members:
            return
        self.generation += 1
        shares: dict[int, set[Partition]] = {number: set() for number in range(len(self.members))}
        for partition in range(self.partitions):
            wanting = [
                number
                for number, member in enumerate(self.members)
                if Partition(partition) in member.assigned
            ]
            stays = wanting and self.chance.random() < 0.7
            chosen = wanting[0] if stays else self.chance.randrange(len(self.members))
            shares[chosen].add(Partition(partition))
        for number, member in enumerate(self.members):
            delay = self.chance.expovariate(2)
            member.feed.loop.call_later(
                delay, self._tell, member, self.generation, frozenset(shares[number])
            )

    def _tell(self, member: Member, generation: int, share: frozenset[Partition]) -> None:
        if member.generation < generation and member in self.members:
            member.generation, member.assigned = generation, share
            member.feed.ownership.assign(share)

    async def prove(self, member: Member, partitions: Sequence[Partition]) -> frozenset[Partition]:
        await asyncio.sleep(0.002 + 0.02 * self.chance.random())
        if self.away or member not in self.members or member.generation != self.generation:
            return frozenset()
        return frozenset(partitions) & member.assigned

    def publish(self, hint: Hint) -> None:
        """Bring a hint to whoever reads the partition when it comes."""
        weather = self.hints
        if self.away or self.chance.random() < weather.lost:
            return
        for _ in range(2 if self.chance.random() < weather.doubled else 1):
            late = self.chance.random() < weather.late
            delay = self.chance.expovariate(0.5) if late else 0.005
            self.outside.call_later(delay, self._bring, hint)

    def _bring(self, hint: Hint) -> None:
        for member in self.members:
            if hint.partition in member.assigned and member.feed.loop.state is not State.ENDED:
                member.feed.loop.call_soon(member.feed.owner.hint, hint)


class GroupFeed:
    """One process's side of the group, with the real `Ownership` and watch on the lock."""

    name = "kafka"

    def __init__(
        self,
        group: Group,
        loop: ProcessLoop,
        owner: Owner,
        *,
        lock: Lock,
        patiently: Patiently,
        vacant: Some,
        handover_grace_s: float,
        metrics: Metrics,
    ) -> None:
        self.loop = loop
        self._group = group
        self.owner = owner
        self._lock = lock
        self._patiently = patiently
        self._held = asyncio.Event()
        self._member: Member | None = None
        means = Means(prove=self._prove, vacant=vacant, patiently=patiently, held=self._held)
        self.ownership = Ownership(owner, means, handover_grace_s, metrics)

    async def start(self) -> None:
        """Do nothing: `run` joins."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.ownership.run())
            group.create_task(watch_lock(self._lock, self.owner, self._patiently, self._held))
            self._member = self._group.join(self)

    def leave(self) -> None:
        if self._member is not None:
            self._group.leave(self._member)

    def join_again(self) -> None:
        """Come back after the group had taken the process for dead."""
        if self._member is not None and self._member not in self._group.members:
            self._member = self._group.join(self)

    async def _prove(self, partitions: Sequence[Partition]) -> frozenset[Partition]:
        if self._member is None:
            return frozenset()
        return await self._group.prove(self._member, partitions)

    def publish(self, hint: Hint) -> None:
        self._group.publish(hint)

    async def lags(self) -> Mapping[Partition, int]:
        return {}
