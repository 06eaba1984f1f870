"""Whole runs whose agent asks somebody something, through the running program."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.program import Program
from tests.e2e.test_engine import metrics, until

pytestmark = pytest.mark.e2e

MANY = 2_000
ASK = {"mode": "ask"}


@pytest.fixture
def agent() -> Iterator[AgentProcess]:
    with launch.recording() as agent:
        yield agent


@pytest.fixture
def program(tmp_path: Path, dsn: str) -> Iterator[Program]:
    with Program(tmp_path, database_url=dsn) as program:
        yield program


def asks(program: Program, **step: Any) -> dict[str, Any]:
    """Create a workflow whose first step asks, and whose second takes what was answered."""
    steps = {
        "ask": {
            "id": "ask",
            "agent_name": "recorder",
            "next_step": "use",
            "input_mapping": ASK,
            **step,
        },
        "use": {
            "id": "use",
            "agent_name": "recorder",
            "next_step": None,
            "input_mapping": {"given": "${ask.output.answered:-nothing}"},
        },
    }
    body = {"name": "asks", "start_step": "ask", "steps": steps}
    status, workflow = program.call("POST", "/api/v1/workflows", body)
    assert status == 201, workflow
    return dict(workflow)


def inbox(program: Program, query: str = "") -> dict[str, Any]:
    status, page = program.call("GET", f"/api/v1/inbox{query}")
    assert status == 200, page
    return dict(page)


def first_step(program: Program, run_id: str) -> dict[str, Any]:
    return dict(program.call("GET", f"/api/v1/runs/{run_id}/steps")[1][0])


def answer(program: Program, run_id: str, step: str = "ask", **body: Any) -> int:
    return program.call("POST", f"/api/v1/runs/{run_id}/steps/{step}/input", body)[0]


def parked(program: Program, workflow: dict[str, Any]) -> str:
    """Execute the workflow; return the run's id once its agent has asked."""
    run_id = engine.execute(program, workflow)
    until_parked(program, run_id)
    return run_id


def until_parked(program: Program, run_id: str) -> None:
    until("the step waits", lambda: first_step(program, run_id)["waiting_for"])


def nobody_at_work(program: Program) -> Callable[[], bool]:
    return lambda: "\norchestrator_active_actors 0.0" in metrics(program)


def test_a_question_is_listed_and_its_answer_lets_the_run_go_on(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)

    run_id = parked(program, asks(program))

    (item,) = inbox(program)["items"]
    assert (item["run_id"], item["step_id"], item["waiting_for"]) == (run_id, "ask", "input")
    assert item["question"]["text"] == "which?"
    assert item["question"]["parts"] == [{"text": "which?"}]
    _, run = program.call("GET", f"/api/v1/runs/{run_id}")
    assert (run["status"], run["error_message"]) == ("RUNNING", None)
    until("no actor is left", nobody_at_work(program))

    assert answer(program, run_id, input_data={"colour": "blue"}) == 202

    assert program.ended(run_id)["status"] == "COMPLETED"
    _, (ask, use) = program.call("GET", f"/api/v1/runs/{run_id}/steps")
    assert ask["output_data"]["answered"] == {"colour": "blue"}
    assert use["input_data"] == {"given": {"colour": "blue"}}
    assert inbox(program)["items"] == []
    asked, answered, _ = agent.get("/calls")["calls"]
    assert (asked["message_id"], asked["task_id"]) == (f"{run_id}.ask.1", None)
    assert answered["message_id"] == f"{run_id}.ask.2"
    assert answered["task_id"].startswith("task-")
    assert answered["context_id"] == asked["context_id"] == run_id
    _, logs = program.call("GET", f"/api/v1/runs/{run_id}/logs?page_size=100")
    events = [each["event"] for each in logs["items"]]
    assert events[2:6] == ["StepStarted", "StepParked", "InputGiven", "StepStarted"]
    assert "RunTakenOver" not in events


def test_an_agent_on_the_official_sdk_asks_twice(program: Program) -> None:
    with launch.sdk1() as sdk:
        engine.register(program, sdk)
        workflow = asks(program, input_mapping={"cmd": "input"})
        run_id = parked(program, workflow)
        first = first_step(program, run_id)["question"]
        assert first["parts"] == [{"text": "which colour?"}, {"data": {"choose": ["red", "blue"]}}]

        body = {"then": "ask"}
        assert answer(program, run_id, input_data=body, question_id=first["id"]) == 202
        until("it asks again", lambda: inbox(program)["items"])
        second = first_step(program, run_id)["question"]
        assert (second["text"], second["id"] > first["id"]) == ("sure?", True)
        assert answer(program, run_id, text="late", question_id=first["id"]) == 400
        assert answer(program, run_id, text="yes") == 202

        assert program.ended(run_id)["status"] == "COMPLETED"
        assert first_step(program, run_id)["output_data"]["text"] == "yes"


def test_a_login_elsewhere_lets_the_run_go_on_without_an_answer(program: Program, dsn: str) -> None:
    with launch.sdk1() as sdk:
        engine.register(program, sdk)
        workflow = asks(program, input_mapping={"cmd": "login", "seconds": 2})
        run_id = parked(program, workflow)
        assert first_step(program, run_id)["waiting_for"] == "auth"

        # It is looked at within five seconds.
        assert program.ended(run_id)["status"] == "COMPLETED"

        assert first_step(program, run_id)["output_data"] == {"logged": "in"}
    looks = engine.rows(dsn, "SELECT FROM run_event WHERE events::text LIKE '%StillWaiting%'")
    assert looks


@pytest.mark.parametrize("answered", ["before", "while down"])
def test_a_killed_process_finds_questions_and_answers_again(
    tmp_path: Path, dsn: str, agent: AgentProcess, answered: str
) -> None:
    program = Program(tmp_path, database_url=dsn).start()
    engine.register(program, agent)
    run_id = parked(program, asks(program))
    program.kill()
    if answered == "while down":  # another process of the deployment took it
        given = "SELECT * FROM give_input($1, 'ask', '{\"text\":\"blue\"}', NULL)"
        assert engine.rows(dsn, given, run_id.removeprefix("run-"))

    with Program(tmp_path, database_url=dsn) as again:
        if answered == "before":
            until("no actor takes it up", nobody_at_work(again))
            assert [item["run_id"] for item in inbox(again)["items"]] == [run_id]
            assert answer(again, run_id, text="blue") == 202
        assert again.ended(run_id)["status"] == "COMPLETED"
        _, logs = again.call("GET", f"/api/v1/runs/{run_id}/logs?page_size=100")

    assert "RunTakenOver" not in [each["event"] for each in logs["items"]]
    assert len(agent.get("/calls")["calls"]) == 3


def test_an_answer_that_was_being_sent_at_a_kill_reaches_its_agent_once(
    tmp_path: Path, dsn: str
) -> None:
    with launch.sdk1() as sdk:
        program = Program(tmp_path, database_url=dsn).start()
        engine.register(program, sdk)
        run_id = parked(program, asks(program, input_mapping={"cmd": "input"}))
        answer(program, run_id, input_data={"work": 3})
        message = f"{run_id}.ask.2"
        until("it arrived", lambda: message in sdk.get("/record")["executions"])
        program.kill()

        with Program(tmp_path, database_url=dsn) as again:
            assert again.ended(run_id)["status"] == "COMPLETED"
        assert sdk.get("/record")["executions"][message] == 1


def test_of_two_clients_that_answer_at_once_one_is_told_that_it_is_too_late(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)
    workflow = asks(program)
    for _ in range(5):
        run_id = parked(program, workflow)
        ready = threading.Barrier(4)

        def one(text: str, run_id: str = run_id, ready: threading.Barrier = ready) -> int:
            ready.wait()
            return answer(program, run_id, text=text)

        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(one, "abcd"))

        assert sorted(statuses) == [202, 400, 400, 400]
        assert program.ended(run_id)["status"] == "COMPLETED"
    assert set(engine.calls_by_step(agent).values()) == {1, 2}


def test_a_cancel_of_a_run_that_waits_cancels_the_agents_task(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)
    run_id = parked(program, asks(program))

    status, cancelled = program.call("POST", f"/api/v1/runs/{run_id}/cancel", {})

    assert (status, cancelled["status"]) == (200, "CANCELLED")
    assert inbox(program)["items"] == []
    assert answer(program, run_id, text="late") == 400
    until("it is confirmed", lambda: first_step(program, run_id)["cancel"] == "confirmed")
    step = first_step(program, run_id)
    assert (step["status"], step["waiting_for"], step["question"]) == ("FAILED", None, None)
    assert list(agent.get("/calls")["cancels"].values()) == [1]
    status, _ = program.call("POST", f"/api/v1/runs/{run_id}/retry", {})
    assert status == 202
    until_parked(program, run_id)
    assert answer(program, run_id, text="blue") == 202
    assert program.ended(run_id)["status"] == "COMPLETED"
    assert engine.message_ids_by_step(agent)[run_id, "ask"] == {
        f"{run_id}.ask.{n}" for n in (1, 2, 3)
    }


def test_a_step_that_waits_too_long_times_out_and_its_task_is_cancelled(
    program: Program, agent: AgentProcess
) -> None:
    engine.register(program, agent)
    run_id = parked(program, asks(program, timeout_ms=1500))

    run = program.ended(run_id)

    assert run["status"] == "FAILED"
    assert run["error_message"] == "Step 'ask' failed: timed out after 1500 ms"
    until("it is confirmed", lambda: first_step(program, run_id)["cancel"] == "confirmed")
    assert inbox(program)["items"] == []
    assert answer(program, run_id, text="late") == 400


def test_thousands_of_questions_cost_rows_only(
    tmp_path: Path, dsn: str, agent: AgentProcess
) -> None:
    with Program(tmp_path, database_url=dsn, max_active_runs=50) as program:
        engine.register(program, agent)
        workflow = asks(program)
        parked(program, workflow)
        until("no actor is left", nobody_at_work(program))
        before = resident(program)

        engine.execute_many(program, workflow, MANY)
        until("all wait", lambda: inbox(program)["total"] == MANY + 1, 120)
        until("no actor is left", nobody_at_work(program))

        assert resident(program) - before < 30 * 2**20
        page = inbox(program, "?page_size=100&page=3")["items"]
        moments = [item["question"]["asked_at"] for item in page]
        assert len(moments) == 100
        assert moments == sorted(moments)
        last = page[-1]["run_id"]
        assert answer(program, last, text="blue") == 202
        assert program.ended(last)["status"] == "COMPLETED"


def resident(program: Program) -> int:
    """Return the bytes of memory that the process holds."""
    pages = Path(f"/proc/{program.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


def test_an_agent_that_is_away_is_asked_to_cancel_until_it_is_back(
    program: Program, agent: AgentProcess, dsn: str
) -> None:
    engine.register(program, agent)
    run_id = parked(program, asks(program))
    agent.kill()

    program.call("POST", f"/api/v1/runs/{run_id}/cancel", {})

    tried = "SELECT FROM task_cancellation WHERE attempts > 0 AND outcome IS NULL"
    until("it was asked in vain", lambda: engine.rows(dsn, tried))
    assert first_step(program, run_id)["cancel"] == "requested"
    with launch.recording("--port", str(agent.port)) as back:
        until("it is settled", lambda: first_step(program, run_id)["cancel"] != "requested")
        # It has forgotten its tasks, and says so.
        assert first_step(program, run_id)["cancel"] == "already_finished"
        assert sum(back.get("/calls")["cancels"].values()) == 1
