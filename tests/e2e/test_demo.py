"""`python -m orchestrator demo` as a user starts it: whole runs, and every way to end it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.e2e


class Demo:
    """One demo, in a folder of its own that is kept between its runs."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.output = folder / "output"
        self.home.mkdir()

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command: list[str | Path] = [sys.executable, "-m", "orchestrator", "demo"]
        return subprocess.Popen(
            [*command, "--home", self.home, "--output-dir", self.output, *arguments],
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(TOP)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        demo = self.start(*arguments)
        output, errors = demo.communicate(timeout=120)
        return demo.returncode, output, errors

    def processes(self) -> set[int]:
        """Return the living processes that were told of this demo's folder, or work in it."""
        return {int(each.name) for each in Path("/proc").glob("[0-9]*") if self._is_ours(each)}

    def _is_ours(self, process: Path) -> bool:
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            works_in = str((process / "cwd").readlink())
        except OSError:  # it has ended meanwhile
            return False
        home = str(self.home)
        return home.encode() in told or works_in.startswith(home)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    folder = Path(tempfile.mkdtemp(prefix="orch-demo-"))
    folder.chmod(0o755)  # as root, the database's own user must get in
    yield Demo(folder)
    shutil.rmtree(folder)


def up_to(demo: subprocess.Popen[str], words: str) -> str:
    """Read its output up to the line with these words, and return that line."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}: {demo.communicate()[1]}")


def test_the_sample_is_reported_on(demo: Demo) -> None:
    code, output, errors = demo.run()

    assert (code, errors) == (0, "")
    for step in ("read", "aggregate", "report"):
        assert f"✓ {step} " in output
    assert "Timeline" in output
    report = demo.output / "sales-report.md"
    assert f"The report is in {report}" in output
    assert "238 rows, 7 columns" in report.read_text()
    assert demo.processes() == set()


def test_a_file_of_ones_own_is_taken_however_long(demo: Demo, tmp_path: Path) -> None:
    rows = "".join(f"line {n % 7};{n}\n" for n in range(10_000))
    (tmp_path / "my data.csv").write_text("kind;n\n" + rows)

    code, output, errors = demo.run("--input", tmp_path / "my data.csv")

    assert (code, errors) == (0, "")
    assert "10000 rows, 2 columns (1 of numbers); 0 bad rows left out." in output
    assert "49,995,000" in (demo.output / "my data-report.md").read_text()


def test_a_file_that_is_no_csv_fails_the_run_with_the_reason(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("a,b\n1\n2\n3,4\n")

    code, output, errors = demo.run("--input", tmp_path / "broken.csv")

    assert code == 1
    assert "✗ read " in output
    assert "- report " in output
    assert errors.startswith("demo: the run ended as FAILED: Step 'read' failed: ")
    assert "broken.csv is no usable CSV: 2 of 3 rows are bad, the first is line 2" in errors
    assert demo.processes() == set()


def test_a_missing_file_is_said_before_anything_starts(demo: Demo, tmp_path: Path) -> None:
    code, output, errors = demo.run("--input", tmp_path / "none.csv")

    assert (code, output) == (1, "")
    assert errors == f"demo: there is no file {tmp_path / 'none.csv'}\n"


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_stops_all_it_started(demo: Demo, signal_number: int) -> None:
    running = demo.start()
    up_to(running, "orchestrator at")

    running.send_signal(signal_number)
    _, errors = running.communicate(timeout=60)

    assert (running.returncode, errors.count("interrupted")) == (130, 1)
    assert demo.processes() == set()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells children of a parent's death")
def test_a_killed_demo_leaves_nothing_behind_and_the_next_one_works(demo: Demo) -> None:
    running = demo.start("--keep")
    up_to(running, "Still running")

    running.kill()
    running.communicate(timeout=60)

    end = time.monotonic() + 30
    while left := demo.processes():
        assert time.monotonic() < end, left
        time.sleep(0.05)
    code, _, errors = demo.run()
    assert (code, errors) == (0, "")
