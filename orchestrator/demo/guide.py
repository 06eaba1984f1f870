"""The guided run: start everything, register, execute, watch, show, stop."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from orchestrator.demo import processes, screen
from orchestrator.demo.api import Api
from orchestrator.demo.failure import DemoFailed
from orchestrator.demo.screen import Screen

_RUN_S = 600
_LOOK_S = 0.1
_CANCEL_S = 3
_KEPT_PORT = 8000  # the one that the README's tour names
_ENDED: Final = {"COMPLETED", "FAILED", "CANCELLED"}

AGENTS: Final = {
    "reader": "Reads and checks a CSV file.",
    "aggregator": "Summarises a table, per column and per group.",
    "reporter": "Writes a Markdown report.",
}

WORKFLOW: Final[dict[str, Any]] = {
    "name": "csv-report",
    "description": "Reads a CSV file, summarises it and writes a report.",
    "start_step": "read",
    "steps": {
        "read": {
            "id": "read",
            "agent_name": "demo-reader",
            "next_step": "aggregate",
            "input_mapping": {
                "path": "${workflow.input.path}",
                "work_dir": "${workflow.input.output_dir}",
            },
        },
        "aggregate": {
            "id": "aggregate",
            "agent_name": "demo-aggregator",
            "next_step": "report",
            "input_mapping": {"table": "${read.output}"},
        },
        "report": {
            "id": "report",
            "agent_name": "demo-reporter",
            "next_step": None,
            "input_mapping": {
                "file": "${read.output.file}",
                "bad_rows": "${read.output.bad_rows}",
                "bad_row_count": "${read.output.bad_row_count}",
                "statistics": "${aggregate.output}",
                "output_dir": "${workflow.input.output_dir}",
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Own:
    """An orchestrator and agents that the demo starts itself; `port` 0 takes a free one."""

    home: Path
    port: int = 0
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An orchestrator and agents that are there; `{}` in `agents` stands for an agent's name."""

    server: str
    agents: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run the demo on, and where."""

    source: Path
    output_dir: Path
    where: Own | Elsewhere


async def run(plan: Plan, out: Screen) -> None:
    """Run the demo to its end; raise `DemoFailed` when its run did not complete."""
    out.say(f"A workflow of three A2A agents on {plan.source}")
    out.say()
    async with _there(plan.where, out) as (api, agents):
        for name, url in agents.items():
            await api.put_agent(f"demo-{name}", url, AGENTS[name])
            out.say(f"  ✓ agent 'demo-{name}' at {url}")
        workflow = await api.put_workflow(WORKFLOW)
        out.say(f"  ✓ workflow '{workflow['name']}', version {workflow['version']}")
        ended, steps = await _execute(api, workflow["id"], plan, out)
        _show(ended, steps, out)
        if ended["status"] != "COMPLETED":
            raise DemoFailed(f"the run ended as {ended['status']}: {ended['error_message']}")
        if isinstance(plan.where, Own) and plan.where.keep:
            await _stay(api, ended, out)


@asynccontextmanager
async def _there(where: Own | Elsewhere, out: Screen) -> AsyncIterator[tuple[Api, dict[str, str]]]:
    """Give a ready orchestrator and the agents' urls; what was started is stopped at the end."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        if isinstance(where, Elsewhere):
            api = Api(session, where.server.rstrip("/"))
            agents = {name: where.agents.replace("{}", name) for name in AGENTS}
            out.say(f"  ✓ orchestrator at {api.base}")
        else:
            api, agents = await _start(stack, session, where, out)
        yield api, agents


async def _start(
    stack: AsyncExitStack, session: aiohttp.ClientSession, own: Own, out: Screen
) -> tuple[Api, dict[str, str]]:
    """Start the orchestrator and its agents; the stack stops them."""
    began = time.monotonic()
    port = own.port or processes.free_port(_KEPT_PORT if own.keep else 0)
    process = await stack.enter_async_context(processes.server(own.home, port))
    agents = await _start_agents(stack, own.home)
    api = Api(session, f"http://127.0.0.1:{port}")
    await api.wait_until_ready(process, own.home / "orchestrator.log")
    took = time.monotonic() - began
    out.say(f"  ✓ orchestrator at {api.base}, on its own PostgreSQL ({took:.1f} s)")
    return api, agents


async def _start_agents(stack: AsyncExitStack, home: Path) -> dict[str, str]:
    """Start all agents at once, since their imports take longer than all else; return the urls."""

    async def start(name: str) -> str:
        return await stack.enter_async_context(processes.agent(name, home))

    try:
        async with asyncio.TaskGroup() as group:
            starting = {name: group.create_task(start(name)) for name in AGENTS}
    except* DemoFailed as failed:
        reason = str(failed.exceptions[0])
    else:
        return {name: task.result() for name, task in starting.items()}
    raise DemoFailed(reason)


async def _execute(
    api: Api, workflow_id: str, plan: Plan, out: Screen
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Execute the workflow and show its steps until it has ended; return the run and its steps."""
    data = {"path": str(plan.source), "output_dir": str(plan.output_dir)}
    body = {"input_data": data}
    started = await api.call("POST", f"/api/v1/workflows/{workflow_id}/execute", body)
    path = f"/api/v1/runs/{started['run_id']}"
    out.say(f"  ✓ {started['run_id']}")
    out.say()
    try:
        async with asyncio.timeout(_RUN_S):
            while True:
                ended = await api.call("GET", path)
                steps = await api.call("GET", f"{path}/steps")
                out.steps(steps)
                if ended["status"] in _ENDED:
                    return ended, steps
                await asyncio.sleep(_LOOK_S)
    except BaseException as error:
        with suppress(DemoFailed, TimeoutError):  # the next demo must not find it still running
            async with asyncio.timeout(_CANCEL_S):
                await api.call("POST", f"{path}/cancel", {"reason": "the demo was stopped"})
        if isinstance(error, TimeoutError):
            raise DemoFailed(f"the run had not ended after {_RUN_S} s") from None
        raise


def _show(ended: dict[str, Any], steps: list[dict[str, Any]], out: Screen) -> None:
    for title, lines in (
        ("Outputs", screen.outputs(steps)),
        ("Timeline", screen.timeline(ended, steps)),
    ):
        out.say()
        out.say(title)
        for line in lines:
            out.say(line)
    out.say()
    report = next((s["output_data"] for s in steps if s["step_id"] == "report"), None)
    if report:
        out.say(f"{report['summary']}")
        out.say(f"The report is in {report['report']}")


async def _stay(api: Api, ended: dict[str, Any], out: Screen) -> None:
    out.say()
    out.say(f"Still running, until Ctrl-C. API pages: {api.base}/docs, and for example")
    out.say(f"  curl {api.base}/api/v1/runs/{ended['run_id']}/logs")
    stop = asyncio.Event()
    if sys.platform != "win32":
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
    await stop.wait()
