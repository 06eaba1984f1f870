"""The Kafka feed: its consumer group says who owns a partition, its topic carries hints.

Kafka is never waited for: runs are accepted and executed without it by whoever holds partitions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from orchestrator.domain.hint import Hint
from orchestrator.domain.term import Partition
from orchestrator.feed.cluster import ANSWER_S, AWAY, Cluster
from orchestrator.feed.consumer import Consumer, Listener
from orchestrator.feed.owner import Lock, Owner, Patiently, watch_lock
from orchestrator.feed.ownership import Means, Ownership
from orchestrator.feed.publisher import Publisher
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the feed is given by the other layers."""

    owner: Owner
    lock: Lock
    patiently: Patiently
    vacant: Callable[[Sequence[Partition]], Awaitable[frozenset[Partition]]]
    deployment: UUID
    handover_grace_s: float
    metrics: Metrics


class KafkaFeed:
    """Shares the partitions with the other processes of this deployment."""

    name = "kafka"

    def __init__(self, cluster: Cluster, around: Surroundings) -> None:
        metrics = around.metrics
        self._cluster = cluster
        self._owner = around.owner
        self._lock = around.lock
        self._patiently = around.patiently
        self._held = asyncio.Event()
        self._publisher = Publisher(cluster, around.deployment, metrics)
        self._consumer = Consumer(
            cluster, around.deployment, Listener(self._assigned, around.owner.hint), metrics
        )
        means = Means(
            prove=self._consumer.prove,
            vacant=around.vacant,
            patiently=around.patiently,
            held=self._held,
        )
        self._ownership = Ownership(around.owner, means, around.handover_grace_s, metrics)
        metrics.watch(metrics.kafka_up, lambda: float(cluster.reachable))

    async def start(self) -> None:
        """See to the topic if Kafka answers; raise `Misconfigured` if it has too few partitions."""
        if await self._cluster.ping() is None:
            with suppress(*AWAY):  # else `run` sees to it when Kafka is back
                async with asyncio.timeout(ANSWER_S):
                    await self._cluster.ensure_topic()

    async def run(self) -> None:
        """Own what the group gives us, until cancelled; raise `Misconfigured` as `start` does."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cluster.run())
            group.create_task(self._publisher.run())
            group.create_task(self._consumer.run())
            group.create_task(self._ownership.run())
            group.create_task(watch_lock(self._lock, self._owner, self._patiently, self._held))

    def publish(self, hint: Hint) -> None:
        """Tell the partition's owner to look at a run; at once, and without a promise."""
        self._publisher.put(hint)

    async def lags(self) -> Mapping[Partition, int]:
        """Return how many records of each partition its owner has not confirmed; empty if unknown.

        Owners commit every few seconds, so a busy partition is never quite at 0.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._cluster.lags(await self._consumer.ends())
        except AWAY:
            return {}

    def _assigned(self, partitions: frozenset[Partition]) -> None:
        log.info("partitions_assigned", count=len(partitions))
        self._ownership.assign(partitions)
