"""How many runs there are: totals by workflow, status and time of creation (ADR 9)."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

from asyncpg import Record

from orchestrator.domain.record import record
from orchestrator.domain.run import RunStatus
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import queries
from orchestrator.store.pieces import DAY_HOURS, HOUR_MS, Piece, Window
from orchestrator.store.pool import Conn

SQL = queries.load("totals")

_ALL_WORKFLOWS = UUID(int=0)


@record
class Counted:
    """Which runs are counted; None: any."""

    status: RunStatus | None
    workflow_id: WorkflowId | None


async def fold(conn: Conn) -> int:
    """Fold what has changed into the totals; return how many changed. One process at a time."""
    changed: int = await conn.fetchval(SQL["fold"])
    return changed


async def pieces(conn: Conn, counted: Counted, window: Window) -> list[Piece]:
    """Return the pieces of a window that hold such runs, oldest first: days where it can be.

    In a transaction of its own they are those of one moment. A window that cuts an hour is counted
    there, run by run.
    """
    if window.first >= window.end:
        return []
    first, end = window.hours
    found = []
    if first < end:
        found = await _summed(conn, counted, first, window.days, end)
    for edge in window.edges:
        rows = await conn.fetch(SQL["count_edge"], *_filters(counted), *edge.ids)
        if rows:
            found.append(Piece(edge, {RunStatus(row["status"]): row["n"] for row in rows}))
    return sorted(found, key=lambda piece: piece.window.first)


async def hours(conn: Conn, counted: Counted, day: Piece) -> list[Piece]:
    """Return the hours of a day that hold such runs."""
    first = day.window.first // HOUR_MS
    end = first + DAY_HOURS
    return await _summed(conn, counted, first, (end, end), end)


async def _summed(
    conn: Conn, counted: Counted, first: int, days: tuple[int, int], end: int
) -> list[Piece]:
    workflow_id = counted.workflow_id or _ALL_WORKFLOWS
    rows = await conn.fetch(SQL["counts"], counted.status, workflow_id, first, *days, end)
    return [Piece(window, counts) for window, counts in _by_window(rows)]


def _by_window(rows: Iterable[Record]) -> Iterable[tuple[Window, dict[RunStatus, int]]]:
    counts: defaultdict[Window, dict[RunStatus, int]] = defaultdict(dict)
    for row in rows:
        window = Window(row["hour"] * HOUR_MS, (row["hour"] + row["hours"]) * HOUR_MS)
        counts[window][RunStatus(row["status"])] = row["n"]
    return counts.items()


def _filters(counted: Counted) -> tuple[RunStatus | None, WorkflowId | None]:
    return counted.status, counted.workflow_id
