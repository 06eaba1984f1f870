"""Processes share the work by Kafka's partitions: they join, leave, die, and nothing is lost."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from tests.agents_under_test import launch
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
from tests.e2e.program import Program, refused
from tests.e2e.test_parked import answer, asks, inbox

pytestmark = pytest.mark.e2e

MANY = 500


def test_two_processes_share_the_runs_and_hint_each_other(
    cluster: Cluster, agent: AgentProcess, dsn: str
) -> None:
    # A scan that comes too late to help: what runs, runs by hints.
    first, second = cluster.programs(2, scan_interval_s=60)
    engine.register(first, agent)
    workflow = engine.three_steps(first)

    run_ids = engine.execute_many(first, workflow, 40)

    assert ends(dsn, run_ids, 20) == {"COMPLETED": 40}
    assert set(engine.calls_by_step(agent).values()) == {1}
    assert metric(second, "orchestrator_hints_received_total") > 0
    assert metric(second, "orchestrator_runs_ended_total") > 0
    _, run = first.call("GET", f"/api/v1/runs/{run_ids[0]}")
    owner = next(p for p in (first, second) if run["partition"] in owned_by(p))
    assert run["owner"].endswith(f":{owner.port}")
    _, listed = first.call("GET", "/api/v1/system/partitions")
    assert listed["feed"] == "kafka"
    assert [item["partition"] for item in listed["items"]] == list(range(PARTITIONS))


def test_a_cancel_reaches_a_call_in_another_process_by_its_hint(
    cluster: Cluster, agent: AgentProcess
) -> None:
    first, second = cluster.programs(2, scan_interval_s=60)
    engine.register(first, agent)
    mapping = {"mode": "task", "delay_ms": 60_000}
    workflow = engine.three_steps(first, input_mapping=mapping)
    theirs = owned_by(second)
    run_ids = engine.execute_many(first, workflow, 8)
    run_id = next(r for r in run_ids if partition(first, r) in theirs)
    until("every task is followed", lambda: agent.get("/count")["calls"] == 8)

    status, _ = first.call("POST", f"/api/v1/runs/{run_id}/cancel")

    assert status == 200
    until("the agent was asked to cancel", lambda: agent.get("/calls")["cancels"], 5)
    status, _ = first.call("POST", f"/api/v1/runs/{run_id}/retry")
    assert status == 202
    until("the retry called again", lambda: agent.get("/count")["calls"] == 9, 5)


def test_an_answer_given_to_one_process_is_sent_by_another_by_its_hint(
    cluster: Cluster, agent: AgentProcess
) -> None:
    first, second = cluster.programs(2, scan_interval_s=60)
    engine.register(first, agent)
    workflow = asks(first)
    theirs = owned_by(second)
    run_ids = engine.execute_many(first, workflow, 8)
    until("all wait", lambda: inbox(first)["total"] == 8)
    run_id = next(r for r in run_ids if partition(first, r) in theirs)

    assert answer(first, run_id, text="blue") == 202

    assert first.ended(run_id, 5)["status"] == "COMPLETED"
    assert inbox(second)["total"] == 7


def partition(program: Program, run_id: str) -> int:
    _, run = program.call("GET", f"/api/v1/runs/{run_id}")
    return int(run["partition"])


def test_a_killed_process_is_replaced_and_no_completed_step_is_called_again(
    cluster: Cluster, agent: AgentProcess, dsn: str
) -> None:
    first, second = cluster.programs(2)
    engine.register(first, agent)
    workflow = engine.three_steps(first, input_mapping={"n": "${workflow.input.source}"})
    run_ids = engine.execute_many(first, workflow, MANY)
    until("a part of the work is done", lambda: agent.get("/count")["done"] >= MANY // 2)

    second.kill()
    killed = time.monotonic()
    done = engine.rows(
        dsn,
        "SELECT 'run-' || run_id AS run, path FROM step_execution WHERE status = 'COMPLETED'",
    )

    assert ends(dsn, run_ids, 15) == {"COMPLETED": MANY}
    assert time.monotonic() - killed < 15
    after = engine.calls_by_step(agent)
    for row in done:
        assert after[row["run"], row["path"]] == 1
    assert len(after) == 3 * MANY
    # What was sent twice was in flight at the kill, and carried the same messageId.
    assert all(len(ids) == 1 for ids in engine.message_ids_by_step(agent).values())
    share(first)


def test_a_third_that_joins_and_leaves_disturbs_no_actor_that_stays(
    cluster: Cluster, dsn: str
) -> None:
    with launch.recording("--delay-ms", "200") as agent:
        first, second = cluster.programs(2)
        engine.register(first, agent)
        # What is in flight at a move and has no task may be sent again: here it would fail.
        workflow = engine.three_steps(first, on_unknown_outcome="fail")
        with ThreadPoolExecutor(1) as thread:
            executed = thread.submit(engine.execute_many, first, workflow, 300)
            third = cluster.program()
            share(first, second, third)
            assert third.stop() == 0
            share(first, second)
            run_ids = executed.result()

        assert ends(dsn, run_ids, 60) == {"COMPLETED": 300}
        assert sent_twice(agent) == {}


def test_a_rolling_restart_under_load_fails_no_run(cluster: Cluster, dsn: str) -> None:
    with launch.recording("--delay-ms", "100") as agent:
        first, second = cluster.programs(2)
        engine.register(first, agent)
        workflow = engine.three_steps(first, on_unknown_outcome="fail")
        early = engine.execute_many(first, workflow, 100)

        assert second.stop() == 0
        third = cluster.program()
        share(first, third)
        late = engine.execute_many(third, workflow, 100)
        assert first.stop() == 0
        fourth = cluster.program()
        share(third, fourth)

        assert ends(dsn, early + late, 60) == {"COMPLETED": 200}
        assert sent_twice(agent) == {}


def test_two_deployments_on_one_kafka_do_not_touch_each_other(
    cluster: Cluster, agent: AgentProcess, dsn: str, empty_dsn: str
) -> None:
    keys = Fernet.generate_key().decode()
    ours = cluster.program()
    theirs = cluster.program(database_url=empty_dsn, secret_keys=keys)
    other = cluster.program(database_url=empty_dsn, secret_keys=keys)
    share(ours)
    share(theirs, other)
    for program in (ours, theirs):
        engine.register(program, agent)
    our_runs = engine.execute_many(ours, engine.three_steps(ours), 20)
    their_runs = engine.execute_many(theirs, engine.three_steps(theirs), 20)

    assert ends(dsn, our_runs, 20) == {"COMPLETED": 20}
    assert ends(empty_dsn, their_runs, 20) == {"COMPLETED": 20}
    assert set(engine.calls_by_step(agent).values()) == {1}
    until("their hints were seen", lambda: metric(ours, "orchestrator_hints_skipped_total") > 0)
    assert metric(ours, "orchestrator_hints_received_total") == 0


def test_a_process_without_kafka_is_refused_beside_one_with_it(
    cluster: Cluster, dsn: str, tmp_path: Path
) -> None:
    cluster.program()

    assert "configure Kafka" in refused(tmp_path / "alone", database_url=dsn)
