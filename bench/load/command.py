"""`python -m bench load`: its options, and the order of things."""

import argparse
import asyncio
import resource
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from bench.load import page, stub_agents, summary
from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.failure import LoadFailed
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.progress import Progress
from bench.load.targets import Refused, checked

_WRONG_USE = 2
_INTERRUPTED = 130
_TICK = 0.2
_QUIET = 3
_CLOCKS_APART = timedelta(seconds=5)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "load",
        help="load a deployment and measure it",
        description="Execute a workflow at a fixed rate (--rate, open loop: latencies count from"
        " when a request was due, so that a stall is not hidden) or as so many users who wait for"
        " each run's end (--concurrency, closed loop). Unless --workflow names one, it registers"
        " stub agents of its own and a workflow of three steps, removes them at the end, and checks"
        " that each run made exactly three calls and that nothing is left PENDING.",
        epilog="Exit codes: 0 all was well, 1 errors or a failed check, 2 it could not be done."
        " Requests refused with 429 and Retry-After are counted apart and are no errors.",
    )
    parser.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="an orchestrator; several take turns (default: http://127.0.0.1:8000)",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=_positive, metavar="R", help="executes a second")
    pace.add_argument(
        "--concurrency", type=_count, default=32, metavar="C", help="users (default: %(default)s)"
    )
    parser.add_argument(
        "--duration", type=_positive, default=30.0, metavar="S", help="seconds (%(default)g)"
    )
    parser.add_argument(
        "--warmup",
        type=_not_negative,
        default=3.0,
        metavar="S",
        help="seconds before that, which do not count (%(default)g)",
    )
    parser.add_argument("--workflow", metavar="ID", help="execute this one instead")
    parser.add_argument(
        "--input", metavar="JSON", help="the input_data of each run, or @FILE", type=_input
    )
    parser.add_argument(
        "--agents", type=int, choices=(1, 2, 3), default=1, help="stub agents (%(default)s)"
    )
    parser.add_argument(
        "--agent-delay-ms", type=_not_negative, default=0.0, metavar="MS", help="of each answer"
    )
    parser.add_argument(
        "--agent-host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="where the stub agents listen, as orchestrators reach it (%(default)s)",
    )
    parser.add_argument(
        "--connections", type=_count, default=256, metavar="N", help="at most (%(default)s)"
    )
    parser.add_argument(
        "--drain",
        type=_positive,
        default=60.0,
        metavar="S",
        help="seconds that runs get to end after the load (%(default)g)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots")
    parser.add_argument(
        "--i-own-this-host",
        action="store_true",
        help="needed for any host that is not this machine",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Load as told; return the exit code."""
    try:
        plan = _plan(arguments)
        result, load = uvloop.run(_load(plan))
    except (Refused, LoadFailed) as failure:
        sys.stderr.write(f"load: {failure}\n")
        return _WRONG_USE
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("load: interrupted; what was registered for it was removed\n")
        return _INTERRUPTED
    print("\n".join(summary.lines(result)))
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")
    if arguments.html:
        samples = load.samples
        text = page.page(result, samples.executes, samples.runs, plan.window)
        arguments.html.write_text(text, encoding="utf-8")
    return 0 if result["ok"] else 1


def _plan(arguments: argparse.Namespace) -> Plan:
    urls = arguments.url or ["http://127.0.0.1:8000"]
    owned = arguments.i_own_this_host
    return Plan(
        urls=tuple(checked(url, owned=owned) for url in urls),
        duration=arguments.duration,
        warmup=arguments.warmup,
        rate=arguments.rate,
        concurrency=arguments.concurrency,
        workflow=arguments.workflow,
        input_data=arguments.input,
        agents=arguments.agents,
        agent_host=arguments.agent_host,
        agent_delay_ms=arguments.agent_delay_ms,
        connections=arguments.connections,
        drain=arguments.drain,
    )


async def _load(plan: Plan) -> tuple[dict[str, Any], Load]:
    """Register what is needed, load, check, and remove it again."""
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - the runner made this task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    async with (
        Executes(max(plan.connections, plan.concurrency)) as executes,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as other,
    ):
        deployment = Deployment(other, *plan.urls)
        if plan.workflow is None:
            return await _with_own_agents(plan, executes, other, deployment)
        await deployment.call("GET", f"/api/v1/workflows/{plan.workflow}")
        load = Load(plan, executes, other, plan.workflow, told_by_agents=False)
        async with _shown(plan, load):
            made = await _make(load)
        return summary.summarise(plan, load, made), load


async def _with_own_agents(
    plan: Plan,
    executes: Executes,
    other: aiohttp.ClientSession,
    deployment: Deployment,
) -> tuple[dict[str, Any], Load]:
    async with (
        stub_agents.running(plan) as agents,
        deployment.three_steps(agents.urls) as workflow,
    ):
        load = Load(plan, executes, other, workflow, told_by_agents=True)
        agents.tell(load.tell)
        async with _shown(plan, load):
            made = await _make(load)
            try:
                statuses = await _settled(plan, load, deployment, workflow, made.began)
                made = replace(made, statuses=statuses)
            except LoadFailed as failed:
                made = replace(made, unasked=str(failed))
        made = replace(made, report=await agents.report(other))
        return summary.summarise(plan, load, made), load


async def _make(load: Load) -> summary.Made:
    began, before = datetime.now(UTC), _cpu()
    await load.run()
    return summary.Made(began, (_cpu() - before) / load.now())


@asynccontextmanager
async def _shown(plan: Plan, load: Load) -> AsyncIterator[None]:
    """Show the load's progress."""
    showing = asyncio.create_task(Progress(plan, load, sys.stdout).show())
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.wait([showing])


async def _settled(
    plan: Plan, load: Load, deployment: Deployment, workflow: str, began: datetime
) -> Mapping[str, int]:
    """Return the workflow's runs by status, once none is at work or that takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + plan.drain
    quiet = 0
    while True:
        statuses = await deployment.statuses(workflow, began - _CLOCKS_APART)
        quiet = 0 if statuses["PENDING"] + statuses["RUNNING"] else quiet + 1
        # The agents' last words may still be on their way when all rows have ended.
        if (quiet and not load.unfinished) or quiet > _QUIET or loop.time() > deadline:
            return statuses
        await asyncio.sleep(_TICK)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def _not_negative(text: str) -> float:
    return float(text) if text in {"0", "0.0"} else _positive(text)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _input(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("must be a JSON object")
    return value
