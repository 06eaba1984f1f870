"""The demo's reader against files as users have them."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.agents import reader
from orchestrator.demo.agents.table import Unusable

SAMPLE = Path(reader.__file__).parent.parent / "sales.csv"


def read(folder: Path, content: str | bytes) -> dict[str, Any]:
    path = folder / "data.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return reader.read({"path": str(path), "work_dir": str(folder / "work")})


def test_the_sample_has_two_bad_rows_and_a_missing_value() -> None:
    table = reader.read({"path": str(SAMPLE)})

    assert table["row_count"] == len(table["rows"]) == 238
    assert table["bad_rows"] == [
        {"line": 59, "reason": "4 fields, the header has 7"},
        {"line": 132, "reason": "'n/a' in 'units'"},
    ]


def test_numbers_are_told_from_text(tmp_path: Path) -> None:
    table = read(
        tmp_path, "name,n,when\nÅsa, 1.5 ,2026-01-01\nBo,-2e3,2026-01-02\nCy,,2026-01-03\n"
    )

    assert [column["type"] for column in table["columns"]] == ["text", "number", "text"]
    assert table["rows"][0] == ["Åsa", 1.5, "2026-01-01"]
    assert table["rows"][2][1] is None


def test_a_long_id_stays_text_digit_for_digit(tmp_path: Path) -> None:
    table = read(tmp_path, "id,n\n9007199254740993,1\n9007199254740995,2\n")

    assert table["rows"] == [["9007199254740993", 1], ["9007199254740995", 2]]


@pytest.mark.parametrize("content", ["a;b\n1,5;2\n3;4\n", "\ufeffa\tb\r\n1\t2\r\n", "a|b\n1|2\n"])
def test_the_delimiter_is_found(tmp_path: Path, content: str) -> None:
    table = read(tmp_path, content)

    assert [column["name"] for column in table["columns"]] == ["a", "b"]


def test_a_quoted_field_may_span_lines(tmp_path: Path) -> None:
    table = read(tmp_path, 'a,b\n"one\ntwo, three",1\n')

    assert table["rows"] == [["one\ntwo, three", 1]]


def test_many_rows_travel_as_a_file(tmp_path: Path) -> None:
    count = reader.MAX_INLINE_ROWS + 1

    table = read(tmp_path, "n\n" + "1\n" * count)

    assert "rows" not in table
    assert len(Path(table["rows_file"]).read_text().splitlines()) == table["row_count"] == count


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("a,b\n", "no row that fits"),
        ("a,a\n1,2\n", "two columns named 'a'"),
        ("a,,c\n1,2,3\n", "column 2 of the header has no name"),
        ("a,b\n1\n2\n3\n4,5\n", "3 of 4 rows are bad, the first is line 2: 1 fields"),
        ('a,b\n1,2\n3,"4\n', "after line 2: unexpected end of data"),
        ("a,b\n1," + "x" * 200_000, "field larger than field limit"),
        ("a" * 200_000, "field larger than field limit"),
        (b"a,b\n\xff,1\n", "not UTF-8 text (byte 4)"),
        (b"a,b\n\0,1\n", "NUL"),
    ],
)
def test_a_file_that_is_no_csv_says_why(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(Unusable) as error:
        read(tmp_path, content)

    assert reason in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.csv"

    with pytest.raises(Unusable, match=r"none\.csv cannot be read: No such file"):
        reader.read({"path": str(missing)})


def test_a_missing_input_is_named() -> None:
    with pytest.raises(Unusable, match=r"needs 'path' \(str\)"):
        reader.read({})
