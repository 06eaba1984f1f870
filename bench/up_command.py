"""`python -m bench up`: the whole stack in one terminal, until Ctrl-C."""

import argparse
import asyncio
import json
import shlex
import signal
import sys
import time
from pathlib import Path

import structlog

from bench.stack.failure import StackFailed
from bench.stack.home import Home
from bench.stack.up import Plan, Say, Stack, started
from orchestrator.demo.failure import DemoFailed
from orchestrator.demo.home import home as own_home
from orchestrator.demo.screen import Screen

_INTERRUPTED = 130
_SAMPLE = Path(__file__).parents[1] / "orchestrator" / "demo" / "sales.csv"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "up",
        help="start PostgreSQL, Kafka, orchestrators and the demo's agents, until Ctrl-C",
        description="Start the whole stack on this machine, without Docker: PostgreSQL, a real"
        " Apache Kafka, orchestrators and the demo's agents. It ends with Ctrl-C, or when one of"
        " them does (exit code 1). Its data is kept for the next time. Other ORCHESTRATOR_..."
        " variables reach the orchestrators.",
    )
    parser.add_argument(
        "--orchestrators",
        type=int,
        default=2,
        metavar="N",
        help="how many (default: %(default)s); 0 starts all but them, and prints their settings",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8000,
        help="of the first orchestrator, the others count on (default: %(default)s); where one is"
        " taken, a free one is used",
    )
    parser.add_argument(
        "--kafka-port", type=int, default=9092, metavar="PORT", help="likewise (%(default)s)"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="folder of the data and the logs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the stack; return 0 after Ctrl-C, 1 with the reason when something failed."""
    out = Screen(sys.stdout)
    try:
        folder = arguments.home.absolute() if arguments.home else own_home("up")
        plan = Plan(Home(folder), arguments.orchestrators, arguments.port, arguments.kafka_port)
        return asyncio.run(_until_signalled(plan, out.say))
    except (StackFailed, DemoFailed) as failure:
        sys.stdout.flush()
        sys.stderr.write(f"up: {failure}\n")
        return 1


async def _until_signalled(plan: Plan, say: Say) -> int:
    """Run the stack until it is told to stop: once in order, twice at once."""
    # What the embedded database logs is for a program's log, not for this screen.
    structlog.configure(processors=[_silent])
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - asyncio.run made this task
    stack = Stack(plan, say)
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        told.append(number)
        if len(told) == 1:
            me.cancel()
        else:
            stack.kill()

    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop, each)
    began = time.monotonic()
    code = _INTERRUPTED
    try:
        say(f"Starting a stack in {plan.home.folder}")
        async with started(stack):
            _show(stack, time.monotonic() - began)
            code = await _watched(stack)
    except asyncio.CancelledError:
        if not told:
            raise
    say("Everything has ended; the data is kept.")
    return code


async def _watched(stack: Stack) -> int:
    """Return 0 when told to stop, 1 when a part has ended; say which before the rest is stopped."""
    code = 0
    try:
        await stack.watch()
    except asyncio.CancelledError:
        stack.say("\nStopping; another Ctrl-C kills")
    except StackFailed as failure:
        stack.say("")
        sys.stdout.flush()
        sys.stderr.write(f"up: {failure}\n")
        stack.say("Stopping the rest; Ctrl-C kills")
        code = 1
    return code


def _silent(*_: object) -> "structlog.typing.ProcessorReturnValue":
    raise structlog.DropEvent


def _show(stack: Stack, took: float) -> None:
    rows = {f"orchestrator {n}": f"{url}  (pages: /docs)" for n, url in enumerate(stack.urls, 1)}
    rows["PostgreSQL"] = stack.settings["DATABASE_URL"]
    rows["Kafka"] = stack.settings["KAFKA_BOOTSTRAP_SERVERS"]
    rows |= {f"agent {name}": url for name, url in stack.agents.items()}
    rows["logs"] = str(stack.plan.home.logs)
    stack.say(f"\nReady after {took:.1f} s\n")
    for name, where in rows.items():
        stack.say(f"  {name:<22} {where}")
    stack.say("")
    for line in _advice(stack):
        stack.say(line)
    stack.say("\nCtrl-C ends all of it.")


def _advice(stack: Stack) -> list[str]:
    """Return what to do with it."""
    if not stack.urls:
        settings = stack.settings.items()
        lines = [f"  export ORCHESTRATOR_{name}={shlex.quote(value)}" for name, value in settings]
        return ["Start orchestrators with", *lines]
    given = {"path": str(_SAMPLE), "output_dir": str(stack.plan.home.folder / "reports")}
    body = json.dumps({"input_data": given})
    return [
        "Execute the demo's workflow at one, and ask the other:",
        f"  curl -s {stack.urls[0]}/api/v1/workflows/{stack.workflow}/execute \\",
        f"    -H 'Content-Type: application/json' -d '{body}'",
        f"  curl -s '{stack.urls[-1]}/api/v1/runs?page_size=1'",
        f"Load it: python -m bench load {' '.join(f'--url {url}' for url in stack.urls)}",
    ]
