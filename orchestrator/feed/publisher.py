"""Publishing hints: bounded, never awaited, and dropped when Kafka cannot take them.

A lost hint costs a second: the partition's owner looks at its rows anyway.
"""

import asyncio
from contextlib import suppress
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer

from orchestrator import failpoints
from orchestrator.domain.hint import Hint
from orchestrator.feed.cluster import ANSWER_S, AWAY, Cluster
from orchestrator.feed.hints import encode
from orchestrator.telemetry.metrics import Metrics
from orchestrator.time_limits import within

log = structlog.get_logger(__name__)

_MAX_WAITING = 10_000
_STOP_S = 2.0
_PAUSE_S = 1.0


class Publisher:
    """Takes hints at any rate; `run` sends them until cancelled."""

    def __init__(self, cluster: Cluster, deployment: UUID, metrics: Metrics) -> None:
        self._cluster = cluster
        self._deployment = deployment
        self._metrics = metrics
        self._waiting: asyncio.Queue[Hint] = asyncio.Queue(_MAX_WAITING)

    def put(self, hint: Hint) -> None:
        """Have a hint sent, or drop it."""
        if not self._cluster.reachable:
            self._metrics.hint_dropped("away")
            return
        try:
            self._waiting.put_nowait(hint)
        except asyncio.QueueFull:
            self._metrics.hint_dropped("full")

    async def run(self) -> None:
        """Send what comes; a producer that fails is replaced."""
        while True:
            try:
                await self._serve()
            except AWAY as error:
                log.debug("producer_failed", reason=str(error))
            self._drop_waiting()
            await asyncio.sleep(_PAUSE_S)

    async def _serve(self) -> None:
        # Plain on purpose: the idempotent producer's batches never expire, and would wait out an
        # outage in memory.
        producer = AIOKafkaProducer(**self._cluster.config.client(), acks=1)
        try:
            async with asyncio.timeout(ANSWER_S):
                await producer.start()
            while True:
                await self._send(producer, await self._waiting.get())
        finally:
            with suppress(*AWAY):  # it would flush what it has for as long as that takes
                async with asyncio.timeout(_STOP_S):
                    await producer.stop()
            with suppress(*AWAY):
                await producer.client.close()

    async def _send(self, producer: AIOKafkaProducer, hint: Hint) -> None:
        """Hand a hint to the producer; its delivery is not waited for."""
        key, value = encode(self._deployment, hint)
        try:
            failpoints.reached("publish.before")
            with within(ANSWER_S):  # its buffer may be full, its metadata missing
                sent = await producer.send(
                    self._cluster.config.topic, value, key=key, partition=hint.partition
                )
        except AWAY:
            self._metrics.hint_dropped("refused")
            raise
        except (AssertionError, TypeError):  # it knows no such partition: the topic is made anew
            self._metrics.hint_dropped("refused")
            return
        failpoints.reached("publish.after")
        sent.add_done_callback(self._delivered)

    def _delivered(self, sent: "asyncio.Future[object]") -> None:
        if sent.cancelled() or sent.exception() is not None:
            self._metrics.hint_dropped("refused")
        else:
            self._metrics.hints_published.inc()

    def _drop_waiting(self) -> None:
        while not self._waiting.empty():
            self._waiting.get_nowait()
            self._metrics.hint_dropped("away")
