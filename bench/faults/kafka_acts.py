"""What can be done to Kafka, its topic and the records in it."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from bench.faults.stage import PARTITIONS, Stage, kafka_ready

_HUGE = 900_000
_LATEST_S = 3.0
_KAFKA_S = 90.0
_AGAIN_S = 0.5


async def kafka_killed(stage: Stage, _: random.Random, *, down_for: float) -> None:
    kafka = stage.services.kafka
    kafka.kill()
    await asyncio.sleep(down_for)
    kafka.spawn()
    await kafka_ready(kafka)


async def kafka_paused(stage: Stage, _: random.Random, *, for_s: float) -> None:
    """Let the broker stand still: connections stay, and nothing is answered."""
    stage.services.kafka.pause()
    await asyncio.sleep(for_s)
    stage.services.kafka.resume()


async def topic_deleted(stage: Stage, _: random.Random) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stage.services.kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([stage.topic])
    finally:
        await admin.close()


async def offsets_reset(stage: Stage, _: random.Random, *, to: str) -> None:
    """Set the group's offsets to the topic's start, or to its end, while its members are there."""
    (row,) = await stage.sql("SELECT id FROM deployment")
    group = f"orchestrator-{row['id']}"
    partitions = [TopicPartition(stage.topic, number) for number in range(PARTITIONS)]
    bootstrap = stage.services.kafka.bootstrap
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(partitions)
        if to == "start":
            offsets = await consumer.beginning_offsets(partitions)
        else:
            offsets = await consumer.end_offsets(partitions)
        # A live group refuses it; so all processes go, and come back to what was set.
        for process in stage.processes:
            await process.stop()
        await consumer.commit({tp: OffsetAndMetadata(at, "") for tp, at in offsets.items()})
    finally:
        await consumer.stop()
    for process in stage.processes:
        process.start()
    for process in stage.processes:
        await process.ready(stage.session)


async def poison(stage: Stage, rng: random.Random, *, count: int) -> None:
    """Write records that are none: garbage, an unknown schema, huge, without a key or value."""
    (row,) = await stage.sql("SELECT id FROM deployment")
    known = f'{{"v":1,"deployment":"{row["id"]}","kind":"RunPaused","run_id":"run-x","seq":1}}'
    values: list[bytes | None] = [
        b"",
        None,
        rng.randbytes(200),
        b'{"v":99}',
        b"[]",
        known.encode(),
        b"x" * _HUGE,
        b"\x00" * 64,
    ]
    producer = AIOKafkaProducer(bootstrap_servers=stage.services.kafka.bootstrap)
    await _started(producer)
    try:
        for number in range(count):
            value = values[number % len(values)]
            key = rng.choice((None, b"", b"\xff\xfe"))
            if value is None and key is None:  # not even the producer takes that
                key = b""
            partition = rng.randrange(PARTITIONS)
            with suppress(KafkaError):
                await producer.send(stage.topic, value, key=key, partition=partition)
    finally:
        await producer.stop()


async def echo(stage: Stage, rng: random.Random, *, share: float, for_s: float) -> None:
    """Write a share of all records again, late and in another order, some of them twice."""
    bootstrap = stage.services.kafka.bootstrap
    partitions = [TopicPartition(stage.topic, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    until = time.monotonic() + for_s
    echoed = 0
    async with asyncio.TaskGroup() as group:
        await _started(consumer)
        await _started(producer)
        try:
            consumer.assign(partitions)
            seen: set[tuple[int, bytes]] = set()
            while time.monotonic() < until:
                batch = await consumer.getmany(timeout_ms=200)
                for tp, records in batch.items():
                    for record in records:
                        if (tp.partition, record.value) in seen or rng.random() >= share:
                            continue
                        seen.add((tp.partition, record.value))
                        for _ in range(rng.choice((1, 2))):
                            echoed += 1
                            group.create_task(
                                _later(producer, record, rng.uniform(0, _LATEST_S), tp)
                            )
            await asyncio.sleep(_LATEST_S)
        finally:
            await consumer.stop()
            await producer.stop()
    stage.notes.append(f"{echoed} records were doubled")


async def _started(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Start a client as soon as Kafka is there."""
    async with asyncio.timeout(_KAFKA_S):
        while True:
            try:
                return await client.start()  # type: ignore[no-any-return]
            except KafkaError:
                await asyncio.sleep(_AGAIN_S)


async def _later(producer: AIOKafkaProducer, record: Any, after: float, tp: TopicPartition) -> None:
    await asyncio.sleep(after)
    with suppress(KafkaError):
        await producer.send(tp.topic, record.value, key=record.key, partition=tp.partition)


ACTS: Mapping[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "kafka_killed": kafka_killed,
    "kafka_paused": kafka_paused,
    "topic_deleted": topic_deleted,
    "offsets_reset": offsets_reset,
    "poison": poison,
    "echo": echo,
}
