"""The lists of guards that are taken away by hand: each guard is still where its list says."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
LISTS = {
    "mutant": TOP / "tests/simulation/mutants.toml",
    "guard": TOP / "tests/integration/store/guards.toml",
}
GUARDS = [
    pytest.param(each, id=f"{kind}: {each['name']}")
    for kind, listed in LISTS.items()
    for each in tomllib.loads(listed.read_text(encoding="utf-8"))[kind]
]


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_can_be_taken_away_is_there(guard: dict[str, Any]) -> None:
    text = (TOP / guard["file"]).read_text(encoding="utf-8")

    assert text.count(guard["old"]) == 1
    assert guard["new"] != guard["old"]
