"""Lists of runs: by page or from a place on, at a cost that does not grow with the history.

A list is one or several segments, one behind the other: all runs, or those of a status. How many
each has, and when they were created, is known from the totals.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from orchestrator.domain.record import record
from orchestrator.domain.run import RunStatus
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import pieces, queries, totals
from orchestrator.store.page import Page
from orchestrator.store.pool import Conn
from orchestrator.store.run_segments import (
    BY_COMPLETED_AT,
    BY_ID,
    BY_UPDATED_AT,
    NOT_COMPLETED,
    Place,
    Reader,
    Segment,
)
from orchestrator.store.runs import RunRow
from orchestrator.store.totals import Counted

SQL = queries.load("run_lists")

_EVERY = tuple(RunStatus)
_COMPLETED = (RunStatus.COMPLETED, RunStatus.FAILED)  # those that have a completed_at
_OTHERS = tuple(status for status in RunStatus if status not in _COMPLETED)


@record
class RunFilter:
    """What a list is to hold; None: any. The two moments are exclusive."""

    status: RunStatus | None = None
    workflow_key: str | None = None
    workflow_id: WorkflowId | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class RunSort(StrEnum):
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    COMPLETED_AT = "completed_at"
    STATUS = "status"


@record
class Listed:
    """Some runs of a list, how many it has in all, and the place behind which it goes on."""

    rows: list[RunRow]
    total: int
    next: Place | None = None


async def list_runs(
    conn: Conn,
    wanted: RunFilter,
    page: Page,
    sort: RunSort = RunSort.CREATED_AT,
    *,
    descending: bool = True,
    after: Place | None = None,
) -> Listed:
    """Return a page of runs, and how many there are in all; both of one moment.

    With `after`, the page's size counts and its number does not. Ties go by id in the same order; a
    null `completed_at` comes last in either order. Not to be called in a transaction.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute(SQL["plan_for_values"])
        await conn.execute(SQL["keep_parts"])
        workflow_id: UUID | None = wanted.workflow_id
        if wanted.workflow_key is not None:
            found: UUID | None = await conn.fetchval(SQL["lifelong_id"], wanted.workflow_key)
            if found is None or workflow_id not in (None, found):
                return Listed([], 0)
            workflow_id = found
        counted = Counted(wanted.status, None if workflow_id is None else WorkflowId(workflow_id))
        window = pieces.window(wanted.created_after, wanted.created_before)
        known = await totals.pieces(conn, counted, window)
        reader = Reader(conn, counted, known, descending=descending)
        segments = _segments(sort, wanted.status, descending=descending)
        total = reader.count(_EVERY)
        if after is None:
            rows = await reader.page(segments, page.offset, page.size)
            more = page.offset + len(rows) < total
        else:
            rows = await reader.behind(after, segments, page.size + 1)
            more = len(rows) > page.size
        rows = rows[: page.size]
    return Listed(rows, total, _place(rows[-1], sort) if more and rows else None)


def _segments(sort: RunSort, status: RunStatus | None, *, descending: bool) -> list[Segment]:
    """Return the segments of a list in order."""
    chosen = _EVERY if status is None else (status,)
    if sort is RunSort.UPDATED_AT:
        return [Segment(BY_UPDATED_AT, chosen)]
    if sort is RunSort.STATUS:
        return [Segment(BY_ID, (each,)) for each in sorted(chosen, reverse=descending)]
    if sort is RunSort.COMPLETED_AT:
        completed = [each for each in chosen if each in _COMPLETED]
        others = [each for each in chosen if each in _OTHERS]
        last = BY_ID if status else NOT_COMPLETED
        return [Segment(BY_COMPLETED_AT, completed), Segment(last, others)]
    return [Segment(BY_ID, chosen)]


def _place(row: RunRow, sort: RunSort) -> Place:
    at = row.completed_at
    if sort is RunSort.UPDATED_AT:
        at = at or row.cancelled_at if row.status.ended else row.updated_at
    return Place(row.status, at, row.id)
