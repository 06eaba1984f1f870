"""Where the demo keeps its things."""

import os
from pathlib import Path

import pytest

from orchestrator.demo import home as place


def test_a_folder_that_cannot_be_written_to_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    places = [tmp_path / "a file", tmp_path / "cache"]
    monkeypatch.setattr(place, "_places", lambda name: [each / name for each in places])

    home = place.home("demo")

    assert home.parent == tmp_path / "cache"
    assert home == place.home("demo")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="there are no owners here")
def test_a_folder_of_another_user_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    with pytest.raises(PermissionError, match="belongs to another user"):
        place.own_folder(tmp_path)


def test_roots_folder_lets_the_databases_user_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Path, "stat", lambda _path, **_: os.stat_result([0] * 10))

    home = place.own_folder(tmp_path / "cache" / "demo")

    monkeypatch.undo()
    assert [each.stat().st_mode & 0o777 for each in (home, home.parent)] == [0o755, 0o755]
