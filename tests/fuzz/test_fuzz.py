"""schemathesis against the program: it does what /openapi.json says, whatever is sent.

`make test` runs it short, always the same; `make fuzz` for LENGTH seconds, from a seed that is
printed and that SEED=... repeats.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.api import openapi
from tests.agents_under_test import launch
from tests.e2e.program import Program

pytestmark = pytest.mark.e2e

DOCUMENT = openapi.document()
HERE = Path(__file__).parent
SEED = os.environ.get("FUZZ_SEED") or "1"
SECONDS = os.environ.get("FUZZ_SECONDS")
SHORT = ("--max-examples", "12")

NEVER_ACCEPTED = {
    ("POST", "/api/v1/agents/{agent_id}/probe"),  # not sent: `schemathesis.toml` says why
    ("POST", "/api/v1/push/{name}"),  # its name and token are known to the agent of a step alone
}

_COUNTED = re.compile(
    r'orchestrator_http_requests_total\{method="(\w+)",route="([^"]+)",status="2\d\d"\}'
)


def test_the_program_does_what_its_document_says(tmp_path: Path, dsn: str) -> None:
    amount = ("--max-time", SECONDS, "--max-examples", "100") if SECONDS else SHORT
    with (
        launch.recording("--delay-ms", "500") as agent,
        Program(tmp_path / "data", database_url=dsn) as program,
    ):
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("--config-file", HERE / "schemathesis.toml"),
                *("run", f"{program.url}/openapi.json", "--url", program.url),
                *("--seed", SEED, *amount),
            ],
            env=os.environ
            | {
                "FUZZ_HOOKS": str(HERE / "hooks.py"),
                "FUZZ_TARGET": program.url,
                "FUZZ_AGENT": agent.url,
                "NO_COLOR": "1",
            },
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        _, counted = program.call_text("GET", "/metrics")
        failures = [line for line in program.lines if line.get("level") in {"error", "critical"}]

    assert done.returncode == 0  # what went wrong, and how to repeat it, is printed above
    assert failures == []
    # A run that never got beyond a refusal would prove little.
    operations = {(m.upper(), path) for path, ms in DOCUMENT["paths"].items() for m in ms}
    assert operations - set(_COUNTED.findall(counted)) == NEVER_ACCEPTED
