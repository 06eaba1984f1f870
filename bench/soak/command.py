"""`python -m bench soak`: its options, and the order of things."""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pygal
import structlog
import uvloop

from bench import report
from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, Variant, running
from bench.load import stub_agents
from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.failure import LoadFailed
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.stub_agents import StubAgents
from bench.load.summary import machine
from bench.soak import trend
from bench.soak.trend import Bound, Trend
from bench.soak.watch import Look, Watch
from bench.stack import scratch
from bench.stack.failure import StackFailed

_BROKEN = 1
_WRONG_USE = 2
_INTERRUPTED = 130
_LOOKS = 60  # about so many, and at least every ten seconds one
_BEST_S = 10.0
_USERS = 96  # and connections, when it soaks
# What may creep how far, from the settled part's first half to its second.
BOUNDS: Mapping[str, Bound] = {
    "memory_mb": Bound(0.05, 3.0),
    "files": Bound(0.05, 5.0),
    "tasks": Bound(0.10, 20.0),
    "database_mb": Bound(0.15, 20.0),
    "execute_p50_ms": Bound(0.25, 1.0),
    "execute_p99_ms": Bound(0.50, 10.0),
    "run_p50_ms": Bound(0.25, 2.0),
    "run_p99_ms": Bound(0.50, 20.0),
}


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "soak",
        help="load for long, and see whether anything creeps",
        description="Run the orchestrator at a share of its best throughput for long, and look at"
        " its memory, files, tasks and latencies: the settled part's second half must be as its"
        " first.",
        epilog="Exit codes: 0 nothing creeps, 1 something does or a run went wrong, 2 it could not"
        " be measured.",
    )
    parser.add_argument("--minutes", type=float, default=60.0, metavar="M", help="(%(default)g)")
    parser.add_argument(
        "--share", type=float, default=0.5, metavar="S", help="of the best (%(default)g)"
    )
    parser.add_argument(
        "--rate", type=float, metavar="R", help="runs a second, instead of a share of the best"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Soak as told; return the exit code."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # PostgreSQL's start
    began = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        rate, looks, problems = uvloop.run(_soak(arguments))
        trends = judged(looks)
    except (EngineFailed, LoadFailed, StackFailed, ValueError) as failure:
        sys.stderr.write(f"soak: {failure}\n")
        return _WRONG_USE
    except KeyboardInterrupt:
        sys.stderr.write("soak: interrupted\n")
        return _INTERRUPTED
    settings = {"minutes": arguments.minutes, "runs a second": round(rate, 1)}
    figures = "\n".join([*lines(settings, trends), *(f"Wrong: {each}" for each in problems)])
    print(figures)
    if arguments.html:
        arguments.html.write_text(page(began, figures, looks), encoding="utf-8")
    if arguments.json:
        document = {
            "began_at": began,
            "machine": machine(),
            "settings": settings,
            "trends": {name: asdict(each) for name, each in trends.items()},
            "problems": problems,
            "looks": [asdict(each) for each in looks],
        }
        arguments.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    flat = all(each.flat for each in trends.values())
    return 0 if flat and not problems else _BROKEN


def judged(looks: Sequence[Look]) -> dict[str, Trend]:
    """Return the trend of each bounded figure; raise `ValueError` where there are too few."""
    trends = {}
    for name, bound in BOUNDS.items():
        seen = [(each.at, getattr(each, name)) for each in looks]
        known = [(at, float(value)) for at, value in seen if value is not None]
        trends[name] = trend.of([at for at, _ in known], [value for _, value in known], bound)
    return trends


async def _soak(arguments: argparse.Namespace) -> tuple[float, list[Look], list[str]]:
    async with AsyncExitStack() as exits:
        folder = exits.enter_context(scratch.folder("soak"))
        agents = await exits.enter_async_context(stub_agents.running(Plan((), 1.0)))
        deployed = await exits.enter_async_context(running(Variant("embedded"), folder / "soak"))
        rate = arguments.rate
        if rate is None:
            # As many users as are let in at worst: who is refused is no part of the best.
            plan = Plan(deployed.urls, _BEST_S, warmup=2.0, concurrency=_USERS)
            best, _, problems = await _load(plan, deployed, agents, _BEST_S)
            if problems:
                raise LoadFailed("; ".join(problems))
            rate = best * arguments.share
            _say(f"best {best:.0f} runs/s; soaking at {rate:.0f} for {arguments.minutes:g} minutes")
        seconds = arguments.minutes * 60
        plan = Plan(deployed.urls, seconds, rate=rate)
        _, looks, problems = await _load(plan, deployed, agents, min(seconds / _LOOKS, 60.0), _say)
        return rate, looks, problems


async def _load(
    plan: Plan,
    deployed: Deployed,
    agents: StubAgents,
    every: float,
    say: Any = None,
) -> tuple[float, list[Look], list[str]]:
    """Load as planned; return the runs a second, what was seen, and what was wrong."""
    async with (
        Executes(_USERS) as executes,
        aiohttp.ClientSession() as other,
        Deployment(other, *deployed.urls).three_steps(agents.urls) as workflow,
    ):
        load = Load(plan, executes, other, workflow, told_by_agents=True)
        agents.tell(load.tell)
        watch = Watch(deployed, load, every)
        watching = asyncio.create_task(watch.watch(other))
        telling = asyncio.create_task(_tell(load, say)) if say else None
        await load.run()
        deadline = load.now() + plan.drain
        while load.unfinished and load.now() < deadline:  # noqa: ASYNC110 - its own count
            await asyncio.sleep(0.1)
        for task in filter(None, (watching, telling)):
            task.cancel()
        agents.fall_silent()
    problems = [f"{count} x {kind}" for kind, count in load.samples.errors.items()]
    if load.unfinished:
        problems.append(f"{load.unfinished} runs unfinished")
    if len(load.samples.throttled):
        problems.append(f"{len(load.samples.throttled)} x 429")
    per_s = load.samples.runs.ended_in(plan.window) / plan.window.seconds
    return per_s, [each for each in watch.looks if each.at <= plan.window.end], problems


async def _tell(load: Load, say: Any) -> None:
    while True:
        await asyncio.sleep(60)
        say(f"{load.now() / 60:4.0f} min  {load.completed} runs, {load.unfinished} under way")


def lines(settings: Mapping[str, Any], trends: Mapping[str, Trend]) -> list[str]:
    """Return the result for a person."""
    chosen = ", ".join(f"{name} {value}" for name, value in settings.items())
    shown = [f"Settings: {chosen}", ""]
    shown.append(f"{'':<16}{'first half':>12}{'second':>12}{'an hour':>12}")
    for name, each in trends.items():
        verdict = "flat" if each.flat else "CREEPS"
        figures = "".join(f"{value:>12.1f}" for value in (each.early, each.late, each.per_hour))
        shown.append(f"{name:<16}{figures}  {verdict}")
    return shown


def page(began: str, figures: str, looks: Sequence[Look]) -> str:
    """Return the report."""
    charts = [
        _chart("Memory in MB", looks, ("memory_mb", "database_mb")),
        _chart("Files and tasks", looks, ("files", "tasks")),
        _chart("Execute, ms", looks, ("execute_p50_ms", "execute_p99_ms")),
        _chart("Runs, ms", looks, ("run_p50_ms", "run_p99_ms")),
        _chart("Runs a second", looks, ("runs_per_s",)),
    ]
    said = "What was seen over time; the figures compare the halves of the settled part."
    return report.page(f"Soak of {began}", said, figures, charts, machine())


def _chart(title: str, looks: Sequence[Look], names: Sequence[str]) -> pygal.Line:
    chart = pygal.Line(
        title=title,
        x_labels=[f"{each.at / 60:.0f}" for each in looks],
        x_labels_major_every=max(1, len(looks) // 12),
        show_minor_x_labels=False,
        x_title="minute",
        **report.options(dots_size=2, height=360, include_x_axis=True),
    )
    for name in names:
        values = [getattr(each, name) for each in looks]
        chart.add(name, [None if value is None else round(value, 2) for value in values])
    return chart


def _say(text: str) -> None:
    print(text, flush=True)
