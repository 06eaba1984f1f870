"""Whole runs whose agents stand on the official A2A SDKs, 1.x and 0.3, in their own processes."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.program import Program
from tests.e2e.test_engine import until

pytestmark = pytest.mark.e2e

SLOW = {"cmd": "slow", "seconds": 1.5}
NAMES = ("sdk1", "sdk03", "text")  # the steps' ids too, in this order

Agents = Mapping[str, AgentProcess]


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    with launch.sdk1() as sdk1, launch.sdk03() as sdk03, launch.sdk03("--text-only") as text:
        yield dict(zip(NAMES, (sdk1, sdk03, text), strict=True))


@pytest.fixture(scope="module")
def program(
    module_dsn: str, agents: Agents, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("data"), database_url=module_dsn) as program:
        for name, agent in agents.items():
            engine.register(program, agent, name=name)
        yield program


def start(program: Program, asked: Mapping[str, Any] | None = None, **told: Any) -> str:
    """Execute a workflow with a step at each agent, told what to do; return the run's id.

    `asked` are further fields of each step.
    """
    steps: dict[str, Any] = {}
    for index, name in enumerate(NAMES):
        before = f"${{{NAMES[index - 1]}.output}}" if index else None
        steps[name] = {
            "id": name,
            "agent_name": name,
            "next_step": NAMES[index + 1] if index + 1 < len(NAMES) else None,
            "input_mapping": {"before": before} | told.get(name, {}),
            **(asked or {}),
        }
    body = {"name": str(told), "start_step": NAMES[0], "steps": steps}
    status, made = program.call("POST", "/api/v1/workflows", body)
    assert status == 201, made
    return engine.execute(program, made)


def steps_of(program: Program, run_id: str) -> list[dict[str, Any]]:
    return list(program.call("GET", f"/api/v1/runs/{run_id}/steps")[1])


def has_task(dsn: str, run_id: str, step_id: str) -> bool:
    """Whether the id of the step's task is stored."""
    query = (
        "SELECT FROM step_execution WHERE 'run-' || run_id = $1 AND path = $2"
        " AND task_id IS NOT NULL"
    )
    return bool(engine.rows(dsn, query, run_id, step_id))


def executions(agents: Agents, run_id: str) -> list[list[int]]:
    """Return how often each agent executed each message of the run."""
    found = [agents[name].get("/record")["executions"] for name in NAMES]
    return [[n for message, n in each.items() if message.startswith(run_id)] for each in found]


def test_messages_and_tasks_of_both_versions_carry_a_run_to_its_end(
    program: Program, agents: Agents
) -> None:
    run_id = start(program, sdk1={"cmd": "message"}, sdk03={"cmd": "json-text"})

    assert program.ended(run_id)["status"] == "COMPLETED"
    first, second, third = steps_of(program, run_id)
    assert first["output_data"]["echo"] == {"before": None, "cmd": "message"}
    assert second["input_data"] == {"before": first["output_data"], "cmd": "json-text"}
    assert second["output_data"] == {"from": "text"}
    assert third["output_data"]["text"] == '{"before":{"from":"text"}}'  # it came as text
    assert executions(agents, run_id) == [[1], [1], [1]]


@pytest.mark.parametrize("slow", ["sdk1", "sdk03"])
def test_a_cancel_reaches_the_agents_task(program: Program, module_dsn: str, slow: str) -> None:
    run_id = start(program, **{slow: {"cmd": "slow", "seconds": 60}})
    until("the task's id is stored", lambda: has_task(module_dsn, run_id, slow))

    program.call("POST", f"/api/v1/runs/{run_id}/cancel")

    query = "SELECT outcome FROM task_cancellation WHERE 'run-' || run_id = $1"
    until("it is settled", lambda: engine.rows(module_dsn, query, run_id)[0]["outcome"])
    assert engine.rows(module_dsn, query, run_id)[0]["outcome"] == "confirmed"


@pytest.mark.parametrize(
    ("cmd", "said"),
    [("reject", "not my kind of work"), ("fail", "it broke")],
)
@pytest.mark.parametrize("name", ["sdk1", "sdk03"])
def test_what_an_agent_says_stands_in_the_error(
    program: Program, name: str, cmd: str, said: str
) -> None:
    run = program.ended(start(program, **{name: {"cmd": cmd}}))

    assert run["status"] == "FAILED"
    assert run["error_message"].startswith(f"Step '{name}' failed: Agent '{name}' ")
    assert said in run["error_message"]


def test_tasks_that_outlive_the_program_are_found_again(
    tmp_path: Path, dsn: str, agents: Agents
) -> None:
    with Program(tmp_path, database_url=dsn) as program:
        for name, agent in agents.items():
            engine.register(program, agent, name=name)
        run_id = start(program, sdk1=SLOW, sdk03=SLOW)
        for step_id in ("sdk1", "sdk03"):
            until("the task's id is stored", partial(has_task, dsn, run_id, step_id))
            program.kill()
            program.start()
        run = program.ended(run_id)
        outputs = [s["output_data"] for s in steps_of(program, run_id)]

    assert run["status"] == "COMPLETED"
    assert outputs[:2] == [{"slept": 1.5}] * 2
    assert executions(agents, run_id) == [[1], [1], [1]]


@pytest.mark.parametrize("known", [True, False], ids=["1.0 tells", "0.3 cannot"])
def test_a_message_not_to_be_sent_again_is_asked_for_after_a_crash(
    tmp_path: Path, dsn: str, agents: Agents, *, known: bool
) -> None:
    """The agent answers when it is done, so that no task's id is known when the program dies."""
    step = "sdk1" if known else "sdk03"
    with Program(tmp_path, database_url=dsn) as program:
        for name, agent in agents.items():
            engine.register(program, agent, name=name, call_mode="wait")
        run_id = start(program, asked={"on_unknown_outcome": "fail"}, **{step: SLOW})
        position = NAMES.index(step)
        until("the agent works", lambda: executions(agents, run_id)[position])
        program.kill()
        program.start()
        run = program.ended(run_id)

    assert executions(agents, run_id)[position] == [1]
    if known:
        assert run["status"] == "COMPLETED"
    else:
        cause = "the outcome of its call is unknown, and it is not to be sent again"
        assert run["error_message"] == f"Step 'sdk03' failed: {cause}"
