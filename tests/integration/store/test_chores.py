"""Chores: parts ahead of time, retention, forgotten keys; by anybody, at any time."""

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from uuid import uuid4

import pytest
from asyncpg import Connection

from orchestrator.store import chores, parts
from tests.integration.store.stage import Stage

pytestmark = pytest.mark.integration

DAYS = "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::text::regclass"
KEYS = "SELECT count(*) FROM idempotency"


async def test_two_weeks_are_made_ahead(stage: Stage) -> None:
    await chores.do(stage.conn, None)

    for table in ("run", "step_execution", "run_event"):
        # Today, the days ahead, the past and the far future.
        assert await stage.conn.fetchval(DAYS, table) == 1 + parts.DAYS_AHEAD + 2


async def test_many_may_do_them_at_once(stage: Stage) -> None:
    sessions = [await stage.session() for _ in range(5)]

    await asyncio.gather(*(chores.do(conn, 30) for conn in sessions))

    assert await stage.conn.fetchval(DAYS, "run") == 1 + parts.DAYS_AHEAD + 2


async def test_they_can_be_done_under_load(stage: Stage) -> None:
    stop = asyncio.Event()
    owner = await stage.session()

    async def work() -> int:
        made = 0
        while not stop.is_set():
            await stage.started()
            made += 1
        return made

    working = asyncio.create_task(work())
    for _ in range(3):
        await chores.do(owner, 1)
    stop.set()

    assert await working > 0


async def age(conn: Connection, days: int) -> None:
    """Begin the daily parts so many days ago, and make them."""
    await conn.execute("DROP TABLE run_past, step_execution_past, run_event_past")
    await conn.execute("UPDATE deployment SET first_day = first_day - $1::int", days)
    await conn.execute(
        "SELECT make_run_parts('past', 'MINVALUE', quote_literal(day_floor(first_run_day())))"
    )
    await conn.execute(
        "SELECT ensure_run_day(first_run_day() + n) FROM generate_series(0, 40) AS n"
    )


async def oldest_part(conn: Connection) -> date:
    rows = await conn.fetch(parts.SQL["days_before"], date(9999, 1, 1))
    oldest: date = rows[0]["day"]
    return oldest


@pytest.mark.parametrize(("retention", "kept"), [(None, 30), (40, 30), (10, 10), (1, 1)])
async def test_whole_days_that_are_old_enough_go(
    stage: Stage, retention: int | None, kept: int
) -> None:
    await age(stage.conn, 30)
    today: date = await stage.conn.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")

    await chores.do(stage.conn, retention)

    assert await oldest_part(stage.conn) == today - timedelta(days=kept)


async def test_a_day_with_an_unfinished_run_stays_and_the_others_go(stage: Stage) -> None:
    await age(stage.conn, 30)
    today: date = await stage.conn.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    old = await stage.conn.fetchval("SELECT uuid7_floor(now() - interval '20 days')")
    run = await stage.run(run_id=old)

    await chores.do(stage.conn, 5)

    assert await oldest_part(stage.conn) == today - timedelta(days=20)
    assert (await stage.load(run.id)).status == "PENDING"


@pytest.mark.parametrize(
    ("now", "first"),
    [
        (datetime(2026, 3, 10, 0, 0, tzinfo=UTC), date(2026, 3, 3)),
        (datetime(2026, 3, 10, 23, 59, tzinfo=UTC), date(2026, 3, 3)),
        (datetime(2026, 3, 10, 1, tzinfo=timezone(timedelta(hours=2))), date(2026, 3, 2)),
    ],
)
def test_a_day_is_the_databases_and_counted_in_utc(now: datetime, first: date) -> None:
    assert chores.oldest_kept(now, 7) == first


async def test_only_keys_that_are_older_than_promised_are_forgotten(stage: Stage) -> None:
    for hours in (23, 25):
        await stage.conn.execute(
            "INSERT INTO idempotency VALUES ($1, 'k', '', $1, now() - make_interval(hours => $2))",
            uuid4(),
            hours,
        )

    await chores.do(stage.conn, None)

    assert await stage.conn.fetchval(KEYS) == 1
