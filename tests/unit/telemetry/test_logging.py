"""Log lines: JSON for machines, readable on a terminal, and never a local variable."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

SAYS = """
import logging
import structlog
from orchestrator.telemetry.logging import configure

def crash():
    local = "s3cret"
    raise ValueError(len(local))

configure({arguments})
log = structlog.get_logger("x")
log.debug("unheard")
with structlog.contextvars.bound_contextvars(request_id="the-request"):
    log.info("happened", run_id="run-1", step_id="a")
logging.getLogger("some.library").warning("library %s", "speaks")
logging.getLogger("some.library").info("library mumbles")
try:
    crash()
except ValueError:
    log.exception("crashed")
"""


def said(arguments: str = "") -> list[dict[str, Any]]:
    """Run the script with a pipe for its standard error; return the lines."""
    command = [sys.executable, "-c", SAYS.replace("{arguments}", arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def said_on_a_terminal(arguments: str = "") -> str:
    """Run it with a terminal for its standard error; return what stands there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", SAYS.replace("{arguments}", arguments)]
    with subprocess.Popen(command, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while read := os.read(ours, 65_536):
                shown += read
        except OSError:  # Linux says so of a terminal that nobody holds any more
            pass
        os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_lines_are_json_with_the_ids_and_a_trace_is_one_of_them() -> None:
    happened, library, crashed = said()

    assert happened["event"] == "happened"
    assert happened["level"] == "info"
    assert happened["timestamp"].endswith("Z")
    assert (happened["request_id"], happened["run_id"], happened["step_id"]) == (
        "the-request",
        "run-1",
        "a",
    )
    assert (library["event"], library["level"]) == ("library speaks", "warning")
    assert "request_id" not in library
    assert "ValueError: 6" in crashed["exception"]
    assert "s3cret" not in json.dumps(crashed)


def test_the_level_is_the_least_that_is_said() -> None:
    assert [line["event"] for line in said("level='debug'")][:2] == ["unheard", "happened"]
    assert [line["event"] for line in said("level='error'")] == ["crashed"]


def test_a_terminal_gets_readable_lines_unless_told_otherwise() -> None:
    shown = said_on_a_terminal()

    assert "happened" in shown
    assert '"event"' not in shown
    assert "ValueError: 6" in shown
    assert "s3cret" not in shown
    assert '"event": "happened"' in said_on_a_terminal("'json'")
