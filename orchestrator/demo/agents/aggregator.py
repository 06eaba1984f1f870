"""The aggregator: counts, extremes, means and sums per column, and per group of rows."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.demo.agents.table import Cell, Table, Unusable, Work, field

MAX_GROUPS = 20
MAX_TOP = 3


def aggregate(work: Work) -> dict[str, Any]:
    """Summarise the reader's `table`: every column, and the groups of its first text column.

    "First" among those whose values repeat: a column of ids groups nothing. What has an order is
    a list: the members of an object arrive in any order over A2A 1.0. Raises `Unusable`.
    """
    table = _table(field(work, "table", dict))
    names = [column["name"] for column in table.columns]
    by = _grouping(table)
    return {
        "row_count": len(table.rows),
        "columns": [_summary(table, index) for index in range(len(names))],
        "grouped_by": None if by is None else names[by],
        "summed": [names[index] for index in _numeric(table)],
        "groups": [] if by is None else _groups(table, by),
    }


def _table(read: dict[str, Any]) -> Table:
    columns = field(read, "columns", list)
    if "rows_file" not in read:
        return Table(columns, field(read, "rows", list))
    path = Path(field(read, "rows_file", str))
    try:
        with path.open(encoding="utf-8") as file:
            return Table(columns, [json.loads(line) for line in file])
    except (OSError, ValueError) as error:
        raise Unusable(f"the reader's rows cannot be read from {path}: {error}") from error


def _summary(table: Table, index: int) -> dict[str, Any]:
    cells = table.column(index)
    missing = len(table.rows) - len(cells)
    summary = {**table.columns[index], "count": len(cells), "missing": missing}
    if table.columns[index]["type"] == "number":
        numbers = [cell for cell in cells if isinstance(cell, float | int)]
        return {**summary, **_numbers(numbers)}
    seen = Counter(str(cell) for cell in cells)
    top = [{"value": value, "count": count} for value, count in seen.most_common(MAX_TOP)]
    return {**summary, "distinct": len(seen), "top": top}


def _numbers(numbers: list[float]) -> dict[str, float]:
    if not numbers:
        return {}
    total = math.fsum(numbers)
    return {
        "min": min(numbers),
        "max": max(numbers),
        "mean": round(total / len(numbers), 6),
        "sum": round(total, 6),
    }


def _grouping(table: Table) -> int | None:
    text = [i for i, column in enumerate(table.columns) if column["type"] == "text"]
    repeating = [i for i in text if 0 < 2 * len(set(table.column(i))) <= len(table.rows)]
    return next(iter(repeating), None)


def _groups(table: Table, by: int) -> list[dict[str, Any]]:
    """Return the groups with most rows, each with the sums of the columns of numbers."""
    rows: dict[Cell, list[list[Cell]]] = {}
    for row in table.rows:
        rows.setdefault(row[by], []).append(row)
    largest = sorted(rows.items(), key=lambda each: (-len(each[1]), str(each[0])))[:MAX_GROUPS]
    return [
        {"value": value, "rows": len(members), "sums": _sums(Table(table.columns, members))}
        for value, members in largest
    ]


def _sums(table: Table) -> list[float]:
    columns = [table.column(index) for index in _numeric(table)]
    return [
        round(math.fsum(c for c in cells if not isinstance(c, str | None)), 6) for cells in columns
    ]


def _numeric(table: Table) -> list[int]:
    return [i for i, column in enumerate(table.columns) if column["type"] == "number"]
