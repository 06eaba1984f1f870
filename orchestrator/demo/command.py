"""The command line of the demo: what it takes, where it keeps things, how it ends."""

import argparse
import asyncio
import importlib.util
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.demo import guide
from orchestrator.demo.failure import DemoFailed
from orchestrator.demo.home import home
from orchestrator.demo.screen import Screen

_SAMPLE = Path(__file__).with_name("sales.csv")
_FAILED = 1
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return 0, 1 with the reason on stderr, or 130 when interrupted."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.server is None) != (arguments.agents is None):
        parser.error("--server and --agents go together")
    try:
        _look_for_the_sdk()
        plan = guide.Plan(
            source=_existing(arguments.input.expanduser()),
            output_dir=arguments.output_dir.expanduser().absolute(),
            where=_where(arguments),
        )
        asyncio.run(_until_signalled(plan))
    except DemoFailed as failure:
        sys.stdout.flush()
        sys.stderr.write(f"demo: {failure}\n")
        return _FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("demo: interrupted; everything it started was stopped\n")
        return _INTERRUPTED
    return 0


async def _until_signalled(plan: guide.Plan) -> None:
    """Run the guide; SIGTERM unwinds it as SIGINT does."""
    me = asyncio.current_task()
    assert me is not None  # noqa: S101 - asyncio.run made this task
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    await guide.run(plan, Screen(sys.stdout))


def _look_for_the_sdk() -> None:
    missing = [name for name in ("a2a", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise DemoFailed(
            "its agents stand on the official A2A SDK, which is not installed:"
            " run 'make demo' in a checkout, or pip install 'agent-orchestrator[demo]'"
        )


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DemoFailed(f"there is no file {path}")
    return path.absolute()


def _where(arguments: argparse.Namespace) -> guide.Own | guide.Elsewhere:
    if arguments.server:
        return guide.Elsewhere(arguments.server, arguments.agents)
    return guide.Own(arguments.home or home("demo"), arguments.port, arguments.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator demo",
        description="Run a workflow of three A2A agents on a CSV file, on a database of its own.",
    )
    parser.add_argument(
        "--input", type=Path, default=_SAMPLE, metavar="FILE", help="a CSV file (default: a sample)"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the report goes (default: %(default)s)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="afterwards leave the orchestrator and the agents running, until Ctrl-C",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="the orchestrator's port (default: a free one)"
    )
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="folder of the demo's database and logs"
    )
    parser.add_argument(
        "--server", metavar="URL", help="run on this orchestrator instead of one of the demo's own"
    )
    parser.add_argument(
        "--agents", metavar="URL", help="with --server: where its agents are, {} for the name"
    )
    return parser
