"""The broker that tests, `up` and measurements run: its starts, its ends and what it keeps."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from bench.stack import child
from bench.stack.failure import StackFailed
from bench.stack.kafka import Kafka

TOP = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    if not (shutil.which("java") and shutil.which("mvn")) and not os.environ.get("CI"):
        pytest.skip("no Java and Maven: run scripts/test-machine")
    with Kafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka


async def send(kafka: Kafka, *values: bytes) -> None:
    """Write to the topic, which is made first if it is not there."""
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])  # does not raise for one that exists
    await admin.close()
    producer: Any = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    for value in values:
        await producer.send_and_wait("kept", value)
    await producer.stop()


async def read(kafka: Kafka) -> list[bytes]:
    """Return all that the topic holds."""
    place = TopicPartition("kept", 0)
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    consumer.assign([place])
    found: list[bytes] = []
    async with asyncio.timeout(20):
        end = (await consumer.end_offsets([place]))[place]
        while len(found) < end:
            found.append((await consumer.getone()).value)
    await consumer.stop()
    return found


async def test_records_outlive_a_stop_and_a_kill_of_the_broker(kafka: Kafka) -> None:
    port, first = kafka.port, kafka.pid
    await send(kafka, b"1", b"2")

    kafka.restart()
    assert kafka.port == port
    assert kafka.pid != first
    assert await read(kafka) == [b"1", b"2"]

    await send(kafka, b"3")
    kafka.kill()
    assert kafka.exit_code == -signal.SIGKILL
    kafka.start()
    assert await read(kafka) == [b"1", b"2", b"3"]


async def test_a_paused_broker_answers_nobody_until_it_goes_on(kafka: Kafka) -> None:
    await send(kafka, b"before")

    kafka.pause()
    assert not kafka.is_ready()
    with pytest.raises((KafkaError, TimeoutError)):
        async with asyncio.timeout(2):
            await send(kafka, b"lost")
    kafka.resume()

    assert b"before" in await read(kafka)


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = Kafka(tmp_path, properties={"num.io.threads": "none"})

    with pytest.raises(StackFailed, match=r"num\.io\.threads"):
        broken.start()


def test_starting_a_running_broker_is_refused(kafka: Kafka) -> None:
    with pytest.raises(StackFailed, match="runs already"):
        kafka.start()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells children of a parent's death")
def test_a_broker_dies_with_whoever_started_it(tmp_path: Path, kafka: Kafka) -> None:
    del kafka  # only its skip is wanted
    code = (
        "import sys, time; from pathlib import Path; from bench.stack.kafka import Kafka\n"
        "kafka = Kafka(Path(sys.argv[1])); kafka.start(); print(kafka.pid, flush=True)\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=TOP, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()

    parent.kill()
    parent.communicate()

    deadline = time.monotonic() + 20
    while _lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_taken_port_is_not_given_out() -> None:
    port = child.free_port()
    assert child.free_port(port) == port
    with socket.create_server(("127.0.0.1", port)):
        assert child.free_port(port) != port
