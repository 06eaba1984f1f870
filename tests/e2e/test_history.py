"""Totals are folded by the program, and `python -m bench history` measures what they are for."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from tests.e2e.program import Program

TOP = Path(__file__).resolve().parents[2]
RUN = """INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
    status, seq, input, created_at, updated_at, completed_at)
  SELECT id, 0, id, 1, 'wf', 'wf', 'COMPLETED', 1, '{}', run_id_time(id), now(), now()
  FROM new_run_id() AS id"""

pytestmark = pytest.mark.e2e


async def ask(dsn: str, statement: str) -> int:
    conn = await asyncpg.connect(dsn)
    try:
        return int(await conn.fetchval(statement) or 0)
    finally:
        await conn.close()


def test_the_program_folds_what_has_changed(tmp_path: Path, dsn: str) -> None:
    with Program(tmp_path, database_url=dsn) as program:
        asyncio.run(ask(dsn, RUN))

        assert program.call("GET", "/api/v1/runs")[1]["total"] == 1
        deadline = time.monotonic() + 30
        while asyncio.run(ask(dsn, "SELECT count(*) FROM run_total_delta")):
            assert time.monotonic() < deadline, "nobody folds"
            time.sleep(0.1)
        assert asyncio.run(ask(dsn, "SELECT sum(n) FROM run_total WHERE hours = 1")) == 2
        assert program.call("GET", "/api/v1/runs")[1]["total"] == 1


def test_a_history_is_made_measured_and_reported(tmp_path: Path) -> None:
    result, page = tmp_path / "result.json", tmp_path / "page.html"
    options = ["--runs", "11000", "--days", "2", "--samples", "1"]

    done = subprocess.run(
        [sys.executable, "-m", "bench", "history", *options, "--json", result, "--html", page],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "totals of 11000 runs are right" in done.stdout
    assert "lists by created_at: any cursor" in done.stdout
    found = json.loads(result.read_text())
    assert found["retention"]["runs"] == 5500
    assert found["retention"]["freed_bytes"] >= 0.95 * found["retention"]["day_bytes"]
    assert {case["sort"] for case in found["cases"]} == {
        None, "created_at", "updated_at", "completed_at", "status",
    }  # fmt: skip
    assert all(ms["p99"] > 0 for case in found["cases"] for ms in case["ms"].values())
    assert page.read_text().count("<svg") == 2
