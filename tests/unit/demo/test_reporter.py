"""The demo's reporter: a Markdown file that a user's data cannot break."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.demo.agents.aggregator import aggregate
from orchestrator.demo.agents.reporter import report
from orchestrator.demo.agents.table import Unusable


def work(output_dir: Path, *, city: str = "Rome") -> dict[str, Any]:
    columns = [{"name": "city", "type": "text"}, {"name": "n", "type": "number"}]
    table = {"columns": columns, "rows": [[city, 1200.5], [city, 1.0]]}
    return {
        "file": "/somewhere/trips.csv",
        "bad_rows": [{"line": 3, "reason": "1 fields, the header has 2"}],
        "bad_row_count": 1,
        "statistics": aggregate({"table": table}),
        "output_dir": str(output_dir),
    }


def test_the_report_has_the_figures(tmp_path: Path) -> None:
    result = report(work(tmp_path / "new"))

    written = Path(result["report"]).read_text()
    assert result["report"] == str(tmp_path / "new" / "trips-report.md")
    assert result["bytes"] == len(written.encode())
    assert result["summary"] == ("trips.csv: 2 rows, 2 columns (1 of numbers); 1 bad row left out.")
    assert "| n | 2 | 0 | 1 | 1,200.5 | 600.75 | 1,201.5 |" in written
    assert "## By city" in written
    assert "| 3 | 1 fields, the header has 2 |" in written


def test_what_a_cell_holds_stays_in_its_cell(tmp_path: Path) -> None:
    result = report(work(tmp_path, city="a|b\n<script>[x](y)"))

    written = Path(result["report"]).read_text()
    assert r"| a\|b \<script>\[x\](y) | 2 |" in written


def test_no_draft_is_left_behind(tmp_path: Path) -> None:
    report(work(tmp_path))

    assert [each.name for each in tmp_path.iterdir()] == ["trips-report.md"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(Unusable, match="cannot be written to"):
        report(work(tmp_path / "file"))
