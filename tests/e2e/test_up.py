"""`python -m bench up` as a developer starts it: the whole stack, and every way to end it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
SAMPLE = TOP / "orchestrator" / "demo" / "sales.csv"

pytestmark = pytest.mark.e2e


class Up:
    """A stack in a folder of its own, which is kept between its starts."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.said: list[str] = []
        self.process: subprocess.Popen[str]

    def start(self, *options: str) -> None:
        """Start it; return when it says how to end it, or has ended."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench", "up", "--home", self.home, *options],
            cwd=TOP,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.said = []
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith("Ctrl-C"):
                return

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and what it complained of."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def address(self, name: str) -> str:
        """Return the address that it gave for a part."""
        row = next(line for line in self.said if line.startswith(f"  {name} "))
        return row.removeprefix(f"  {name} ").split()[0]

    def processes(self) -> dict[int, str]:
        """Return the living processes that were told of this stack's folder, or its children."""
        return {int(each.name): _command(each) for each in _running() if self._is_ours(each)}

    def _is_ours(self, process: Path) -> bool:
        if int(process.name) == self.process.pid:
            return False
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            output = str((process / "fd" / "2").readlink())
        except OSError:  # it has ended meanwhile
            return False
        return str(self.home).encode() in told or output.startswith(str(self.home))


def _running() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*")


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    if not (shutil.which("java") and shutil.which("mvn")) and not os.environ.get("CI"):
        pytest.skip("no Java and Maven: run scripts/test-machine")
    folder = Path(tempfile.mkdtemp(prefix="orch-up-"))
    folder.chmod(0o755)  # as root, the database's own user must get in
    yield Up(folder)
    shutil.rmtree(folder)


def call(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def nothing_is_left(up: Up, within: float = 20.0) -> bool:
    end = time.monotonic() + within
    while up.processes() and time.monotonic() < end:
        time.sleep(0.05)
    return up.processes() == {}


def test_both_orchestrators_run_the_demos_workflow_until_ctrl_c(up: Up, tmp_path: Path) -> None:
    up.start()

    urls = [up.address("orchestrator 1"), up.address("orchestrator 2")]
    workflow = call(f"{urls[0]}/api/v1/workflows?name=csv-report")["items"][0]["id"]
    data = {"path": str(SAMPLE), "output_dir": str(tmp_path)}
    for url, other in (urls, reversed(urls)):
        run = call(f"{url}/api/v1/workflows/{workflow}/execute", {"input_data": data})["run_id"]
        ended = call(f"{other}/api/v1/runs/{run}?wait=60")
        assert (ended["status"], ended["error_message"]) == ("COMPLETED", None)

    up.process.send_signal(signal.SIGINT)
    assert up.ended() == (0, "")
    assert up.processes() == {}


def test_the_surroundings_alone_come_with_the_settings_for_an_orchestrator(up: Up) -> None:
    up.start("--orchestrators", "0")

    settings = [line.strip() for line in up.said if line.startswith("  export ")]
    assert [each.partition("=")[0] for each in settings] == [
        "export ORCHESTRATOR_DATABASE_URL",
        "export ORCHESTRATOR_SECRET_KEYS",
        "export ORCHESTRATOR_KAFKA_BOOTSTRAP_SERVERS",
    ]
    assert up.address("logs") == str(up.home / "logs")
    assert call(up.address("agent demo-reader") + "/.well-known/agent-card.json")

    up.process.send_signal(signal.SIGTERM)
    assert up.ended() == (0, "")
    assert up.processes() == {}


def test_a_second_stack_in_the_same_folder_is_refused_and_a_dead_part_ends_the_first(
    up: Up,
) -> None:
    up.start("--orchestrators", "0")
    first = up.process
    second = Up(up.home.parent)
    second.start()
    code, errors = second.ended()
    assert code == 1
    assert f"up already (pid {first.pid})" in errors

    agent = next(
        pid for pid, command in up.processes().items() if "demo.agents reporter" in command
    )
    os.kill(agent, signal.SIGKILL)

    code, errors = up.ended()
    assert code == 1
    assert errors.startswith("up: agent-reporter ended with signal 9\n")
    assert str(up.home / "logs" / "agent-reporter.log") in errors
    assert up.processes() == {}


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells children of a parent's death")
def test_a_killed_stack_leaves_nothing_behind_and_the_next_one_comes_up(up: Up) -> None:
    up.start("--orchestrators", "0")
    assert len(up.processes()) >= 5

    up.process.kill()
    up.ended()
    assert nothing_is_left(up)

    up.start("--orchestrators", "0")
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == (0, "")


def test_an_orchestrator_that_does_not_start_is_told_with_its_reason(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_PARTITIONS", "none")

    up.start()

    code, errors = up.ended()
    assert code == 1
    assert "ended with code 2" in errors
    assert "ORCHESTRATOR_PARTITIONS" in errors
    assert up.processes() == {}


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    stack = Up(tmp_path / "file")

    stack.start()

    code, errors = stack.ended()
    assert code == 1
    assert errors == (
        f"up: the folder {stack.home} cannot be used (Not a directory): name another one with"
        " --home\n"
    )
