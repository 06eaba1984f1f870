"""Named SQL: split at its markers; every name used exists, every one defined is used."""

import re
from pathlib import Path

import pytest

from orchestrator.store import queries

CHECKOUT = Path(__file__).parents[2]
FILES = sorted((CHECKOUT / "sql" / "queries").glob("*.sql"))


def test_statements_are_split_at_their_markers() -> None:
    text = """-- What the file is about.

-- name: first
-- Why it is so.
SELECT 1;

-- name: second
SELECT '-- name: no marker'
"""

    assert queries.parse(text, "x.sql") == {
        "first": "-- Why it is so.\nSELECT 1",
        "second": "SELECT '-- name: no marker'",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "x.sql: there are two statements named 'a'"),
        ("-- name: a\n-- only a comment\n", "x.sql: the statement 'a' is empty"),
        ("-- name: a b\nSELECT 1", "x.sql: 'a b' is no name for a statement"),
        ("-- name:\nSELECT 1", "x.sql: '' is no name for a statement"),
    ],
)
def test_a_wrong_file_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        queries.parse(text, "x.sql")


def test_a_loaded_module_cannot_be_changed() -> None:
    loaded = queries.load("parts")

    with pytest.raises(TypeError):
        loaded["ensure"] = ""  # type: ignore[index]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_statement_is_used_and_every_used_one_exists(file: Path) -> None:
    store = (CHECKOUT / "orchestrator" / "store").glob("*.py")
    loads = f'queries.load("{file.stem}")'
    sources = [text for path in store if loads in (text := path.read_text())]

    defined = set(queries.load(file.stem))
    literals = {name for text in sources for name in re.findall(r'"([a-z0-9_]+)"', text)}
    subscripts = {name for text in sources for name in re.findall(r'\bSQL\["(\w+)"\]', text)}

    assert defined <= literals, "defined and not used"
    if len(sources) == 1 and sources[0].count("queries.load(") == 1:
        assert subscripts <= defined, "used and not defined"
