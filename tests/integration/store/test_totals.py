"""Totals: whatever happens to runs, at any moment they are what counting would give."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg import Connection

from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.messages import RunCompleted, RunFailed, StepCompleted, StepFailed
from orchestrator.domain.run import Run, RunId, RunStatus
from orchestrator.store import idempotency, loading, parts, queries, run_lists, runs, totals
from orchestrator.store.creation import NewRun
from orchestrator.store.page import Page
from orchestrator.store.run_lists import RunFilter
from orchestrator.store.session import finds_no_part
from tests.integration.store.stage import STARTED, WENT_ON, WORKFLOW, A, B, Stage, entry_of

pytestmark = pytest.mark.integration

CREATE = queries.load("creation")["create"]
# Where counting and the totals differ: by workflow and of all, by hour and by day.
WRONG = """WITH spread AS (
    SELECT 'counted' AS how, workflow_id, status, run_hour(id) AS hour, 1 AS n FROM run
    UNION ALL SELECT 'known', workflow_id, status, hour, n FROM run_total_delta
  ), sums AS (
    SELECT how, w.workflow_id, s.hours, s.hour, status, n
    FROM spread d, LATERAL (VALUES (d.workflow_id), ($1::uuid)) AS w (workflow_id),
      LATERAL (VALUES (1, d.hour), (24, d.hour / 24 * 24)) AS s (hours, hour)
    UNION ALL SELECT 'known', workflow_id, hours, hour, status, n FROM run_total
  )
  SELECT workflow_id, hours, hour, status, sum(n) FILTER (WHERE how = 'known') AS known,
    sum(n) FILTER (WHERE how = 'counted') AS counted
  FROM sums GROUP BY 1, 2, 3, 4 HAVING sum(CASE how WHEN 'known' THEN n ELSE -n END) <> 0"""
ALL = UUID(int=0)
COUNT = """SELECT count(*) FROM run WHERE ($1::text IS NULL OR status = $1)
  AND ($2::uuid IS NULL OR workflow_id = $2) AND ($3::timestamptz IS NULL OR created_at > $3)
  AND ($4::timestamptz IS NULL OR created_at < $4)"""
STATE = "SELECT (SELECT count(*) FROM run_total_delta), (SELECT count(*) FROM run_total)"


async def wrong(conn: Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await conn.fetch(WRONG, ALL)]


async def total(conn: Connection, wanted: RunFilter) -> int:
    return (await run_lists.list_runs(conn, wanted, Page(1, 1))).total


def an_id(moment: datetime) -> UUID:
    """Make a UUIDv7 of that moment."""
    ms = int(moment.timestamp() * 1000)
    return UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | (uuid4().int & ((1 << 62) - 1)))


class World:
    """Runs of two workflows on some days, and what may happen to them."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.chance = random.Random(seed)
        self.workflows = [stage.workflow_id, uuid4()]
        self.runs: list[UUID] = []
        self.now: datetime

    async def open(self) -> "World":
        conn = self.stage.conn
        await parts.ensure(conn, days_ahead=4)
        await conn.execute(WORKFLOW, self.workflows[1], str(self.workflows[1]), "{}")
        self.now = (await conn.fetchval("SELECT now()")).astimezone(UTC)
        return self

    async def create(self, conn: Connection) -> None:
        """Make a batch of runs, as the program does."""
        number = self.chance.randint(1, 5)
        flows = self.chance.choices(self.workflows, k=number)
        tokens = [self.chance.getrandbits(60) for _ in flows]
        texts = [["{}"] * number, ["system"] * number]
        known = [self.workflows, [1, 1], ["[]", "[]"]]
        rows = await conn.fetch(CREATE, flows, [1] * number, *texts, tokens, *known, 8)
        self.runs += [row["id"] for row in rows]

    async def create_once(self, conn: Connection) -> None:
        new = NewRun(self.stage.workflow_id, 1, "wf", "wf", "{}")
        await idempotency.create_once(conn, new, str(uuid4()), b"x", 8)

    async def create_on_a_day(self, conn: Connection) -> None:
        """Make a run of another day or hour."""
        moment = self.now + timedelta(hours=self.chance.randint(0, 90))
        made = an_id(moment)
        workflow = self.chance.choice(self.workflows)
        await conn.execute(
            "INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key,"
            " workflow_name, status, seq, input, created_at, updated_at)"
            " VALUES ($1, 0, $2, 1, 'wf', 'wf', 'PENDING', 1, '{}', run_id_time($1), now())",
            made,
            workflow,
        )
        self.runs.append(made)

    async def decide(self, conn: Connection) -> None:
        """Write decisions about some runs in one statement; some of them are refused."""
        chosen = self.chance.sample(self.runs, min(4, len(self.runs)))
        loaded = await loading.load(conn, self.stage.definitions, [RunId(r) for r in chosen])
        entries = [entry_of(run, *self._events(run)) for run in loaded.runs if not run.status.ended]
        if entries:
            await self.stage.send(conn, *entries)

    def _events(self, run: Run) -> tuple[Any, ...]:
        if run.status is RunStatus.PENDING and A not in run.steps:
            failed = (StepFailed(A, 1, "no"), RunFailed("no"))
            return self.chance.choice([STARTED, (*STARTED, *failed)])
        if B not in run.steps and A in run.steps and run.steps[A].status == "RUNNING":
            return WENT_ON
        if B in run.steps and run.steps[B].status == "RUNNING":
            return (StepCompleted(B, 1, {}), RunCompleted())
        return (RunFailed("no"),)

    async def cancel(self, conn: Connection) -> None:
        await self._try(runs.cancel(conn, self._any(), None))

    async def retry(self, conn: Connection) -> None:
        await self._try(runs.retry(conn, self._any()))

    async def fail(self, conn: Connection) -> None:
        run = self._any()
        partition = await conn.fetchval("SELECT partition FROM run WHERE id = $1", run)
        if partition is not None:
            term = self.stage.terms[partition]
            await conn.fetchval("SELECT fail_run($1, 'x', $2, $3)", run, partition, term.epoch)

    async def remove(self, conn: Connection) -> None:
        await conn.execute("DELETE FROM run WHERE id = $1", self._any())

    async def fold(self, conn: Connection) -> None:
        await totals.fold(conn)

    async def drop(self, conn: Connection) -> None:
        """Drop a day; often one that has unfinished runs, and stays."""
        day = (self.now + timedelta(days=self.chance.randint(0, 4))).date()
        if self.chance.random() < 0.3:
            day_range = "id >= day_floor($1) AND id < day_floor($1 + 1)"
            await conn.execute(f"UPDATE run SET status = 'FAILED' WHERE {day_range}", day)  # noqa: S608
        try:
            dropped = await conn.fetchval("SELECT drop_run_day($1)", day)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            return
        if dropped:
            await conn.fetchval("SELECT ensure_run_day($1)", day)

    def _any(self) -> RunId:
        return RunId(self.chance.choice(self.runs) if self.runs else uuid4())

    async def _try(self, change: Awaitable[Any]) -> None:
        with suppress(Refused, NotFound):
            await change

    @property
    def actions(self) -> list[Callable[[Connection], Awaitable[None]]]:
        often = [self.create, self.create_on_a_day, self.decide, self.decide, self.cancel]
        return [*often, self.retry, self.create_once, self.fail, self.remove, self.fold, self.drop]


@pytest.mark.parametrize("seed", range(4))
async def test_after_any_mix_of_changes_totals_are_what_counting_gives(
    stage: Stage, seed: int
) -> None:
    world = await World(stage, seed).open()

    for step in range(80):
        await world.chance.choice(world.actions)(stage.conn)

        assert await wrong(stage.conn) == [], f"after step {step}"
    moments = [None, *(world.now + timedelta(hours=h, minutes=h) for h in (-1, 0, 1, 30))]
    for status in (None, *RunStatus):
        for workflow in (None, *world.workflows):
            for after in moments:
                before = world.chance.choice(moments)
                counted = await stage.conn.fetchval(COUNT, status, workflow, after, before)
                wanted = RunFilter(status, None, workflow, after, before)  # type: ignore[arg-type]
                assert await total(stage.conn, wanted) == counted, wanted


async def test_many_may_change_and_fold_at_once(stage: Stage) -> None:
    """Also at every moment in between, for whoever looks."""
    world = await World(stage, 9).open()
    await world.create(stage.conn)
    sessions = [await stage.session() for _ in range(5)]
    watcher = await stage.session()
    over = asyncio.Event()
    looks = 0

    async def act(conn: Connection) -> None:
        for _ in range(60):
            try:
                await world.chance.choice(world.actions)(conn)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                pass  # as the program does: the batch is repeated
            except asyncpg.CheckViolationError as error:
                if not finds_no_part(error):  # else the day is being dropped
                    raise

    async def watch() -> None:
        nonlocal looks
        while not over.is_set():
            async with watcher.transaction(isolation="repeatable_read", readonly=True):
                await watcher.execute(run_lists.SQL["keep_parts"])
                assert await wrong(watcher) == []
            looks += 1

    async with asyncio.TaskGroup() as watching:
        watching.create_task(watch())
        async with asyncio.TaskGroup() as acting:
            for conn in sessions:
                acting.create_task(act(conn))
        over.set()

    assert looks > 3
    assert await wrong(stage.conn) == []


async def test_of_many_folds_at_a_time_one_does_it(stage: Stage) -> None:
    world = await World(stage, 1).open()
    for _ in range(20):
        await world.create(stage.conn)
    sessions = [await stage.session() for _ in range(6)]

    await asyncio.gather(*(totals.fold(conn) for conn in sessions))

    assert await wrong(stage.conn) == []
    assert (await stage.conn.fetchrow(STATE))[0] == 0  # type: ignore[index]
    assert await totals.fold(stage.conn) == 0


async def test_a_fold_that_dies_has_done_nothing(stage: Stage) -> None:
    world = await World(stage, 2).open()
    await world.create(stage.conn)
    await totals.fold(stage.conn)
    await world.create(stage.conn)
    before = await stage.conn.fetchrow(STATE)
    dying = await stage.session()
    await dying.execute("BEGIN")
    assert await totals.fold(dying) > 0
    assert await totals.fold(stage.conn) == 0  # another is at it

    pid = dying.get_server_pid()
    await stage.conn.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)

    assert await stage.conn.fetchrow(STATE) == before
    assert await totals.fold(stage.conn) > 0
    assert await wrong(stage.conn) == []


async def test_what_comes_to_nothing_leaves_no_total(stage: Stage) -> None:
    run = await stage.started()
    await totals.fold(stage.conn)
    await stage.write(run, *WENT_ON)  # changes no status
    assert (await stage.conn.fetchrow(STATE))[0] == 0  # type: ignore[index]

    await stage.conn.execute("DELETE FROM run")
    await totals.fold(stage.conn)

    assert tuple(await stage.conn.fetchrow(STATE)) == (0, 0)  # type: ignore[arg-type]


async def test_a_day_takes_its_totals_along_folded_or_not(stage: Stage) -> None:
    world = await World(stage, 3).open()
    tomorrow = (world.now + timedelta(days=1)).replace(hour=12)
    for day in (tomorrow, tomorrow + timedelta(days=1)):
        for _ in range(3):
            await stage.run(run_id=an_id(day))
        await totals.fold(stage.conn)
        await stage.run(run_id=an_id(day))
    await stage.conn.execute("UPDATE run SET status = 'FAILED'")

    assert await stage.conn.fetchval("SELECT drop_run_day($1)", tomorrow.date())

    assert await total(stage.conn, RunFilter()) == 4
    assert await wrong(stage.conn) == []


async def test_a_drop_waits_for_a_fold_and_is_postponed(stage: Stage) -> None:
    world = await World(stage, 4).open()
    tomorrow: date = (world.now + timedelta(days=1)).date()
    await stage.run(run_id=an_id(world.now.replace(hour=12) + timedelta(days=1)))
    await stage.conn.execute("UPDATE run SET status = 'FAILED'")
    folding = await stage.session()

    async with folding.transaction():
        await totals.fold(folding)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await stage.conn.fetchval("SELECT drop_run_day($1)", tomorrow)

    assert await stage.conn.fetchval("SELECT drop_run_day($1)", tomorrow)
    assert tuple(await stage.conn.fetchrow(STATE)) == (0, 0)  # type: ignore[arg-type]


async def test_a_list_has_as_many_runs_as_it_says_while_days_are_dropped(stage: Stage) -> None:
    days = 25
    await parts.ensure(stage.conn, days_ahead=days)
    noon = datetime.now(UTC).replace(hour=12)
    for day in range(1, days):
        for _ in range(3):
            await stage.run(run_id=an_id(noon + timedelta(days=day)))
    await stage.conn.execute("UPDATE run SET status = 'FAILED'")
    dropper = await stage.session()
    over = asyncio.Event()

    async def read(conn: Connection) -> None:
        while not over.is_set():
            listed = await run_lists.list_runs(conn, RunFilter(), Page(1, 100))
            assert len(listed.rows) == listed.total

    sessions = [await stage.session() for _ in range(3)]
    async with asyncio.TaskGroup() as reading:
        for conn in sessions:
            reading.create_task(read(conn))
        for day in range(1, days):
            assert await dropper.fetchval(
                "SELECT drop_run_day($1)", (noon + timedelta(days=day)).date()
            )
        over.set()

    assert await total(stage.conn, RunFilter()) == 0


async def test_runs_put_into_a_part_are_counted_when_asked_to(stage: Stage) -> None:
    run = await stage.run()
    part = await stage.conn.fetchval("SELECT tableoid::regclass::text FROM run")
    await stage.conn.execute("CREATE TEMP TABLE copied AS SELECT * FROM run")
    await stage.conn.execute("UPDATE copied SET id = new_run_id()")
    await stage.conn.execute(f"INSERT INTO {part} SELECT * FROM copied")  # noqa: S608 - no trigger
    assert await total(stage.conn, RunFilter()) == 1

    await stage.conn.fetchval("SELECT recount_run_totals()")

    assert await total(stage.conn, RunFilter()) == 2
    await runs.cancel(stage.conn, run.id, None)
    assert await wrong(stage.conn) == []


async def test_an_emptied_table_has_no_totals(stage: Stage) -> None:
    await stage.run()
    await totals.fold(stage.conn)
    await stage.run()

    await stage.conn.execute("TRUNCATE run")

    assert tuple(await stage.conn.fetchrow(STATE)) == (0, 0)  # type: ignore[arg-type]
