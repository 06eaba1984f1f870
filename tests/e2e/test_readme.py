"""The README's tour, as a reader follows it: its blocks run as they are printed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.e2e


def tour() -> str:
    """Return the tour's commands; a `# →` behind one says what it prints."""
    text = (TOP / "README.md").read_text()
    (section,) = re.findall(r"<!-- tour:.*?-->(.*?)<!-- /tour -->", text, re.DOTALL)
    return "\n".join(re.findall(r"```bash\n(.*?)```", section, re.DOTALL))


def test_the_tour_prints_what_it_says() -> None:
    folder = Path(tempfile.mkdtemp(prefix="orch-readme-"))
    folder.chmod(0o755)  # as root, the database's own user must get in
    (folder / "home").mkdir()
    command = [sys.executable, "-m", "orchestrator", "demo", "--keep"]
    demo = subprocess.Popen(
        [*command, "--home", folder / "home", "--output-dir", folder / "output"],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(TOP)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert demo.stdout is not None
        line = next(line for line in demo.stdout if line.startswith("Still running"))
        (base,) = re.findall(r"(http\S+)/docs", line)
        commands = re.sub(r"^BASE=.*$", f"BASE={base}", tour(), count=1, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],  # noqa: S607 - as a reader's shell
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=60)
        shutil.rmtree(folder)

    assert (done.returncode, done.stderr) == (0, "")
    printed = iter(done.stdout.splitlines())
    promised = re.findall(r"# → (.+)", tour())
    assert promised
    for promise in promised:
        assert promise in printed, f"{promise!r} is not printed, or not in this order"
    assert demo.returncode == 0
