"""What users are promised of running programs beyond a run's usual way."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.stack.proxy import Proxy
from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.program import Program
from tests.e2e.test_engine import until

pytestmark = pytest.mark.e2e

SECRET = "s3cret-token-of-the-agent"  # noqa: S105 - what must not be found anywhere
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    with launch.recording() as agent:
        yield agent


@pytest.fixture
def program(tmp_path: Path, dsn: str) -> Iterator[Program]:
    with Program(tmp_path, database_url=dsn, log_level="debug") as program:
        yield program


def steps(program: Program, run_id: str) -> list[dict[str, Any]]:
    status, found = program.call("GET", f"/api/v1/runs/{run_id}/steps")
    assert status == 200, found
    return list(found)


def test_a_step_stays_running_between_attempts_and_its_agents_new_url_is_used(
    program: Program, agent: AgentProcess
) -> None:
    retry = {"max_retries": 10, "initial_delay_ms": 300, "backoff_multiplier": 1}
    registered = engine.register(program, agent, url=NOBODY, retry_config=retry)
    run_id = engine.execute(program, engine.three_steps(program))
    until("the second attempt", lambda: steps(program, run_id)[0]["attempt"] >= 2)

    seen = {steps(program, run_id)[0]["status"] for _ in range(50)}
    program.call("PUT", f"/api/v1/agents/{registered['id']}", {"url": agent.url})

    assert seen == {"RUNNING"}
    assert program.ended(run_id)["status"] == "COMPLETED"
    assert sum(engine.calls_by_step(agent).values()) == 3


def test_an_agent_that_became_inactive_fails_the_step_at_its_next_attempt(
    program: Program, agent: AgentProcess
) -> None:
    retry = {"max_retries": 10, "initial_delay_ms": 300, "backoff_multiplier": 1}
    registered = engine.register(program, agent, url=NOBODY, retry_config=retry)
    run_id = engine.execute(program, engine.three_steps(program))
    until("the first attempt", lambda: steps(program, run_id)[0]["attempt"] >= 1)

    program.call("PUT", f"/api/v1/agents/{registered['id']}", {"status": "inactive"})

    run = program.ended(run_id)
    assert run["error_message"] == "Step 'extract' failed: Agent 'recorder' not found or inactive"
    assert [s["status"] for s in steps(program, run_id)] == ["FAILED", "SKIPPED", "SKIPPED"]


def test_a_run_whose_workflow_was_deleted_is_retried_without_what_it_completed(
    program: Program, agent: AgentProcess
) -> None:
    registered = engine.register(program, agent)
    workflow = engine.three_steps(program, name="gone")
    dead = {"name": "dead", "url": NOBODY, "retry_config": {"max_retries": 0}}
    _, dead = program.call("POST", "/api/v1/agents", dead)
    changed = workflow["workflow_data"]["steps"]
    changed["load"]["agent_name"] = "dead"
    program.call("PUT", f"/api/v1/workflows/{workflow['id']}", {"steps": changed})
    run_id = engine.execute(program, workflow)
    failed = program.ended(run_id)
    ids = [s["id"] for s in steps(program, run_id)]
    status, _ = program.call("DELETE", f"/api/v1/workflows/{workflow['id']}")
    assert (failed["status"], failed["workflow_version"], status) == ("FAILED", 2, 200)
    program.call("PUT", f"/api/v1/agents/{dead['id']}", {"url": registered["url"]})

    status, retried = program.call("POST", f"/api/v1/runs/{run_id}/retry")

    assert (status, retried["status"], retried["completed_at"]) == (202, "PENDING", None)
    assert program.ended(run_id)["status"] == "COMPLETED"
    assert [s["id"] for s in steps(program, run_id)] == ids
    assert set(engine.calls_by_step(agent).values()) == {1}


def test_the_history_tells_of_a_takeover(tmp_path: Path, dsn: str) -> None:
    with launch.recording("--mode", "task") as agent:
        program = Program(tmp_path, database_url=dsn).start()
        engine.register(program, agent)
        run_id = engine.execute(program, engine.three_steps(program), delay_ms=700)
        until("the task is followed", lambda: agent.get("/count")["polls"] > 0)
        program.kill()

        with Program(tmp_path, database_url=dsn) as again:
            assert again.ended(run_id)["status"] == "COMPLETED"
            _, history = again.call("GET", f"/api/v1/runs/{run_id}/logs?page_size=100")
        assert set(engine.calls_by_step(agent).values()) == {1}

    kinds = [item["event"] for item in history["items"]]
    assert kinds.count("RunTakenOver") == 1
    assert kinds[0] == "RunCreated"
    assert kinds[-1] == "RunCompleted"


def test_who_waits_for_a_run_is_answered_as_soon_as_the_program_stops(
    tmp_path: Path, dsn: str
) -> None:
    with launch.recording() as agent:
        program = Program(tmp_path, database_url=dsn).start()
        engine.register(program, agent)
        run_id = engine.execute(program, engine.three_steps(program), delay_ms=5000)
        until("the call is out", lambda: agent.get("/count")["calls"] == 1)
        stopping = threading.Thread(target=program.stop)
        stopping.start()
        program.said("stopping")

        status, run = program.call("GET", f"/api/v1/runs/{run_id}?wait=60")

        assert (status, run["status"]) == (200, "RUNNING")
        assert agent.get("/count")["done"] == 0, "it was answered when the call was over"
        stopping.join()


def test_log_lines_name_request_run_and_step_and_a_secret_is_nowhere(
    program: Program, agent: AgentProcess, dsn: str
) -> None:
    engine.register(
        program,
        agent,
        auth_type="bearer",
        auth_config={"token": SECRET},
        retry_config={"max_retries": 1, "initial_delay_ms": 100},
    )
    workflow = engine.three_steps(program, input_mapping={"tell": "Authorization"}, name="leaky")
    path = f"/api/v1/workflows/{workflow['id']}/execute"

    _, run = program.call("POST", path, {"input_data": {}}, X_Request_ID="the-request")
    ended = program.ended(run["id"])
    failed = program.said("step_failed")

    assert "***" in ended["error_message"]
    assert (failed["request_id"], failed["run_id"], failed["step_id"]) == (
        "the-request",
        run["id"],
        "extract",
    )
    answered = [line for line in program.lines if line.get("request_id") == "the-request"]
    assert {"request_answered", "attempt_failed", "step_failed"} == {a["event"] for a in answered}
    assert {a["run_id"] for a in answered} == {run["id"]}
    shown = [
        program.call_text("GET", path)[1]
        for path in (
            "/metrics",
            "/api/v1/agents",
            f"/api/v1/runs/{run['id']}",
            f"/api/v1/runs/{run['id']}/logs",
        )
    ]
    kept = engine.rows(
        dsn,
        "SELECT encode(auth_sealed, 'escape') FROM agent UNION ALL SELECT a::text FROM agent a"
        " UNION ALL SELECT r::text FROM run r UNION ALL SELECT s::text FROM step_execution s"
        " UNION ALL SELECT e::text FROM run_event e",
    )
    for text in (*shown, *map(str, program.lines), *(row[0] for row in kept)):
        assert SECRET not in text


async def test_without_its_database_it_says_so_and_everything_goes_on_afterwards(
    tmp_path: Path, dsn: str
) -> None:
    with launch.recording("--mode", "task") as agent:
        async with Proxy(dsn) as proxy:
            program = Program(tmp_path, database_url=proxy.dsn)
            await asyncio.to_thread(program.start)
            try:
                run_ids = await asyncio.to_thread(_execute_some, program, agent)
                proxy.refuse()
                await asyncio.to_thread(_is_away, program)
                proxy.accept()
                ends = [await asyncio.to_thread(program.ended, run_id) for run_id in run_ids]
            finally:
                code = await asyncio.to_thread(program.stop)

        assert {run["status"] for run in ends} == {"COMPLETED"}
        assert set(engine.calls_by_step(agent).values()) == {1}
        assert code == 0
        assert not [line for line in program.lines if line.get("level") in ("error", "critical")]


def _execute_some(program: Program, agent: AgentProcess) -> list[str]:
    engine.register(program, agent)
    run_ids = engine.execute_many(program, engine.three_steps(program), 10, delay_ms=300)
    until("tasks are followed", lambda: agent.get("/count")["polls"] > 0)
    return run_ids


def _is_away(program: Program) -> None:
    """See that every kind of request says so, in time, and that the process lives."""
    for method, path in (
        ("GET", "/api/v1/runs"),
        ("POST", "/api/v1/agents"),
        ("GET", "/api/v1/runs/run-01900000-0000-7000-8000-000000000000?wait=30"),
        ("GET", "/health/ready"),
    ):
        body = {"name": "a", "url": NOBODY} if method == "POST" else None
        status, said = program.call(method, path, body)
        assert (status, said["status_code"], said["error"]) == (503, 503, "Service Unavailable")
    assert program.call("GET", "/health")[0] == 200
