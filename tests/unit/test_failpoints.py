import re
from pathlib import Path

import pytest

from orchestrator import failpoints, settings

SOURCE = Path(failpoints.__file__).parent
USED = re.compile(r'failpoints\.reached\("([^"]+)"\)')


def test_every_point_stands_somewhere_in_the_program_and_no_other_does() -> None:
    used = {name for file in SOURCE.rglob("*.py") for name in USED.findall(file.read_text())}

    assert used == set(failpoints.POINTS)


def test_nothing_is_armed_without_the_variable() -> None:
    assert failpoints._armed(None) is None
    assert failpoints._armed("") is None


@pytest.mark.parametrize("value", ["commit.before", "commit.before:0", "nowhere:1", "call.after:x"])
def test_a_variable_that_names_no_point_ends_the_start_with_one_line(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, value)

    with pytest.raises(settings.InvalidSettings, match=rf"^{failpoints.VARIABLE}: "):
        settings.load()


def test_a_variable_that_names_a_point_is_no_unknown_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, "commit.after:3:stop")

    settings.load()
