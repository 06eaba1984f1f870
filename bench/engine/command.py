"""`python -m bench engine`: its options, and the order of things."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median

import orjson
import structlog
import uvloop

from bench.engine import memory, payloads, plot, probes, rounds, targets
from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, Variant, running
from bench.load import stub_agents
from bench.load.failure import LoadFailed
from bench.load.plan import Plan
from bench.load.summary import machine
from bench.stack import scratch
from bench.stack.failure import StackFailed
from bench.stack.kafka import Kafka

_WRONG_USE = 2
_ALONE_RUNS = 60  # a round
_IDLE_S = 20.0
_SETTLE_S = 3.0


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "engine",
        help="measure the engine against the floor, and print the targets",
        description="Run the orchestrator and a stub agent on this machine, and compare its"
        " throughput with the floor (the same three calls a run, nothing recorded), measured in"
        " turn over several rounds. Medians are printed beside their targets.",
        epilog="Exit codes: 0 it was measured (targets may be missed: see the table), 1 with"
        " --gate when the floor's ratio fell below it, 2 it could not be measured.",
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="(%(default)g)")
    parser.add_argument("--concurrency", type=int, default=256, metavar="C", help="(%(default)s)")
    parser.add_argument("--kafka", action="store_true", help="also with a real Kafka between")
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="on Kafka (%(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="throughput only: no idle, memory, overload, start"
    )
    parser.add_argument("--gate", type=float, metavar="RATIO", help="exit 1 below this ratio")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the rounds")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure as told; return the exit code."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # PostgreSQL's start
    try:
        results = uvloop.run(_measure(arguments))
    except (EngineFailed, LoadFailed, StackFailed) as failure:
        sys.stderr.write(f"engine: {failure}\n")
        return _WRONG_USE
    except KeyboardInterrupt:
        sys.stderr.write("engine: interrupted\n")
        return 130
    lines = targets.lines(results)
    print(_table(lines))
    if arguments.json:
        document = {"machine": machine(), "settings": _settings(arguments)} | {
            "rounds": [asdict(each) for each in results.rounds],
            "lines": [asdict(line) for line in lines],
        }
        arguments.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    if arguments.svg:
        arguments.svg.write_text(plot.svg(results.rounds) + "\n", encoding="utf-8")
    if arguments.gate is not None:
        return _gate(median(results.over("embedded", lambda s: s.ratio)), arguments.gate)
    return 0


def _gate(ratio: float, least: float) -> int:
    if ratio >= least:
        return 0
    sys.stderr.write(
        f"engine: {ratio:.2f} of the floor, and {least:g} is the least: has the engine become"
        " slower? `python -m bench profile` shows where its time goes\n"
    )
    return 1


async def _measure(arguments: argparse.Namespace) -> targets.Results:
    async with AsyncExitStack() as exits:
        folder = exits.enter_context(scratch.folder("engine"))
        agents = await exits.enter_async_context(stub_agents.running(Plan((), 1.0)))
        start_s = None
        if not arguments.quick:
            _say("start")
            start_s = await probes.start(folder / "start")
        deployed = await exits.enter_async_context(_deployments(arguments, folder))
        idle = None
        if not arguments.quick:
            _say("idle")
            await asyncio.sleep(_SETTLE_S)
            idle = await probes.idle(deployed["embedded"], _IDLE_S)
        measured, alone = [], []
        for number in range(1, arguments.rounds + 1):
            _say(f"round {number} of {arguments.rounds}")
            measured.append(
                await rounds.one(
                    deployed,
                    agents,
                    seconds=arguments.seconds,
                    concurrency=arguments.concurrency,
                    say=_say,
                )
            )
            alone.append(
                {
                    name: await probes.alone(each, agents, _ALONE_RUNS)
                    for name, each in deployed.items()
                }
            )
        if arguments.quick:
            return targets.Results(measured, alone)
        commit_ms = await probes.commit(deployed["embedded"])
        _say("overload: three times the executes that can be done")
        overload = await probes.overload(
            deployed["embedded"], agents, arguments.seconds, arguments.concurrency
        )
    _say("memory of active and of waiting runs")
    with scratch.folder("engine") as folder:
        active = await memory.active(folder / "active")
        waiting = await memory.waiting(folder / "waiting")
        _say("payloads of a megabyte")
        large = await payloads.measure(folder / "payloads")
    return targets.Results(
        measured,
        alone,
        idle,
        start_s=start_s,
        commit_ms=commit_ms,
        overload=overload,
        active_run=active,
        waiting=waiting,
        large=large,
    )


@asynccontextmanager
async def _deployments(
    arguments: argparse.Namespace, folder: Path
) -> AsyncIterator[dict[str, Deployed]]:
    """Run all variants side by side: an idle one costs next to nothing."""
    variants = [Variant("embedded")]
    async with AsyncExitStack() as exits:
        kafka = None
        if arguments.kafka or arguments.processes > 1:
            variants.append(Variant("kafka", kafka=True))
            if arguments.processes > 1:
                name = f"kafka-x{arguments.processes}"
                variants.append(Variant(name, arguments.processes, kafka=True))
            kafka = exits.enter_context(Kafka(folder / "kafka"))
        deployed = {}
        for each in variants:
            _say(f"starting {each.name}")
            going = running(each, folder / each.name, kafka)
            deployed[each.name] = await exits.enter_async_context(going)
        yield deployed


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    names = ("rounds", "seconds", "concurrency", "kafka", "processes")
    return {name: getattr(arguments, name) for name in names}


def _table(lines: list[targets.Line]) -> str:
    wide = max(len(line.what) for line in lines)
    verdicts = {True: "met", False: "MISSED", None: ""}
    return "\n".join(
        f"{line.what:<{wide}}  {line.measured:>20}  {line.target:>8}  {verdicts[line.met]}".rstrip()
        for line in lines
    )


def _say(text: str) -> None:
    print(text, flush=True)
