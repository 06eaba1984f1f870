"""`python -m bench soak` and `python -m bench profile`, short."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


def bench(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_soak_looks_at_what_may_creep(tmp_path: Path) -> None:
    result, page = tmp_path / "result.json", tmp_path / "page.html"

    done = bench("soak", "--minutes", "0.1", "--rate", "30", "--json", result, "--html", page)

    assert done.stderr == ""
    found = json.loads(result.read_text())
    assert found["problems"] == []
    flat = all(each["flat"] for each in found["trends"].values())
    assert done.returncode == (0 if flat else 1)  # six seconds need not be
    assert len(found["looks"]) >= 50
    last = found["looks"][-1]
    assert last["memory_mb"] > 30
    assert last["files"] > 5
    assert last["tasks"] > 5
    assert sum(each["cpu"] for each in found["looks"]) > 0
    assert sum(each["runs_per_s"] for each in found["looks"]) / len(found["looks"]) > 20
    assert page.read_text().count("<svg") == 5


def test_a_profile_names_the_layers(tmp_path: Path) -> None:
    if sys.platform != "linux" or (os.getuid() and not os.environ.get("CI")):
        pytest.skip("py-spy may look into other processes as root only")
    flame = tmp_path / "flame.svg"

    done = bench("profile", "--seconds", "1", "--svg", flame)

    assert (done.returncode, done.stderr) == (0, "")
    for layer in ("actors", "agents", "api", "store - asyncpg"):
        assert f"%  {layer}" in done.stdout
    assert "<svg" in flame.read_text()
