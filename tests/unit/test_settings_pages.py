"""The pages that list the settings agree with them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator import settings
from orchestrator.settings import Settings

TOP = Path(__file__).resolve().parent.parent.parent


def test_the_readme_and_the_default_file_are_as_the_settings_say() -> None:
    command = [sys.executable, "-m", "scripts.settings_pages", "--check"]

    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_default_file_has_every_default() -> None:
    lines = (TOP / "config" / "default.toml").read_text().splitlines()
    given = tomllib.loads("\n".join(lines))

    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    unset = {name for name, default in defaults.items() if default is None}
    commented = {line.split()[1] for line in lines if line.startswith("# ") and " = " in line}

    assert given == {name: value for name, value in defaults.items() if name not in unset}
    assert commented == unset


@pytest.mark.parametrize("name", ["default.toml", "production.example.toml"])
def test_a_configuration_file_is_accepted(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CONFIG", str(TOP / "config" / name))

    settings.load()
