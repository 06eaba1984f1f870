"""Helpers of the engine's tests: agents, a three-step workflow, and what the rows say."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg

from tests.agents_under_test.launch import AgentProcess
from tests.e2e.program import Program
from tests.integration.conftest import in_thread

STEPS = ("extract", "transform", "load")


def register(
    program: Program, agent: AgentProcess, name: str = "recorder", **fields: Any
) -> dict[str, Any]:
    """Register a running agent, retried quickly unless `fields` say otherwise."""
    body = {
        "name": name,
        "url": agent.url,
        "retry_config": {"max_retries": 3, "initial_delay_ms": 100, "max_delay_ms": 1000},
    }
    status, answer = program.call("POST", "/api/v1/agents", body | fields)
    assert status == 201, answer
    return dict(answer)


def three_steps(
    program: Program, agent: str = "recorder", name: str = "three", **step: Any
) -> dict[str, Any]:
    """Create a workflow of three steps, each given what the one before it answered."""
    steps: dict[str, Any] = {}
    for index, step_id in enumerate(STEPS):
        before = STEPS[index - 1] if index else None
        steps[step_id] = {
            "id": step_id,
            "agent_name": agent,
            "next_step": STEPS[index + 1] if index + 1 < len(STEPS) else None,
            "input_mapping": {
                "source": "${workflow.input.source}",
                "delay_ms": "${workflow.input.delay_ms:-0}",
                "before": f"${{{before}.output.n}}" if before else None,
            },
        } | step
    body = {"name": name, "start_step": "extract", "steps": steps}
    status, answer = program.call("POST", "/api/v1/workflows", body)
    assert status == 201, answer
    return dict(answer)


def execute(program: Program, workflow: dict[str, Any], **input_data: Any) -> str:
    """Execute the workflow and return the run's id."""
    body = {"input_data": {"source": "a", **input_data}}
    status, run = program.call("POST", f"/api/v1/workflows/{workflow['id']}/execute", body)
    assert status == 202, run
    return str(run["run_id"])


def execute_many(program: Program, workflow: dict[str, Any], count: int, **data: Any) -> list[str]:
    """Execute it `count` times, eight requests at a time."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda _: execute(program, workflow, **data), range(count)))


def calls_by_step(agent: AgentProcess) -> Counter[tuple[str, str]]:
    """Return how often each step of each run was sent to the agent."""
    return Counter((c["run_id"], c["step_id"]) for c in agent.get("/calls")["calls"])


def message_ids_by_step(agent: AgentProcess) -> dict[tuple[str, str], set[str]]:
    """Return under which messageIds each step of each run was sent."""
    found: dict[tuple[str, str], set[str]] = {}
    for call in agent.get("/calls")["calls"]:
        found.setdefault((call["run_id"], call["step_id"]), set()).add(call["message_id"])
    return found


def rows(dsn: str, query: str, *values: Any) -> list[asyncpg.Record]:
    """Ask the database behind the program's back."""

    async def ask() -> list[asyncpg.Record]:
        conn = await asyncpg.connect(dsn)
        try:
            return list(await conn.fetch(query, *values))
        finally:
            await conn.close()

    return list(in_thread(ask()))
