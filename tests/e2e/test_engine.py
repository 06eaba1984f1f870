"""Whole runs through the running program: to the end, over a retry, a cancel, a crash, a stop."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.program import Program

pytestmark = pytest.mark.e2e

MANY = 200


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    with launch.recording() as agent:
        yield agent


@pytest.fixture
def program(tmp_path: Path, dsn: str) -> Iterator[Program]:
    with Program(tmp_path, database_url=dsn) as program:
        yield program


def until(what: str, condition: object, within: float = 30.0) -> None:
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.01)


def test_a_run_goes_through_its_steps_and_its_history_is_gapless(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)
    workflow = engine.three_steps(program)

    run = program.ended(engine.execute(program, workflow))

    assert run["status"] == "COMPLETED"
    assert run["completed_at"] >= run["created_at"]
    _, steps = program.call("GET", f"/api/v1/runs/{run['id']}/steps")
    assert [(s["step_id"], s["status"]) for s in steps] == [
        (step, "COMPLETED") for step in engine.STEPS
    ]
    assert steps[1]["input_data"] == {"source": "a", "delay_ms": 0, "before": 1}
    assert steps[2]["output_data"]["echo"]["before"] == 2
    _, logs = program.call("GET", f"/api/v1/runs/{run['id']}/logs?page_size=100")
    assert [item["seq"] for item in logs["items"]] == list(range(1, logs["total"] + 1))
    assert sum(engine.calls_by_step(agent).values()) == 3


def test_a_transient_failure_is_retried_and_a_failed_run_can_be(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent, retry_config={"max_retries": 1, "initial_delay_ms": 100})
    mapping = {"fail_first": "${workflow.input.fail_first}"}
    workflow = engine.three_steps(program, input_mapping=mapping)

    once = program.ended(engine.execute(program, workflow, fail_first=1))
    thrice = program.ended(engine.execute(program, workflow, fail_first=3))

    assert once["status"] == "COMPLETED"
    assert thrice["status"] == "FAILED"
    assert thrice["error_message"].startswith("Step 'extract' failed: ")
    status, retried = program.call("POST", f"/api/v1/runs/{thrice['id']}/retry", {})
    assert (status, retried["status"], retried["error_message"]) == (202, "PENDING", None)
    assert program.ended(thrice["id"])["status"] == "FAILED"  # the second step fails three times
    ids = engine.message_ids_by_step(agent)[thrice["id"], "extract"]
    assert ids == {f"{thrice['id']}.extract.{n}" for n in (1, 2, 3, 4)}


def test_a_cancel_stops_the_run_and_cancels_the_agents_task(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)
    workflow = engine.three_steps(
        program, input_mapping={"mode": "task", "delay_ms": 60_000}, name="slow"
    )
    run_id = engine.execute(program, workflow)
    until("the task is followed", lambda: agent.get("/count")["polls"] > 0)

    status, cancelled = program.call("POST", f"/api/v1/runs/{run_id}/cancel", {"reason": "enough"})

    assert (status, cancelled["status"]) == (200, "CANCELLED")
    assert cancelled["error_message"] == "Cancelled: enough"
    until("the agent was asked to cancel", lambda: agent.get("/calls")["cancels"])
    _, steps = program.call("GET", f"/api/v1/runs/{run_id}/steps")
    assert [s["status"] for s in steps] == ["FAILED", "SKIPPED", "SKIPPED"]
    status, again = program.call("POST", f"/api/v1/runs/{run_id}/cancel", {})
    assert status == 400, again


def test_a_cancel_aborts_a_call_that_hangs_and_drops_its_answer(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)
    workflow = engine.three_steps(program, input_mapping={"delay_ms": 5_000}, name="hanging")
    run_id = engine.execute(program, workflow)
    until("the call is out", lambda: agent.get("/count")["calls"] == 1)

    program.call("POST", f"/api/v1/runs/{run_id}/cancel")

    until("the actor is gone", lambda: "\norchestrator_active_actors 0.0" in metrics(program))
    status, retried = program.call("POST", f"/api/v1/runs/{run_id}/retry")
    assert (status, retried["status"]) == (202, "PENDING")
    until("the retry called again", lambda: agent.get("/count")["calls"] == 2)
    assert engine.message_ids_by_step(agent)[run_id, "extract"] == {
        f"{run_id}.extract.1",
        f"{run_id}.extract.2",
    }


def metrics(program: Program) -> str:
    return program.call_text("GET", "/metrics")[1]


@pytest.mark.parametrize("mode", ["message", "task"])
def test_a_killed_process_starts_again_and_completes_every_run_without_a_second_call_of_a_step(
    tmp_path: Path, dsn: str, mode: str
) -> None:
    with launch.recording("--mode", mode, "--delay-ms", "40") as agent:
        program = Program(tmp_path, database_url=dsn).start()
        engine.register(program, agent)
        mapping = {"n": "${workflow.input.source}"}
        workflow = engine.three_steps(program, input_mapping=mapping)
        run_ids = engine.execute_many(program, workflow, MANY)
        until("half of the work is done", lambda: agent.get("/count")["done"] >= MANY)
        program.kill()
        at_kill = engine.calls_by_step(agent)
        done = engine.rows(
            dsn,
            "SELECT 'run-' || run_id AS run, path FROM step_execution"
            " WHERE status = 'COMPLETED' OR task_id IS NOT NULL",
        )
        unfinished = engine.rows(dsn, "SELECT FROM run WHERE status IN ('PENDING', 'RUNNING')")
        assert unfinished, "the kill came too late to show anything"

        with Program(tmp_path, database_url=dsn) as again:
            ends = {run_id: again.ended(run_id)["status"] for run_id in run_ids}
            _, listed = again.call("GET", "/api/v1/runs?status=COMPLETED")

        assert set(ends.values()) == {"COMPLETED"}
        assert listed["total"] == MANY
        after = engine.calls_by_step(agent)
        for row in done:  # completed, or its task known: never sent again
            assert after[row["run"], row["path"]] == at_kill[row["run"], row["path"]]
        assert len(after) == 3 * MANY
        # What was sent twice was in flight at the kill, and carried the same messageId.
        assert all(len(ids) == 1 for ids in engine.message_ids_by_step(agent).values())
        assert sum(after.values()) <= 3 * MANY + len(unfinished)


def test_a_stop_under_load_fails_no_run_and_sends_nothing_twice(tmp_path: Path, dsn: str) -> None:
    with launch.recording("--delay-ms", "30") as agent:
        program = Program(tmp_path, database_url=dsn).start()
        engine.register(program, agent)
        workflow = engine.three_steps(program, on_unknown_outcome="fail")
        run_ids = engine.execute_many(program, workflow, 60)
        until("some work is done", lambda: agent.get("/count")["done"] >= 30)

        assert program.stop() == 0

        with Program(tmp_path, database_url=dsn) as again:
            ends = {again.ended(run_id)["status"] for run_id in run_ids}
        assert ends == {"COMPLETED"}
        assert set(engine.calls_by_step(agent).values()) == {1}


def test_a_wait_that_was_stored_goes_on_after_a_kill(tmp_path: Path, dsn: str) -> None:
    with launch.recording() as agent:
        program = Program(tmp_path, database_url=dsn, park_after_s=0).start()
        engine.register(
            program,
            agent,
            retry_config={"max_retries": 2, "initial_delay_ms": 700, "backoff_multiplier": 1},
        )
        workflow = engine.three_steps(program, input_mapping={"fail_first": 1})
        run_id = engine.execute(program, workflow)
        until("the first attempt failed", lambda: agent.get("/count")["calls"] == 1)
        query = "SELECT FROM run WHERE wake_at IS NOT NULL"
        until("the wait is stored", lambda: engine.rows(dsn, query))
        program.kill()

        with Program(tmp_path, database_url=dsn, park_after_s=0) as again:
            assert again.ended(run_id)["status"] == "COMPLETED"
        assert set(engine.calls_by_step(agent).values()) == {2}


def test_more_runs_than_actors_wait_as_rows_and_all_complete(tmp_path: Path, dsn: str) -> None:
    with (
        launch.recording("--delay-ms", "5") as agent,
        Program(tmp_path, database_url=dsn, max_active_runs=4) as program,
    ):
        engine.register(program, agent)
        workflow = engine.three_steps(program)
        run_ids = engine.execute_many(program, workflow, 60)
        assert {program.ended(run_id)["status"] for run_id in run_ids} == {"COMPLETED"}
        assert set(engine.calls_by_step(agent).values()) == {1}
