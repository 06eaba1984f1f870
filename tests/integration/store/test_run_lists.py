"""Lists of runs, page by page and cursor by cursor, against sorting all runs in memory."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import Connection

from orchestrator.domain.run import RunId, RunStatus
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import parts, run_segments, totals
from orchestrator.store import pool as pools
from orchestrator.store.page import Page
from orchestrator.store.run_lists import Listed, RunFilter, RunSort, list_runs
from orchestrator.store.run_segments import Place
from tests.integration.conftest import Server, in_thread

pytestmark = pytest.mark.integration

RUNS, SIZE = 90, 8
FLOWS = [WorkflowId(UUID(int=(1 << 90) + n)) for n in range(2)]
INSERT = """INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key,
    workflow_name, status, seq, input, created_at, updated_at, completed_at, cancelled_at)
  VALUES ($1, 0, $2, 1, 'wf', 'wf', $3, 1, '{}', run_id_time($1), $4, $5, $6)"""
# Ids that are no UUIDv7 of these days, among them the first and the last with a date in Python.
LAST = UUID(int=((253_402_300_800_000 << 80) - 1))
ODD = [UUID(int=0), LAST, UUID("789e0123-e89b-12d3-a456-426614174000")]


async def _fill(dsn: str) -> None:
    """Put runs on three days, crowded in a few hours; some moments and ends fall together."""
    chance = random.Random(7)
    conn = await pools.connect(dsn, application_name="test")
    await parts.ensure(conn, days_ahead=3)
    midnight = await conn.fetchval("SELECT date_trunc('day', now(), 'UTC')")
    for number in range(RUNS):
        at = midnight + timedelta(
            days=chance.choice((0, 0, 2)),
            hours=chance.choice((0, 1, 1, 23)),
            milliseconds=chance.randrange(3_600_000 if number % 3 else 3),
        )
        ms = int(at.timestamp() * 1000)
        made = UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | chance.getrandbits(60))
        run = ODD[number] if number < len(ODD) else made
        end = midnight + timedelta(seconds=chance.choice((5, chance.randrange(200_000))))
        status = chance.choice([*RunStatus])
        completed = end if status in ("COMPLETED", "FAILED") else None
        cancelled = end if status == "CANCELLED" else None
        flow = chance.choices(FLOWS, (4, 1))[0]
        await conn.execute(INSERT, run, flow, status, end, completed, cancelled)
        if number == RUNS // 2:
            await totals.fold(conn)  # the other half is read from the deltas
    await conn.close()


@pytest.fixture(scope="module", params=["server", "server_15"])
def full_dsn(request: pytest.FixtureRequest) -> Any:
    server: Server = request.getfixturevalue(request.param)
    name = server.create()
    in_thread(_fill(server.dsn(name)))
    yield server.dsn(name)
    server.drop(name)


@pytest.fixture
async def full(full_dsn: str) -> AsyncIterator[Connection]:
    conn = await pools.connect(full_dsn, application_name="test")
    yield conn
    await conn.close()


@pytest.fixture(autouse=True)
def _by_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hours looked for also among so few runs."""
    monkeypatch.setattr(run_segments, "_WALK", 2)


async def sorted_ids(
    conn: Connection, wanted: RunFilter, sort: RunSort, *, descending: bool
) -> list[UUID]:
    """Sort all runs in memory."""
    rows = [
        row
        for row in await conn.fetch("SELECT * FROM run")
        if wanted.status in (None, row["status"])
        and wanted.workflow_id in (None, row["workflow_id"])
        and (wanted.created_after is None or row["created_at"] > wanted.created_after)
        and (wanted.created_before is None or row["created_at"] < wanted.created_before)
    ]
    if sort is RunSort.CREATED_AT:
        rows.sort(key=lambda row: row["id"].int, reverse=descending)
    else:
        rows.sort(key=lambda row: (row[sort] or datetime.max.replace(tzinfo=UTC), row["id"].int))
        if descending:
            rows.reverse()
            rows.sort(key=lambda row: row[sort] is None)
    return [row["id"] for row in rows]


async def windows(conn: Connection) -> list[tuple[datetime | None, datetime | None]]:
    midnight: datetime = await conn.fetchval("SELECT date_trunc('day', now(), 'UTC')")
    minute = timedelta(minutes=1)
    return [
        (None, None),
        (midnight + 7 * minute, None),
        (None, midnight + timedelta(days=2, minutes=70)),
        (midnight + timedelta(milliseconds=1, microseconds=1), midnight + timedelta(hours=2)),
        (midnight + 70 * minute, midnight + 90 * minute),  # within an hour
        (midnight + 30 * minute, midnight + 90 * minute),  # over an hour's end, no whole hour
        (midnight + timedelta(days=1), midnight + timedelta(hours=1)),  # none at all
    ]


FILTERS = [
    RunFilter(),
    *(RunFilter(status) for status in RunStatus),
    RunFilter(workflow_id=FLOWS[1]),
    RunFilter(RunStatus.FAILED, workflow_id=FLOWS[0]),
    RunFilter(RunStatus.RUNNING, workflow_id=FLOWS[1]),
    RunFilter(workflow_id=WorkflowId(uuid4())),
]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", RunSort)
async def test_pages_and_cursors_give_each_run_once_and_in_order(
    full: Connection, sort: RunSort, *, descending: bool
) -> None:
    cases = [(RunFilter(created_after=a, created_before=b)) for a, b in await windows(full)]
    for wanted in [*FILTERS, *cases]:
        expected = await sorted_ids(full, wanted, sort, descending=descending)

        pages = [
            await list_runs(full, wanted, Page(number, SIZE), sort, descending=descending)
            for number in range(1, len(expected) // SIZE + 3)
        ]
        assert [row.id for page in pages for row in page.rows] == expected, wanted
        assert {page.total for page in pages} == {len(expected)}, wanted
        assert [page.next is None for page in pages] == [
            (number + 1) * SIZE >= len(expected) for number in range(len(pages))
        ]
        walked = [page async for page in walk(full, wanted, sort, descending=descending)]
        assert [row.id for page in walked for row in page.rows] == expected, wanted
        assert {page.total for page in walked} == {len(expected)}


async def walk(
    conn: Connection, wanted: RunFilter, sort: RunSort, *, descending: bool
) -> AsyncIterator[Listed]:
    """Read a list by its cursors."""
    after: Place | None = None
    while True:
        page = await list_runs(
            conn, wanted, Page(1, SIZE), sort, descending=descending, after=after
        )
        yield page
        after = page.next
        if after is None:
            return


async def test_a_cursor_shows_nothing_twice_while_runs_are_added(full: Connection) -> None:
    first = await list_runs(full, RunFilter(), Page(1, SIZE))
    new = await full.fetchval("SELECT new_run_id()")
    await full.execute(INSERT, new, FLOWS[0], "PENDING", datetime.now(UTC), None, None)
    try:
        by_page = await list_runs(full, RunFilter(), Page(2, SIZE))
        by_cursor = await list_runs(full, RunFilter(), Page(1, SIZE), after=first.next)
    finally:
        await full.execute("DELETE FROM run WHERE id = $1", new)

    seen = {row.id for row in first.rows}
    assert seen.isdisjoint(row.id for row in by_cursor.rows)
    assert by_cursor.total == by_page.total == RUNS + 1


@pytest.mark.parametrize("sort", RunSort)
async def test_a_place_of_no_run_has_runs_behind_it_or_none(
    full: Connection, sort: RunSort
) -> None:
    """A cursor can be made up: it is answered, with what the list has behind it."""
    for some_id in (UUID(int=0), UUID(int=(1 << 128) - 1)):
        for status in RunStatus:
            for at in (None, datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)):
                for descending in (False, True):
                    place = Place(status, at, RunId(some_id))
                    page = await list_runs(
                        full, RunFilter(), Page(1, 5), sort, descending=descending, after=place
                    )
                    assert len(page.rows) <= 5
                    assert page.total == RUNS
