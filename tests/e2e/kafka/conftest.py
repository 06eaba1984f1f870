"""Several programs on one PostgreSQL and one real Kafka."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from bench.stack.kafka import Kafka
from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.e2e.kafka.cluster import Cluster


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """Start the session's broker."""
    folder = Path(tempfile.mkdtemp(prefix="orch-kafka-"))
    with Kafka(folder) as kafka:
        yield kafka
    shutil.rmtree(folder)


_numbers = itertools.count(1)


@pytest.fixture
def cluster(kafka: Kafka, dsn: str, tmp_path: Path) -> Iterator[Cluster]:
    """Make programs that share a database and a topic; all of them end with the test."""
    settings: dict[str, object] = {
        "database_url": dsn,
        "kafka_bootstrap_servers": kafka.bootstrap,
        "kafka_topic": f"commands-{next(_numbers)}",
        "secret_keys": Fernet.generate_key().decode(),
    }
    with contextlib.ExitStack() as stack:
        yield Cluster(stack, tmp_path, settings)


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    with launch.recording("--delay-ms", "20") as agent:
        yield agent
