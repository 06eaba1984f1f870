"""Daily parts: made ahead and on demand, by many at once, dropped whole and never too early."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg import Connection

from orchestrator.store import parts
from orchestrator.store import pool as pools

pytestmark = pytest.mark.integration
Connect = Callable[[], Awaitable[Connection]]

INSERT = """INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key,
    workflow_name, status, seq, input, created_at, updated_at)
  SELECT id, partition_of(id, 16), id, 1, 'wf-x-001', 'x', $2, 1, '{}', run_id_time(id), now()
  FROM (SELECT $1::uuid AS id) AS new RETURNING tableoid::regclass::text"""
STEP = """INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt,
  message_no) VALUES ($1, 'a', 0, 'A', 'RUNNING', 1, 1) RETURNING tableoid::regclass::text"""
EVENT = """INSERT INTO run_event (run_id, seq, epoch, events) VALUES ($1, 1, 0, '[]')
  RETURNING tableoid::regclass::text"""
DAYS = "SELECT count(*) FROM pg_class WHERE relname ~ '^{}_[0-9]{{8}}$' AND relispartition"


def an_id(moment: datetime) -> UUID:
    """Make a UUIDv7 of that moment."""
    ms = int(moment.timestamp() * 1000)
    return UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | (uuid4().int & ((1 << 62) - 1)))


async def today(conn: Connection) -> datetime:
    """Return this noon, UTC, in the database's time."""
    now: datetime = await conn.fetchval("SELECT now()")
    return now.astimezone(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


async def make_part_for(conn: Connection, run: UUID) -> bool:
    """Make the part that a run belongs in; False if it was there."""
    return bool(await conn.fetchval("SELECT ensure_run_day(run_day($1))", run))


@pytest.fixture
async def each(each_dsn: str) -> AsyncIterator[Connection]:
    conn = await pools.connect(each_dsn, application_name="test")
    yield conn
    await conn.close()


async def test_an_id_carries_its_time(each: Connection) -> None:
    row = await each.fetchrow(
        "SELECT id, run_id_time(id) AS at, clock_timestamp() - run_id_time(id) AS ago,"
        " partition_of(id, 16) AS partition FROM new_run_id() AS id"
    )

    assert row is not None
    assert row["id"].version == 7
    assert row["id"].variant == "specified in RFC 4122"
    assert row["at"].microsecond % 1000 == 0
    assert 0 <= row["ago"].total_seconds() < 1
    assert row["at"].timestamp() * 1000 == pytest.approx(row["id"].int >> 80, abs=0.5)
    assert row["partition"] == (row["id"].int & 0xFFFFFFFF) % 16


async def test_ids_are_different_and_in_order(each: Connection) -> None:
    ids = [
        row["id"]
        for row in await each.fetch("SELECT new_run_id() AS id FROM generate_series(1, 5000)")
    ]

    assert len(set(ids)) == len(ids)
    # To the microsecond; those of the same one lie as chance wants.
    assert [i.int >> 64 for i in ids] == sorted(i.int >> 64 for i in ids)


async def test_a_moments_floor_lies_below_its_ids_and_above_those_before(each: Connection) -> None:
    moment = datetime(2026, 11, 24, 12, 0, 0, 123000, UTC)

    floor = await each.fetchval("SELECT uuid7_floor($1)", moment)

    assert floor <= an_id(moment)
    assert floor > an_id(moment - timedelta(milliseconds=1))
    assert await each.fetchval("SELECT run_id_time($1)", floor) == moment
    for far in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)):
        assert await each.fetchval("SELECT uuid7_floor($1)", far) is not None
    assert await each.fetchval("SELECT uuid7_floor('infinity')") is not None


async def test_any_uuid_has_a_time_and_a_partition(each: Connection) -> None:
    for some in (UUID(int=0), UUID(int=2**128 - 1), uuid4()):
        assert await each.fetchval("SELECT run_id_time($1) IS NOT NULL", some)
        assert 0 <= await each.fetchval("SELECT partition_of($1, 7)", some) < 7


async def test_sixty_days_are_made_by_many_at_once_and_take_their_runs(
    each: Connection, each_dsn: str
) -> None:
    async def ensure() -> int:
        conn = await pools.connect(each_dsn, application_name="test")
        try:
            return await parts.ensure(conn, 60)
        finally:
            await conn.close()

    async with asyncio.TaskGroup() as group:
        made = [group.create_task(ensure()) for _ in range(4)]

    assert sum(task.result() for task in made) == 59  # two were there
    for parent in ("run", "step_execution", "run_event"):
        assert await each.fetchval(DAYS.format(parent)) == 61
    noon = await today(each)
    for ahead in (0, 1, 30, 60):
        run = an_id(noon + timedelta(days=ahead))
        day = f"{noon + timedelta(days=ahead):%Y%m%d}"
        assert await each.fetchval(INSERT, run, "PENDING") == f"run_{day}"
        assert await each.fetchval(STEP, run) == f"step_execution_{day}"
        assert await each.fetchval(EVENT, run) == f"run_event_{day}"


async def test_the_first_and_last_millisecond_of_a_day(each: Connection) -> None:
    midnight = (await today(each)).replace(hour=0)

    for moment in (midnight, midnight + timedelta(days=1, milliseconds=-1)):
        assert await each.fetchval(INSERT, an_id(moment), "PENDING") == f"run_{midnight:%Y%m%d}"


async def test_an_insert_that_finds_no_part_can_make_it(each: Connection) -> None:
    run = an_id(await today(each) + timedelta(days=400))
    with pytest.raises(asyncpg.CheckViolationError):
        await each.fetchval(INSERT, run, "PENDING")

    assert await make_part_for(each, run)

    assert not await make_part_for(each, run)
    assert await each.fetchval(INSERT, run, "PENDING")
    assert await each.fetchval(STEP, run)
    assert await each.fetchval(EVENT, run)


async def test_a_part_can_be_made_while_runs_are_written(
    conn: Connection, connect: Connect
) -> None:
    writer = await connect()
    async with writer.transaction():
        await writer.fetchval(INSERT, an_id(await today(conn)), "PENDING")

        assert await make_part_for(conn, an_id(await today(conn) + timedelta(days=5)))


@pytest.mark.parametrize(
    "text",
    ["789e0123-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000",
     "ffffffff-ffff-ffff-ffff-ffffffffffff", "01000000-0000-7000-8000-000000000000"],
)  # fmt: skip
async def test_ids_that_are_no_uuid7_of_our_days_have_a_place(each: Connection, text: str) -> None:
    run = UUID(text)

    assert not await make_part_for(each, run)

    assert await each.fetchval(INSERT, run, "PENDING") in ("run_past", "run_far")
    assert await each.fetchval(STEP, run)
    assert await each.fetchval(EVENT, run)


async def test_a_decision_in_the_middle_of_a_run_is_a_hot_update(conn: Connection) -> None:
    run = an_id(await today(conn))
    part = await conn.fetchval(INSERT, run, "RUNNING")
    step = await conn.fetchval(STEP, run)

    async with conn.transaction():
        for n in range(3):
            await conn.execute(
                "UPDATE run SET seq = seq + 1, epoch = $2, token = $3, updated_at = $4"
                " WHERE id = $1",
                run, n, n, datetime.now(UTC),
            )  # fmt: skip
            await conn.execute(
                "UPDATE step_execution SET status = 'COMPLETED', output = '{}', attempt = $2,"
                " completed_at = now() WHERE run_id = $1",
                run, n,
            )  # fmt: skip
        for name in (part, step):
            assert await conn.fetchval(
                "SELECT pg_stat_get_xact_tuples_hot_updated($1::text::regclass)", name
            ) == 3  # fmt: skip


async def test_a_statement_with_bounds_touches_one_days_part(conn: Connection) -> None:
    await parts.ensure(conn, 60)
    run = an_id(await today(conn))

    text = await conn.fetchval(
        "EXPLAIN (ANALYZE, FORMAT JSON)"
        " SELECT FROM run WHERE id = ANY($1) AND id BETWEEN $2 AND $2",
        [run],
        run,
    )

    plan = json.loads(text)[0]["Plan"]
    assert plan.get("Subplans Removed", 0) >= 60 or plan["Node Type"].startswith("Index")


# -- retention ------------------------------------------------------------------------------------


async def days_with_runs(conn: Connection, *ahead_and_status: tuple[int, str]) -> list[date]:
    """Make parts on the days `ahead` of today with a run of that status each."""
    noon = await today(conn)
    days = []
    for ahead, status in ahead_and_status:
        run = an_id(noon + timedelta(days=ahead))
        await make_part_for(conn, run)
        await conn.fetchval(INSERT, run, status)
        await conn.fetchval(STEP, run)
        await conn.fetchval(EVENT, run)
        await conn.execute(
            "INSERT INTO task_cancellation (run_id, message_id, path, partition, agent_name)"
            " VALUES ($1, 'm', 'a', 0, 'A')",
            run,
        )
        days.append((noon + timedelta(days=ahead)).date())
    return days


async def runs(conn: Connection) -> int:
    count: int = await conn.fetchval("SELECT count(*) FROM run")
    return count


async def test_whole_days_are_dropped_with_all_that_belongs_to_them(each: Connection) -> None:
    await each.execute("UPDATE deployment SET first_day = first_day - 10")
    days = await days_with_runs(each, (2, "COMPLETED"), (3, "FAILED"), (4, "CANCELLED"))

    dropped = await parts.drop_before(each, days[2])

    assert dropped[-2:] == days[:2]  # and the empty ones before
    assert await runs(each) == 1
    assert await each.fetchval("SELECT count(*) FROM step_execution") == 1
    assert await each.fetchval("SELECT count(*) FROM run_event") == 1
    assert await each.fetchval("SELECT count(*) FROM task_cancellation") == 1
    assert await parts.drop_before(each, days[2]) == []


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
async def test_a_day_with_an_unfinished_run_stays(conn: Connection, status: str) -> None:
    days = await days_with_runs(conn, (2, status), (3, "COMPLETED"))

    dropped = await parts.drop_before(conn, days[1] + timedelta(days=1))

    assert days[0] not in dropped
    assert days[1] in dropped
    assert await runs(conn) == 1


async def test_a_retry_that_comes_in_between_saves_its_day(
    conn: Connection, connect: Connect
) -> None:
    """The drop looks again under its own lock."""
    days = await days_with_runs(conn, (2, "FAILED"))
    api, watcher = await connect(), await connect()

    async with asyncio.TaskGroup() as group, api.transaction():
        await api.execute("UPDATE run SET status = 'PENDING' WHERE status = 'FAILED'")
        drop = group.create_task(conn.fetchval("SELECT drop_run_day($1)", days[0]))
        while not await watcher.fetchval(  # noqa: ASYNC110
            "SELECT count(*) FROM pg_locks WHERE NOT granted"
        ):
            await asyncio.sleep(0.005)

    assert drop.result() is False
    assert await runs(conn) == 1


async def test_a_drop_does_not_make_others_wait_long(conn: Connection, connect: Connect) -> None:
    days = await days_with_runs(conn, (2, "FAILED"))
    reader = await connect()

    async with reader.transaction():
        await reader.fetch("SELECT FROM run")  # a long read holds its lock
        async with asyncio.timeout(4):
            dropped = await parts.drop_before(conn, days[0] + timedelta(days=1))

    assert days[0] not in dropped
    assert days[0] in await parts.drop_before(conn, days[0] + timedelta(days=1))


async def test_keys_are_forgotten_after_a_day(conn: Connection) -> None:
    await conn.execute(
        "INSERT INTO idempotency SELECT new_run_id(), 'k', '\\x00', new_run_id(), now() - h"
        " FROM unnest(ARRAY[interval '23 hours', interval '25 hours']) AS h"
    )

    await parts.forget_keys(conn)

    assert await conn.fetchval("SELECT count(*) FROM idempotency") == 1
