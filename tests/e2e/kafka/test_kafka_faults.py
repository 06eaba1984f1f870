"""Kafka away, its topic gone, records that are none: runs are accepted, executed, and not lost."""

import json
import time
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from bench.stack.kafka import Kafka
from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.kafka.cluster import (
    PARTITIONS,
    Cluster,
    ends,
    metric,
    owned_by,
    sent_twice,
    share,
    until,
)
from tests.integration.conftest import in_thread

pytestmark = pytest.mark.e2e

AWAY_S = 20.0


def test_runs_are_accepted_and_completed_while_kafka_is_away(
    cluster: Cluster, agent: AgentProcess, dsn: str, kafka: Kafka
) -> None:
    first, second = cluster.programs(2)
    engine.register(first, agent)
    workflow = engine.three_steps(first)
    before = engine.execute_many(first, workflow, 20)
    kafka.kill()
    away_until = time.monotonic() + AWAY_S
    try:
        until("it is noticed", lambda: metric(first, "orchestrator_kafka_up") == 0, 15)
        meanwhile: list[str] = []
        while time.monotonic() < away_until:
            batch = engine.execute_many(first, workflow, 10)
            assert ends(dsn, batch, 10) == {"COMPLETED": 10}
            meanwhile += batch
        status, ready = first.call("GET", "/health/ready")
        assert (status, ready["ready"]) == (200, True)
        assert ready["checks"]["kafka"]["status"] == "unhealthy"
    finally:
        kafka.start()

    share(first, second, within=60)
    after = engine.execute_many(second, workflow, 20)

    everything = before + meanwhile + after
    assert ends(dsn, everything, 20) == {"COMPLETED": len(everything)}
    assert sent_twice(agent) == {}
    for program in (first, second):
        events = [line.get("event") for line in program.lines]
        assert events.count("kafka_unavailable") == 1
        assert len(events) < 200  # one line, not thousands
        assert metric(program, "orchestrator_terms_lost_total") == 0


def test_a_process_that_starts_while_kafka_is_away_gets_its_partitions_later(
    cluster: Cluster, agent: AgentProcess, dsn: str, kafka: Kafka
) -> None:
    kafka.kill()
    try:
        program = cluster.program()
        engine.register(program, agent)
        run_ids = engine.execute_many(program, engine.three_steps(program), 10)
        assert owned_by(program) == set()
    finally:
        kafka.start()

    assert ends(dsn, run_ids, 60) == {"COMPLETED": 10}


def test_a_topic_that_is_deleted_is_made_anew_and_no_run_is_lost(
    cluster: Cluster, agent: AgentProcess, dsn: str, kafka: Kafka
) -> None:
    first, second = cluster.programs(2)
    engine.register(first, agent)
    workflow = engine.three_steps(first)
    topic = str(cluster.settings["kafka_topic"])
    run_ids = engine.execute_many(first, workflow, 50)

    in_thread(delete(kafka.bootstrap, topic))
    run_ids += engine.execute_many(first, workflow, 50)

    assert ends(dsn, run_ids, 60) == {"COMPLETED": 100}
    until("the topic is there", lambda: in_thread(size(kafka.bootstrap, topic)) == PARTITIONS)
    share(first, second, within=60)
    late = engine.execute_many(second, workflow, 20)
    assert ends(dsn, late, 20) == {"COMPLETED": 20}


async def delete(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.delete_topics([topic])
    await admin.close()


async def size(bootstrap: str, topic: str) -> int:
    """Return how many partitions a topic has."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    (found,) = await admin.describe_topics([topic])
    await admin.close()
    return len(found["partitions"])


def test_records_that_are_none_of_ours_doubled_or_late_change_nothing(
    cluster: Cluster, agent: AgentProcess, dsn: str, kafka: Kafka
) -> None:
    (program,) = cluster.programs(1)
    engine.register(program, agent)
    workflow = engine.three_steps(program, input_mapping={"delay_ms": 300})
    deployment = str(engine.rows(dsn, "SELECT id FROM deployment")[0]["id"])
    done = engine.execute(program, workflow)
    assert program.ended(done)["status"] == "COMPLETED"
    running = engine.execute_many(program, workflow, 20)

    def record(kind: str, run_id: str, v: int = 1, seq: int = 1_000_000) -> bytes:
        fields = {"v": v, "deployment": deployment, "kind": kind, "run_id": run_id, "seq": seq}
        return json.dumps(fields).encode()

    poison = [b"", b"\xff\x00garbage", b"[]", record("RunRequested", "nobody"), b"x" * 500_000]
    unknown = [record("RunPaused", done), record("RunRequested", done, v=7)]
    ours = [
        record(kind, run_id)
        for kind in ("RunRequested", "RetryRequested", "CancelRequested")
        for run_id in (done, *running, "run-00000000-0000-7000-8000-000000000000")
    ]
    topic = str(cluster.settings["kafka_topic"])
    in_thread(produce(kafka.bootstrap, topic, [*poison, *unknown, *ours, *ours]))

    assert ends(dsn, running, 30) == {"COMPLETED": 20}
    until(
        "all records were read",
        lambda: metric(program, "orchestrator_hints_received_total") == 2 * len(ours) * PARTITIONS,
    )
    skipped = (len(poison) + len(unknown)) * PARTITIONS
    assert metric(program, "orchestrator_hints_skipped_total") == skipped
    assert sent_twice(agent) == {}
    assert metric(program, "orchestrator_consumer_rebuilds_total") == 0


async def produce(bootstrap: str, topic: str, values: Sequence[bytes]) -> None:
    """Send the records to every partition."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    for partition in range(PARTITIONS):
        for value in values:
            await producer.send(topic, value, key=b"", partition=partition)
    await producer.stop()


def test_a_topic_with_too_few_partitions_is_refused(cluster: Cluster) -> None:
    cluster.program(partitions=8).stop()
    again = cluster.refused(partitions=12)

    assert "has 8 partitions, and 12 are configured: set 8" in again
