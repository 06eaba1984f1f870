"""The demo's command line, before anything starts."""

import importlib.util
import os
from pathlib import Path

import pytest

from orchestrator import demo
from orchestrator.demo import command


def test_without_the_sdk_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    code = demo.main([])

    assert code == 1
    assert "pip install 'agent-orchestrator[demo]'" in capsys.readouterr().err


def test_a_server_elsewhere_needs_agents_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main(["--server", "http://127.0.0.1:1"])

    assert "--server and --agents go together" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    places = [tmp_path / "a file", tmp_path / "cache"]
    monkeypatch.setattr(command, "_places", lambda name: [each / name for each in places])

    home = command._home()

    assert home.parent == tmp_path / "cache"
    assert home == command._home()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no owners here")
def test_a_folder_of_another_user_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    with pytest.raises(PermissionError, match="belongs to another user"):
        command._own_folder(tmp_path)


def test_roots_folder_lets_the_databases_user_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda _path, **_: os.stat_result([0] * 10))

    home = command._own_folder(tmp_path / "cache" / "demo")

    monkeypatch.undo()
    assert [each.stat().st_mode & 0o777 for each in (home, home.parent)] == [0o755, 0o755]
