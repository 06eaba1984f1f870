"""The command line: `python -m bench.faults`."""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
from collections.abc import Sequence

import structlog

from bench.faults import table
from bench.faults.scenario import Result, Scenario, drawn, play
from bench.faults.scenarios import scenarios
from bench.faults.stage import services
from bench.stack.failure import StackFailed

_WRONG_USE = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Play what is asked for; return 0 if every promise held, 1 if not, 2 if it cannot be done."""
    names = [scenario.name for scenario in scenarios(1, 1)]
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description="Start PostgreSQL, Kafka, orchestrators and agents, load them, inject faults,"
        " and compare what clients, rows, the API and the agents say. Exit code 1: a promise was"
        " broken.",
    )
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"of {', '.join(names)}")
    parser.add_argument("--seed", help="of the schedules and inputs; the same repeats them")
    parser.add_argument(
        "--kills", type=int, default=3, metavar="N", help="deaths at each named point (%(default)s)"
    )
    parser.add_argument(
        "--backlog", type=int, default=50_000, metavar="N", help="unfinished runs (%(default)s)"
    )
    parser.add_argument("--schedule", action="store_true", help="print what would be done, and end")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no fault {unknown.pop()}")
    playable = scenarios(arguments.kills, arguments.backlog)
    chosen = [s for s in playable if not arguments.names or s.name in arguments.names]
    seed = arguments.seed or secrets.token_hex(4)
    print(f"seed {seed}", flush=True)
    if arguments.schedule:
        for scenario in chosen:
            _show(scenario, seed)
        return 0
    structlog.configure(processors=[_silent])
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is away is the point
    try:
        results = asyncio.run(_play(chosen, seed))
    except (StackFailed, BaseExceptionGroup) as failure:
        sys.stderr.write(f"faults: {_only(failure)}\n")
        return _WRONG_USE
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("faults: interrupted; everything was ended\n")
        return _INTERRUPTED
    print()
    print("\n".join(table.lines(results)))
    failed = [result for result in results if result.lost or result.wrong]
    for result in failed:
        print("\n".join(table.broken(result)))
    held = "Some promises were broken" if failed else "Every promise held"
    print(f"\n{held}; seed {seed} repeats the schedule.")
    return 1 if failed else 0


def _only(failure: BaseException) -> BaseException:
    """Return the `StackFailed` in nested groups; raise the group that holds anything else."""
    if isinstance(failure, BaseExceptionGroup):
        _, others = failure.split(StackFailed)
        if others is not None:
            raise others
        return _only(failure.exceptions[0])
    return failure


async def _play(chosen: Sequence[Scenario], seed: str) -> list[Result]:
    results = []
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - asyncio.run made it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    async with services() as stack:
        for scenario in chosen:
            result = await play(stack, scenario, seed)
            results.append(result)
            told = "held" if not (result.lost or result.wrong) else "BROKEN"
            figures = ", ".join(table.figures(result))
            print(f"{scenario.name:<14} {told:<6} {result.seconds:6.1f} s  {figures}", flush=True)
            for note in result.notes:
                print(f"  {note}", flush=True)
            for line in table.broken(result):
                print(line, flush=True)
    return results


def _show(scenario: Scenario, seed: str) -> None:
    print(scenario.name)
    for each in drawn(scenario, seed):
        said = " ".join(f"{name}={value}" for name, value in each.with_.items())
        print(f"  {each.at:6.2f} s  {each.what} {said}")


def _silent(*_: object) -> "structlog.typing.ProcessorReturnValue":
    raise structlog.DropEvent


if __name__ == "__main__":
    sys.exit(main())
