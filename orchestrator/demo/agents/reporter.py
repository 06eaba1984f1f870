"""The reporter: writes a Markdown report of what the others found."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.demo.agents.table import Unusable, Work, field

_BAR = 24
_FIGURES = ("count", "missing", "min", "max", "mean", "sum")
_COUNTS = ("count", "missing", "distinct")


def report(work: Work) -> dict[str, Any]:
    """Write `<output_dir>/<file>-report.md`; return its path and a summary in one sentence.

    The file is replaced as a whole, so a reader never sees half a report. Raises `Unusable`.
    """
    source = Path(field(work, "file", str))
    statistics = field(work, "statistics", dict)
    bad_rows = field(work, "bad_rows", list)
    summary = _sentence(source, work, statistics)
    target = Path(field(work, "output_dir", str)) / f"{source.stem}-report.md"
    lines = [f"# Report on {_text(source.name)}", "", summary, ""]
    lines += [*_columns(statistics), *_groups(statistics), *_bad(bad_rows)]
    content = "\n".join(lines).encode()
    _write(target, content)
    return {"report": str(target), "bytes": len(content), "summary": summary}


def _write(target: Path, content: bytes) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(target)
    except OSError as error:
        raise Unusable(f"the report cannot be written to {target}: {error.strerror}") from error


def _sentence(source: Path, work: Work, statistics: dict[str, Any]) -> str:
    columns = statistics["columns"]
    numeric = sum(1 for each in columns if each["type"] == "number")
    bad = int(work.get("bad_row_count", 0))
    rows = f"{int(statistics['row_count'])} rows, {len(columns)} columns ({numeric} of numbers)"
    return f"{_text(source.name)}: {rows}; {bad} bad {'row' if bad == 1 else 'rows'} left out."


def _columns(statistics: dict[str, Any]) -> Iterator[str]:
    numbers = [column for column in statistics["columns"] if column["type"] == "number"]
    texts = [column for column in statistics["columns"] if column["type"] == "text"]
    if numbers:
        yield from ("## Columns of numbers", "")
        yield from _table(
            ("column", *_FIGURES),
            ((c["name"], *(_number(c.get(figure)) for figure in _FIGURES)) for c in numbers),
        )
    if texts:
        yield from ("## Columns of text", "")
        yield from _table(
            ("column", *_COUNTS, "most common"),
            (
                (c["name"], *(_number(c[figure]) for figure in _COUNTS), _top(c["top"]))
                for c in texts
            ),
        )


def _top(top: list[dict[str, Any]]) -> str:
    return ", ".join(f"{each['value']} ({_number(each['count'])})" for each in top)


def _groups(statistics: dict[str, Any]) -> Iterator[str]:
    groups = statistics["groups"]
    if not groups:
        return
    most = max(group["rows"] for group in groups)
    yield from (f"## By {_text(statistics['grouped_by'])}", "")
    yield from _table(
        (
            statistics["grouped_by"],
            "rows",
            "",
            *(f"sum of {name}" for name in statistics["summed"]),
        ),
        (
            (
                "(empty)" if group["value"] is None else group["value"],
                _number(group["rows"]),
                "█" * max(1, round(_BAR * group["rows"] / most)),
                *map(_number, group["sums"]),
            )
            for group in groups
        ),
    )


def _bad(bad_rows: list[dict[str, Any]]) -> Iterator[str]:
    if bad_rows:
        yield from ("## Rows left out", "")
        yield from _table(
            ("line", "why"), ((_number(row["line"]), row["reason"]) for row in bad_rows)
        )


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    names = [_text(name) for name in header]
    yield f"| {' | '.join(names)} |"
    yield "|" + " --- |" * len(names)
    for row in rows:
        yield f"| {' | '.join(map(_text, row))} |"
    yield ""


def _text(value: str) -> str:
    """Return a user's text so that it neither ends a table's cell nor becomes a tag or a link."""
    text = " ".join(value.split())
    for mark in "\\`*_[]|<":
        text = text.replace(mark, f"\\{mark}")
    return text


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.2f}".rstrip("0").rstrip(".")
