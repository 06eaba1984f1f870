"""`python -m bench load` against the program."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Program

TOP = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    folder = Path(tempfile.mkdtemp(prefix="orch-load-"))
    folder.chmod(0o755)  # as root, the database's own user must get in
    program = Program(folder / "data").start()
    yield program
    program.stop()
    shutil.rmtree(folder)


def start(program: Program, *options: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "load", "--url", program.url, *options],
        cwd=TOP,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def load(program: Program, *options: str | Path) -> tuple[int, str, str]:
    process = start(program, *options)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def left_behind(program: Program) -> list[Any]:
    """Return what a load registered and did not remove."""
    found = []
    for kind in ("agents", "workflows"):
        _, page = program.call("GET", f"/api/v1/{kind}?status=active&page_size=100")
        found += [each["name"] for each in page["items"] if each["name"].startswith("bench-")]
    return found


def test_an_open_loop_is_measured_checked_and_cleaned_up(program: Program, tmp_path: Path) -> None:
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    options = ["--rate", "20", "--duration", "2", "--warmup", "0.5", "--agents", "2"]

    code, output, errors = load(program, *options, "--json", result, "--html", page)

    assert (code, errors) == (0, "")
    assert "Each run made exactly three calls; nothing is left PENDING." in output
    found = json.loads(result.read_text())
    assert found["ok"] is True
    assert found["totals"] == {"accepted": 50, "completed": 50}
    assert found["checks"]["steps"] == {
        step: {"calls": 50, "runs": 50} for step in ("extract", "transform", "load")
    }
    assert found["checks"]["statuses"]["COMPLETED"] == 50
    assert 0 < found["execute"]["per_s"] <= 25
    execute, runs = found["execute"]["latency_ms"], found["runs"]["latency_ms"]
    assert 0 < execute["p50"] <= execute["p90"] <= execute["p99"] <= execute["max"]
    assert 0 < runs["p50"] <= runs["max"]
    assert left_behind(program) == []
    text = page.read_text()
    assert text.count("<svg") == 3
    assert not re.search(r"<script[^>]+src|<link|@import|<img", text)


def test_a_closed_loop_on_ones_own_workflow_waits_by_the_api(
    program: Program, tmp_path: Path
) -> None:
    program.call("POST", "/api/v1/agents", {"name": "nobody", "url": "http://127.0.0.1:9/"})
    step: dict[str, Any] = {
        "id": "only",
        "agent_name": "nobody",
        "next_step": None,
        "input_mapping": {},
    }
    definition = {"name": "hopeless", "start_step": "only", "steps": {"only": step}}
    status, workflow = program.call("POST", "/api/v1/workflows", definition)
    assert status == 201, workflow
    result = tmp_path / "result.json"
    options = ["--workflow", workflow["id"], "--concurrency", "2", "--duration", "1"]

    code, output, _ = load(program, *options, "--warmup", "0", "--drain", "60", "--json", result)

    found = json.loads(result.read_text())
    assert code == 1
    assert found["errors"] == {"run FAILED": found["totals"]["accepted"]}
    assert f"{found['errors']['run FAILED']} x run FAILED" in output
    assert found["runs"]["observed_by"].startswith("the API")


def test_a_workflow_that_is_not_there_is_said_at_once(program: Program) -> None:
    code, output, errors = load(program, "--workflow", "00000000-0000-4000-8000-000000000000")

    assert (code, output) == (2, "")
    assert errors.startswith("load: GET ")
    assert " 404 " in errors


def test_an_interrupted_load_removes_what_it_registered(program: Program) -> None:
    running = start(program, "--rate", "5", "--duration", "100")
    end = time.monotonic() + 60
    while len(left_behind(program)) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)

    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)

    assert running.returncode == 130
    assert errors == "load: interrupted; what was registered for it was removed\n"
    assert left_behind(program) == []


def test_a_deployment_that_dies_is_still_reported_on(program: Program, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    running = start(program, "--rate", "20", "--duration", "6", "--warmup", "0", "--json", result)
    end = time.monotonic() + 60
    while len(left_behind(program)) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)

    program.kill()
    output, errors = running.communicate(timeout=60)

    assert running.returncode == 1
    found = json.loads(result.read_text())
    assert found["errors"]["NotConnected (ECONNREFUSED)"] > 0
    assert "Wrong: how its runs ended is not known: GET " in output
    assert "load: it could not be removed: DELETE " in errors
    program.start()
