"""`python -m bench history`: its options, and the order of things."""

import argparse
import os
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import structlog
import uvloop

from bench.engine.failure import EngineFailed
from bench.history import measure, page, retention, targets
from bench.history.failure import HistoryFailed
from bench.load.summary import machine
from bench.stack import scratch
from bench.stack.failure import StackFailed

_WRONG_USE = 2
_INTERRUPTED = 130
_SHORT = 10_000


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "history",
        help="measure lists and single runs with a long history, and the drop of a day",
        description="Fill databases with 10,000 runs, with --runs and with a number between them,"
        " by COPY, over the same days; run the program on each, and ask all of them in turn for"
        " every list at every place and for single runs. Then drop a day of the longest history"
        " while it serves. The figures are printed beside their targets.",
        epilog="Exit codes: 0 it was measured (targets may be missed: see the table), 2 it could"
        " not be, or a total was wrong.",
    )
    parser.add_argument("--runs", type=_count, default=1_000_000, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--days", type=_count, default=10, metavar="D", help="that they lie on (%(default)s)"
    )
    parser.add_argument(
        "--samples",
        type=_count,
        default=60,
        metavar="S",
        help="requests of each list, filter and place (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report with plots")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure as told; return the exit code."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # PostgreSQL's start
    began = datetime.now(UTC).isoformat(timespec="seconds")
    sizes = _sizes(arguments.runs)
    try:
        taken, dropped, seeded = uvloop.run(_measure(arguments, sizes))
    except (HistoryFailed, EngineFailed, StackFailed) as failure:
        sys.stderr.write(f"history: {failure}\n")
        return _WRONG_USE
    except KeyboardInterrupt:
        sys.stderr.write("history: interrupted\n")
        return _INTERRUPTED
    lines = targets.lines(taken, sizes, dropped)
    figures = targets.table(lines)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    settings: dict[str, Any] = machine() | {"load average at the end": load}
    settings |= {name: getattr(arguments, name) for name in ("runs", "days", "samples")}
    print(f"{figures}\nload average at the end: {load}")
    if arguments.html:
        text = page.page(began, figures, taken, sizes, settings)
        arguments.html.write_text(text, encoding="utf-8")
    if arguments.json:
        document = {
            "began_at": began,
            "settings": settings,
            "seeded_s": seeded,
            "lines": [asdict(line) for line in lines],
            "retention": dropped and asdict(dropped),
            "cases": [_figures(each, sizes) for each in taken],
        }
        arguments.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


async def _measure(
    arguments: argparse.Namespace, sizes: list[int]
) -> tuple[list[measure.Taken], retention.Dropped | None, dict[str, float]]:
    async with AsyncExitStack() as exits:
        folder = exits.enter_context(scratch.folder("history"))
        session = await exits.enter_async_context(aiohttp.ClientSession())
        several = []
        for size in sizes:
            going = measure.deployed(size, arguments.days, folder / str(size), session)
            several.append(await exits.enter_async_context(going))
            _say(f"{size} runs made in {several[-1].seeded_s:.1f} s")
        for each in several:
            _say(f"{await measure.check_totals(each)} totals of {each.runs} runs are right")
        _say("asking for lists and runs")
        taken = await measure.take(several, arguments.samples, _say)
        dropped = None
        if arguments.days > 1:
            _say("dropping a day")
            dropped = await retention.drop(several[-1])
        return taken, dropped, {str(each.runs): each.seeded_s for each in several}


def _sizes(runs: int) -> list[int]:
    """Return the lengths of history: a short one, the one wanted, and one between them."""
    between = round((_SHORT * runs) ** 0.5)
    return sorted({min(_SHORT, runs), between, runs}) if runs > _SHORT else [runs]


def _figures(each: measure.Taken, sizes: list[int]) -> dict[str, Any]:
    case = each.case
    some = {size: {f"p{q}": measure.p(q, [each], size) for q in (50, 99)} for size in sizes}
    return {
        "group": case.group.name,
        "filters": case.filters,
        "sort": case.sort if case.place else None,
        "ms": {str(size): some[size] | {"samples": len(each.ms[size])} for size in sizes},
    }


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _say(text: str) -> None:
    print(text, flush=True)
