"""The demo's aggregator: figures per column and per group."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.agents.aggregator import aggregate
from orchestrator.demo.agents.table import Unusable

TABLE: dict[str, Any] = {
    "columns": [
        {"name": "id", "type": "text"},
        {"name": "city", "type": "text"},
        {"name": "n", "type": "number"},
    ],
    "rows": [["a", "Rome", 1.5], ["b", "Rome", 2.5], ["c", "Oslo", None], ["d", None, 0.0]],
}


def test_columns_are_summarised() -> None:
    result = aggregate({"table": TABLE})

    assert result["row_count"] == 4
    assert result["columns"][2] == {
        "name": "n",
        "type": "number",
        "count": 3,
        "missing": 1,
        "min": 0.0,
        "max": 2.5,
        "mean": 1.333333,
        "sum": 4.0,
    }
    assert result["columns"][1]["top"][0] == {"value": "Rome", "count": 2}


def test_groups_are_those_of_the_first_text_column_whose_values_repeat() -> None:
    result = aggregate({"table": TABLE})

    assert result["grouped_by"] == "city"
    assert result["summed"] == ["n"]
    assert result["groups"] == [
        {"value": "Rome", "rows": 2, "sums": [4.0]},
        {"value": None, "rows": 1, "sums": [0.0]},
        {"value": "Oslo", "rows": 1, "sums": [0.0]},
    ]


def test_with_nothing_to_group_by_there_are_no_groups() -> None:
    only_numbers = {"columns": [{"name": "n", "type": "number"}], "rows": [[1.0], [2.0]]}

    result = aggregate({"table": only_numbers})

    assert (result["grouped_by"], result["groups"]) == (None, [])


def test_rows_are_taken_from_the_readers_file(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('["a", "Rome", 7.0]\n')

    result = aggregate({"table": {"columns": TABLE["columns"], "rows_file": str(rows)}})

    assert result["columns"][2]["sum"] == 7.0


def test_a_lost_rows_file_is_named(tmp_path: Path) -> None:
    missing = {"columns": TABLE["columns"], "rows_file": str(tmp_path / "gone.jsonl")}

    with pytest.raises(Unusable, match=r"gone\.jsonl"):
        aggregate({"table": missing})
