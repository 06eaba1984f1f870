"""What the Kafka library does not see to by itself: a consumer that stands still, endless waits."""

import asyncio
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from bench.stack import child
from bench.stack.kafka import Kafka
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.feed import cluster as clusters
from orchestrator.feed import consumer as consumers
from orchestrator.feed.cluster import Cluster, KafkaConfig
from orchestrator.feed.consumer import Consumer, Listener
from orchestrator.feed.publisher import Publisher
from orchestrator.telemetry.metrics import Metrics
from tests.integration.feed.kafka_proxy import KafkaProxy

pytestmark = pytest.mark.integration

DEPLOYMENT = uuid.uuid4()
PARTITIONS = 4
MANY = 20_000
WITHIN_S = 40.0


@pytest.fixture(scope="module")
def proxied() -> Iterator[tuple[Kafka, int]]:
    """Start a broker that tells its clients to come through the proxy's port."""
    folder = Path(tempfile.mkdtemp(prefix="orch-kafka-"))
    port = child.free_port()
    advertised = {"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"}
    with Kafka(folder, properties=advertised) as kafka:
        yield kafka, port
    shutil.rmtree(folder)


@pytest.fixture
async def proxy(proxied: tuple[Kafka, int]) -> AsyncIterator[KafkaProxy]:
    kafka, port = proxied
    async with KafkaProxy(port, kafka.port) as proxy:
        yield proxy


@pytest.fixture
async def cluster(proxy: KafkaProxy) -> AsyncIterator[Cluster]:
    config = KafkaConfig(
        bootstrap_servers=f"127.0.0.1:{proxy.port}",
        topic=f"commands-{uuid.uuid4()}",
        group=f"group-{uuid.uuid4()}",
        partitions=PARTITIONS,
    )
    async with Cluster(config) as cluster:
        await cluster.ensure_topic()
        assert await cluster.ping() is None
        yield cluster


def hint(number: int) -> Hint:
    run_id = RunId(uuid.UUID(int=number))
    return Hint(HintKind.RUN_REQUESTED, run_id, Partition(number % PARTITIONS), 1)


async def until(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        await asyncio.sleep(0.02)


async def test_a_consumer_that_stands_still_before_records_is_replaced(
    cluster: Cluster, proxy: KafkaProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "_LOOK_EVERY_S", 1.0)
    monkeypatch.setattr(consumers, "_COMMIT_EVERY_S", 0.5)
    metrics = Metrics("x")
    heard: list[Hint] = []
    listener = Listener(lambda _: None, heard.append)
    consuming = asyncio.create_task(Consumer(cluster, DEPLOYMENT, listener, metrics).run())
    publisher = Publisher(cluster, DEPLOYMENT, metrics)
    publishing = asyncio.create_task(publisher.run())
    while hint(1) not in heard:  # what comes before it knows where to begin, it does not hear
        publisher.put(hint(1))
        await asyncio.sleep(0.1)

    proxy.swallows_fetches = True
    publisher.put(hint(2))
    await until("the consumer was replaced", metrics.consumer_rebuilds._value.get)
    assert hint(2) not in heard
    proxy.swallows_fetches = False

    await until("the other hint came", lambda: hint(2) in heard)
    for task in (consuming, publishing):
        task.cancel()
        await asyncio.wait([task])


async def test_a_broker_that_stands_still_holds_nobody_up(
    cluster: Cluster, proxied: tuple[Kafka, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "ANSWER_S", 60.0)  # the library alone would wait so long
    kafka, _ = proxied
    metrics = Metrics("x")
    publisher = Publisher(cluster, DEPLOYMENT, metrics)
    publishing = asyncio.create_task(publisher.run())
    assigned = asyncio.Event()
    listener = Listener(lambda _: assigned.set(), lambda _: None)
    consuming = asyncio.create_task(Consumer(cluster, DEPLOYMENT, listener, metrics).run())
    publisher.put(hint(1))
    await until("a hint was taken", metrics.hints_published._value.get)
    await assigned.wait()

    kafka.pause()
    try:
        began = time.monotonic()
        for number in range(MANY):  # more than is kept
            publisher.put(hint(number))
        put_s = time.monotonic() - began
        assert dropped(metrics, "full")
        await until("some are on their way", lambda: not publisher._waiting.full())
        began = time.monotonic()
        for task in (consuming, publishing):
            task.cancel()
        await asyncio.wait([consuming, publishing])
        stop_s = time.monotonic() - began
    finally:
        kafka.resume()

    assert put_s < 5
    assert stop_s < 20


def dropped(metrics: Metrics, reason: str) -> float:
    return float(metrics._hints_dropped.labels(reason)._value.get())
