"""The consumer: which partitions the group gives us, and the hints of those.

Records are hints: taken at once, their offsets committed every few seconds apart from that. Nothing
is ever paused. A consumer that fails or stops moving is replaced; what it missed, the scan of the
rows finds.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import IllegalStateError

from orchestrator import failpoints
from orchestrator.domain.hint import Hint
from orchestrator.domain.term import Partition
from orchestrator.feed.cluster import ANSWER_S, AWAY, Cluster
from orchestrator.feed.hints import Skip, decode
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_SESSION_S = 6.0  # without a heartbeat for so long, a process is dead to the group
_HEARTBEAT_S = 1.0
_REBALANCE_S = 10.0
_START_S = 30.0
_STOP_S = 3.0
_COMMIT_EVERY_S = 3.0
_LOOK_EVERY_S = 5.0
_STALLED_LOOKS = 2
_PAUSE_S = 1.0
_RECORDS_AT_ONCE = 1_000


class Stalled(Exception):
    """The consumer stands still while there are records for it (aiokafka issue 1154)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom the consumer tells what; both return at once."""

    assigned: Callable[[frozenset[Partition]], None]
    hinted: Callable[[Hint], None]


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A revocation alone means nothing: most partitions come straight back."""

    def __init__(self, told: Callable[[frozenset[Partition]], None]) -> None:
        self._told = told

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._told(frozenset(Partition(tp.partition) for tp in assigned))


class Consumer:
    """Stays in the group for as long as `run` runs, with one consumer of aiokafka after another."""

    def __init__(
        self, cluster: Cluster, deployment: UUID, listener: Listener, metrics: Metrics
    ) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self._listener = listener
        self._metrics = metrics
        self._client: AIOKafkaConsumer | None = None
        self._lags: dict[Partition, int] = {}
        metrics.watch(metrics.consumer_lag, lambda: sum(self._lags.values()))

    async def run(self) -> None:
        """Consume until cancelled; raise `Misconfigured` when the topic has too few partitions."""
        while True:
            try:
                await self._cluster.ensure_topic()
                await self._live()
            except* Stalled as stalled:
                log.warning("consumer_stalled", reason=str(stalled.exceptions[0]))
            except* AWAY as group:
                log.info("consumer_failed", reason=_first(group))
            self._metrics.consumer_rebuilds.inc()
            await asyncio.sleep(_PAUSE_S)

    async def prove(self, partitions: Sequence[Partition]) -> frozenset[Partition]:
        """Commit offsets of these partitions; return those for which the group accepted it.

        Whoever was replaced in the group without knowing it learns it here.
        """
        client = self._client
        if client is None:
            return frozenset()
        try:
            async with asyncio.timeout(ANSWER_S):
                offsets = {
                    tp: OffsetAndMetadata(await client.position(tp), "")
                    for tp in map(self._named, partitions)
                    if tp in client.assignment()
                }
                if offsets:
                    await client.commit(offsets)
        except (*AWAY, IllegalStateError) as refused:
            log.info("partitions_not_proven", count=len(partitions), reason=repr(refused))
            return frozenset()
        return frozenset(Partition(tp.partition) for tp in offsets)

    async def ends(self) -> Mapping[Partition, int]:
        """Return the end of each partition of the topic; raise what `AWAY` holds."""
        client = self._client
        if client is None:
            raise TimeoutError
        numbers = client.partitions_for_topic(self._cluster.config.topic) or ()
        found = await client.end_offsets([self._named(Partition(number)) for number in numbers])
        return {Partition(tp.partition): end for tp, end in found.items()}

    # -- one consumer of aiokafka -----------------------------------------------------------------

    async def _live(self) -> None:
        """Join the group and consume, until something fails."""
        client = self._make()
        client.subscribe([self._cluster.config.topic], listener=_Rebalance(self._listener.assigned))
        try:
            async with asyncio.timeout(_START_S):
                await client.start()
            self._client = client
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(client))
                group.create_task(self._commit(client))
                group.create_task(self._watch(client))
        finally:
            self._client = None
            with suppress(*AWAY):
                async with asyncio.timeout(_STOP_S):
                    await client.stop()

    def _make(self) -> AIOKafkaConsumer:
        # The assignor remembers what it assigned in its class: each consumer has one of its own.
        assignor = type("Assignor", (StickyPartitionAssignor,), {})
        return AIOKafkaConsumer(
            **self._cluster.config.client(),
            group_id=self._cluster.config.group,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            session_timeout_ms=int(_SESSION_S * 1000),
            heartbeat_interval_ms=int(_HEARTBEAT_S * 1000),
            rebalance_timeout_ms=int(_REBALANCE_S * 1000),
            partition_assignment_strategy=(assignor,),
        )

    async def _read(self, client: AIOKafkaConsumer) -> None:
        while True:
            batch = await client.getmany(timeout_ms=1_000, max_records=_RECORDS_AT_ONCE)
            for tp, records in batch.items():
                for record in records:
                    self._take(record, Partition(tp.partition))

    def _take(self, record: Any, partition: Partition) -> None:
        hint = decode(self._deployment, partition, record.value)
        if isinstance(hint, Hint):
            self._metrics.hints_received.inc()
            self._listener.hinted(hint)
            return
        self._metrics.hint_skipped(hint.value)
        if hint is Skip.POISON:
            log.warning(
                "record_skipped", reason=hint.value, partition=partition, offset=record.offset
            )

    async def _commit(self, client: AIOKafkaConsumer) -> None:
        """Commit what was read. One that fails is made good by the next."""
        while True:
            await asyncio.sleep(_COMMIT_EVERY_S)
            with suppress(*AWAY, IllegalStateError):
                failpoints.reached("offsets.before")
                async with asyncio.timeout(ANSWER_S):
                    await client.commit()
                failpoints.reached("offsets.after")

    async def _watch(self, client: AIOKafkaConsumer) -> None:
        """Raise `Stalled` when positions stand still before records; mend the topic."""
        before: dict[TopicPartition, int] = {}
        stalled = 0
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._cluster.ensure_topic()
                    positions, ends = await self._positions(client)
            except (*AWAY, IllegalStateError):
                stalled = 0  # Kafka is away, or the group is rebalancing
                continue
            behind = {tp for tp, at in positions.items() if ends.get(tp, at) > at}
            self._lags = {Partition(tp.partition): ends[tp] - positions[tp] for tp in behind}
            still = {tp for tp in behind if before.get(tp) == positions[tp]}
            stalled = stalled + 1 if still else 0
            if stalled >= _STALLED_LOOKS:
                raise Stalled(f"no progress on {len(still)} partitions with records")
            before = positions

    async def _positions(
        self, client: AIOKafkaConsumer
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        assigned = client.assignment()
        positions = {tp: await client.position(tp) for tp in assigned}
        ends = await client.end_offsets(list(assigned)) if assigned else {}
        return positions, ends

    def _named(self, partition: Partition) -> TopicPartition:
        return TopicPartition(self._cluster.config.topic, partition)


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
