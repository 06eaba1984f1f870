"""The reader: reads a CSV file, checks every row, and tells numbers from text."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.demo.agents.table import Cell, Column, Unusable, Work, field

MAX_FILE_BYTES = 64 * 2**20
MAX_INLINE_ROWS = 2_000  # more travel as a file beside the report, not through the orchestrator
MAX_BAD_ROWS_SHOWN = 20
MIN_NUMERIC_SHARE = 0.9  # a column with fewer numbers than this is text
MAX_BAD_SHARE = 0.5  # with more bad rows than this the file is not what it claims to be

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_EXACT = 2**53  # A2A's data parts carry doubles; longer ids stay text, digit for digit
_DELIMITERS = ",;\t|"

_Line = tuple[int, list[str]]


def read(work: Work) -> dict[str, Any]:
    """Return the table in the file at `path`, its columns' types, and the rows that were refused.

    Rows with a wrong number of fields, or with a text in a column of numbers, are left out and
    listed. Raises `Unusable` when there is no such file, or it is no CSV.
    """
    path = Path(field(work, "path", str))
    header, lines, bad = _split(path, _text(path))
    columns = _columns(header, [fields for _, fields in lines])
    rows = [cells for line in lines if (cells := _cells(columns, line, bad)) is not None]
    if len(bad) > MAX_BAD_SHARE * (len(rows) + len(bad)):
        raise Unusable(
            f"{path.name} is no usable CSV: {len(bad)} of {len(rows) + len(bad)} rows are bad,"
            f" the first is line {bad[0]['line']}: {bad[0]['reason']}"
        )
    bad.sort(key=lambda each: int(each["line"]))
    return {
        "file": str(path),
        "columns": columns,
        "row_count": len(rows),
        "bad_row_count": len(bad),
        "bad_rows": bad[:MAX_BAD_ROWS_SHOWN],
        **_handed_on(rows, path, work),
    }


def _handed_on(rows: list[list[Cell]], path: Path, work: Work) -> dict[str, Any]:
    if len(rows) <= MAX_INLINE_ROWS:
        return {"rows": rows}
    folder = Path(field(work, "work_dir", str))
    target = folder / f"{path.stem}.rows.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    except OSError as error:
        raise Unusable(f"the rows cannot be written to {target}: {error.strerror}") from error
    return {"rows_file": str(target)}


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Unusable(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{path.name} is not UTF-8 text (byte {error.start})") from error
    if "\0" in text:
        raise Unusable(f"{path.name} is not a text file: it holds NUL bytes")
    if not text.strip():
        raise Unusable(f"{path.name} is empty")
    return text


def _split(path: Path, text: str) -> tuple[list[str], list[_Line], list[dict[str, Any]]]:
    """Return the header, the rows as wide as it with their line numbers, and the bad others."""
    lines = _parse(path, text)
    _, header = next(lines)
    header = [name.strip() for name in header]
    if not all(header):
        raise Unusable(f"{path.name}: column {header.index('') + 1} of the header has no name")
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise Unusable(f"{path.name}: the header has two columns named '{twice}'")
    good: list[_Line] = []
    bad: list[dict[str, Any]] = []
    for number, fields in lines:
        if len(fields) == len(header):
            good.append((number, fields))
        else:
            reason = f"{len(fields)} fields, the header has {len(header)}"
            bad.append({"line": number, "reason": reason})
    if not good:
        raise Unusable(f"{path.name} has a header and no row that fits it")
    return header, good, bad


def _parse(path: Path, text: str) -> Iterator[_Line]:
    number = 1
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        for fields in rows:
            number = rows.line_num
            if any(map(str.strip, fields)):
                yield number, fields
    except csv.Error as error:
        raise Unusable(f"{path.name} is no CSV: after line {number}: {error}") from error


def _delimiter(text: str) -> str:
    """Return the delimiter that cuts the header into most names."""
    header = next(line for line in text.splitlines() if line.strip())
    return max(_DELIMITERS, key=lambda each: len(next(csv.reader([header], delimiter=each))))


def _columns(header: list[str], rows: list[list[str]]) -> list[Column]:
    return [
        {"name": name, "type": "number" if _is_numeric(values) else "text"}
        for name, values in zip(header, zip(*rows, strict=True), strict=True)
    ]


def _is_numeric(values: tuple[str, ...]) -> bool:
    present = [value.strip() for value in values if value.strip()]
    numbers = [value for value in present if _NUMBER.fullmatch(value)]
    exact = all(abs(float(value)) < _EXACT for value in numbers)
    return exact and len(numbers) > 0 and len(numbers) >= MIN_NUMERIC_SHARE * len(present)


def _cells(columns: list[Column], line: _Line, bad: list[dict[str, Any]]) -> list[Cell] | None:
    """Return a row's values, or None after noting in `bad` what is wrong with it."""
    number, fields = line
    cells: list[Cell] = []
    for column, raw in zip(columns, fields, strict=True):
        value = raw.strip()
        if not value:
            cells.append(None)
        elif column["type"] == "text":
            cells.append(value)
        elif _NUMBER.fullmatch(value):
            cells.append(float(value))
        else:
            bad.append({"line": number, "reason": f"'{value[:40]}' in '{column['name']}'"})
            return None
    return cells
