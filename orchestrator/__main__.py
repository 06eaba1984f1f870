"""The command line: `python -m orchestrator [serve | demo | migrate | openapi]`."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from orchestrator import json_text, service, settings
from orchestrator.api import openapi
from orchestrator.domain.errors import Misconfigured, Unavailable
from orchestrator.telemetry import logging

_EXIT_MISCONFIGURED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit code; 2 is a wrong setting or surrounding."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    command: str = arguments.command or "serve"
    if rest and command != "demo":  # which has options of its own
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if command == "openapi":
        sys.stdout.write(json_text.dumps(openapi.document()) + "\n")
        return 0
    try:
        if command == "demo":
            from orchestrator import demo  # noqa: PLC0415 - the server does without it

            return demo.main(rest)
        configured = settings.load()
        logging.configure(configured.log_format, configured.log_level)
        _run(service.migrate(configured) if command == "migrate" else service.serve(configured))
    except (settings.InvalidSettings, Misconfigured, Unavailable) as wrong:
        sys.stderr.write(f"orchestrator: {wrong}\n")
        return _EXIT_MISCONFIGURED
    except KeyboardInterrupt:
        return 130
    return 0


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` on uvloop where there is one, and raise the expected error inside a group."""
    try:
        if sys.platform == "win32":
            asyncio.run(work)
        else:
            import uvloop  # noqa: PLC0415 - not made for Windows

            uvloop.run(work)
    except BaseExceptionGroup as group:
        expected = group.subgroup((Misconfigured, Unavailable))
        if expected is None:
            raise
        raise _first(expected) from None


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator",
        description="A workflow orchestrator for AI agents and services.",
        epilog="Settings are read from ORCHESTRATOR_... variables and the TOML file named by"
        " ORCHESTRATOR_CONFIG; the README lists them.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve the API and run workflows (the default)")
    commands.add_parser("migrate", help="bring the database's schema up to date, and exit")
    commands.add_parser("openapi", help="print the API's OpenAPI specification")
    commands.add_parser("demo", help="run a workflow of three agents on a CSV file", add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
