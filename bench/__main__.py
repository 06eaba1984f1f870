"""The command line: `python -m bench {up | load | engine | history | soak | profile}`."""

import argparse
import sys
from collections.abc import Sequence

from bench import profile_command, up_command
from bench.engine import command as engine_command
from bench.history import command as history_command
from bench.load import command as load_command
from bench.soak import command as soak_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Drives and measures the orchestrator: a stack on this machine, and load.",
        epilog="Each command has a --help of its own; so has python -m bench.faults.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    up_command.add_parser(commands)
    load_command.add_parser(commands)
    engine_command.add_parser(commands)
    history_command.add_parser(commands)
    soak_command.add_parser(commands)
    profile_command.add_parser(commands)
    arguments = parser.parse_args(argv)
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
