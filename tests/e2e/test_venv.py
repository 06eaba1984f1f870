"""scripts/venv, which every target of the Makefile begins with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent


class Checkout:
    """A checkout with spaces in its path, with the script and what it looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy2(TOP / "scripts" / "venv", folder / "scripts")
        (folder / "pyproject.toml").touch()
        (folder / "setup.py").touch()

    def venv(
        self, *arguments: str, python: str | Path = sys.executable
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "scripts" / "venv", ".venv", *arguments],
            cwd="/",
            env={**os.environ, "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "my checkout")


def test_it_installs_once_and_again_when_the_pins_or_the_place_changed(checkout: Checkout) -> None:
    failed = checkout.venv("--no-index", "no-such-package")
    first = checkout.venv("--no-index", "pip")
    second = checkout.venv("--no-index", "pip")
    (checkout.folder / "pyproject.toml").write_text("# other pins")
    changed = checkout.venv("--no-index", "pip")
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved here"))
    moved = checkout.venv("--no-index", "pip")

    assert (failed.returncode, "no-such-package" in failed.stderr) == (1, True)
    assert (first.returncode, first.stderr) == (0, "Installing into .venv: --no-index pip\n")
    assert (second.returncode, second.stderr) == (0, "")
    assert (changed.returncode, changed.stderr) == (0, first.stderr)
    assert (moved.returncode, moved.stderr) == (0, first.stderr)
    assert str(checkout.folder) in (checkout.folder / ".venv" / "bin" / "pip").read_text()


def test_without_a_python_that_fits_it_says_what_to_install(checkout: Checkout) -> None:
    done = checkout.venv("pip", python="/no/such/python")

    assert done.returncode == 1
    assert done.stderr == (
        "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3\n"
    )


def test_without_ensurepip_it_names_the_package_to_install(
    checkout: Checkout, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)

    done = checkout.venv("pip", python=python)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 1
    assert done.stderr.startswith(f"Python {version} has no ensurepip: install ")
    assert done.stderr.count("\n") == 1
    if shutil.which("apt-get"):
        assert f"apt-get install python{version}-venv" in done.stderr
