"""Query plans on many parts with many runs: what is read is what is asked for, not what is there.

Six of sixty days hold runs, three thousand each: whatever reads a day's runs, or all days' rows of
an index, is seen by the number of rows that it read.
"""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from asyncpg import Connection

from orchestrator.domain.run import RunStatus
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import parts, pieces, queries, run_lists, run_segments, totals
from orchestrator.store import pool as pools
from orchestrator.store.page import Page
from orchestrator.store.run_lists import Listed, RunFilter, RunSort
from tests.integration.conftest import Server, in_thread

pytestmark = pytest.mark.integration

DAYS, WITH_RUNS, A_DAY = 60, 6, 3000
LOWEST, HIGHEST = UUID(int=0), UUID(int=(1 << 128) - 1)
OWNED = list(range(16))
WORKFLOW = UUID(int=1)  # one run in ten, some of them of each status
# Runs that have ended, spread over a day and ten workflows.
ENDED = """INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key,
    workflow_name, status, seq, input, created_at, updated_at, completed_at, cancelled_at)
  SELECT id, partition_of(id, 16), lpad(to_hex(n % 10 + 1), 32, '0')::uuid, 1, 'wf', 'wf', status,
    5, '{}', run_id_time(id), at, CASE WHEN status <> 'CANCELLED' THEN at END,
    CASE WHEN status = 'CANCELLED' THEN at END
  FROM (SELECT n, (lpad(to_hex((extract(epoch FROM $1::date) * 1000 + n * 20000)::bigint), 12, '0')
        || '70008' || right(md5(n::text), 15))::uuid AS id,
      CASE WHEN n % 50 = 0 THEN 'CANCELLED' WHEN n % 20 = 0 THEN 'FAILED' ELSE 'COMPLETED' END
        AS status
    FROM generate_series(1, $2) AS n) AS made, LATERAL (SELECT run_id_time(id) + '1s' AS at) AS t"""
# A few of all days that have not: at work, new, and waiting.
UNFINISHED = """UPDATE run SET completed_at = NULL, cancelled_at = NULL,
    status = CASE WHEN n % 3 = 0 THEN 'PENDING' ELSE 'RUNNING' END,
    wake_at = CASE WHEN n % 3 = 1 THEN now() + '1h' END
  FROM (SELECT id AS chosen, row_number() OVER (ORDER BY id) AS n FROM run
        WHERE abs(hashtext(id::text)) % 300 = 0) AS c WHERE id = chosen"""


async def _fill(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await parts.ensure(conn, days_ahead=DAYS)
    today = await conn.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    for ahead in range(WITH_RUNS):
        await conn.execute(ENDED, today + timedelta(days=ahead), A_DAY)
    await conn.execute(UNFINISHED)
    await totals.fold(conn)
    await conn.execute("VACUUM ANALYZE")
    await conn.close()


@pytest.fixture(scope="module", params=["server", "server_15"])
def full_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make a database with many parts and runs, on each supported server."""
    server: Server = request.getfixturevalue(request.param)
    name = server.create()
    in_thread(_fill(server.dsn(name)))
    yield server.dsn(name)
    server.drop(name)


@pytest.fixture
async def full(full_dsn: str) -> AsyncIterator[Connection]:
    """Open a session as those are that keep their plans."""
    conn = await pools.connect(full_dsn, application_name="test plans")
    yield conn
    await conn.close()


class Plan:
    """What a statement did: the rows that were read, and from which parts."""

    def __init__(self, node: dict[str, Any]) -> None:
        self.rows = 0.0
        self.parts: set[str] = set()
        self.whole: set[str] = set()  # parts with runs that were read from end to end
        self._read(node)

    def _read(self, node: dict[str, Any]) -> None:
        loops = node["Actual Loops"]
        if (relation := node.get("Relation Name")) and loops:
            skipped = node.get("Rows Removed by Filter", 0)
            skipped += node.get("Rows Removed by Index Recheck", 0)
            read = (node["Actual Rows"] + skipped) * loops
            self.rows += read
            self.parts.add(relation)
            if node["Node Type"] == "Seq Scan" and read >= A_DAY:
                self.whole.add(relation)
        for child in node.get("Plans", ()):
            self._read(child)


async def explain(conn: Connection, statement: str, *args: Any) -> Plan:
    await conn.fetch(statement, *args)  # it can be run
    text = await conn.fetchval("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, *args)
    return Plan(json.loads(text)[0]["Plan"])


async def at_work(conn: Connection) -> list[UUID]:
    """Return runs that are at work, of many days."""
    asked = "SELECT id FROM run WHERE status = 'RUNNING' AND wake_at IS NULL ORDER BY id"
    return [row["id"] for row in await conn.fetch(asked)]


# -- the looks of the owners -----------------------------------------------------------------------

SCAN = queries.load("scan")["scan"]


@pytest.mark.parametrize("room", [0, 1000])
async def test_a_look_reads_the_unfinished_and_nothing_else(full: Connection, room: int) -> None:
    plan = await explain(full, SCAN, OWNED, [], [], LOWEST, LOWEST, room)

    unfinished = await full.fetchval("SELECT count(*) FROM run WHERE status < 'CO' OR status > 'F'")
    assert plan.rows <= 4 * unfinished
    assert not plan.whole


@pytest.mark.parametrize("room", [0, 1000])
async def test_a_look_at_active_runs_of_many_days_does_not_read_those_days(
    full: Connection, room: int
) -> None:
    active = await at_work(full)
    assert len(active) > 10

    plan = await explain(
        full, SCAN, OWNED, active, [5] * len(active), min(active), max(active), room
    )

    assert not plan.whole
    assert plan.rows < A_DAY


# -- the inbox -------------------------------------------------------------------------------------

# A step of every run, and of a few of all days one that waits.
STEPS = """INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt,
    message_no, waiting_for, question, asked_at, asked_seq)
  SELECT id, 'a', 0, 'A', CASE WHEN waits THEN 'RUNNING' ELSE 'COMPLETED' END, 1, 1,
    CASE WHEN waits THEN 'input' END, CASE WHEN waits THEN '{}'::json END,
    CASE WHEN waits THEN now() END, CASE WHEN waits THEN 3 END
  FROM (SELECT id, abs(hashtext(id::text)) % 300 = 1 AS waits FROM run) AS r"""


@pytest.fixture
async def asked(full: Connection) -> AsyncIterator[int]:
    """Give every run a step; return how many of them wait."""
    await full.execute(STEPS)
    await full.execute("ANALYZE step_execution")
    yield await full.fetchval("SELECT count(*) FROM step_execution WHERE waiting_for IS NOT NULL")
    await full.execute("TRUNCATE step_execution")


async def test_the_inbox_reads_what_waits_and_nothing_else(full: Connection, asked: int) -> None:
    assert 30 < asked < 100
    inbox = queries.load("inbox")

    page = await explain(full, inbox["open"], 0, 20)
    total = await explain(full, inbox["count"])

    assert page.rows <= asked + 20
    assert total.rows <= asked
    assert not page.whole | total.whole


# -- one run, one part -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name", "more"),
    [
        ("runs", "get", ()),
        ("loading", "partition", ()),
        ("history", "steps", ()),
        ("history", "count_events", ()),
        ("history", "events", (0, 10)),
    ],
)
async def test_what_is_asked_of_one_run_is_read_in_one_part(
    full: Connection, module: str, name: str, more: tuple[Any, ...]
) -> None:
    run, *_ = await at_work(full)

    plan = await explain(full, queries.load(module)[name], run, *more)

    days = {part.rpartition("_")[2] for part in plan.parts - {"task_cancellation"}}
    assert len(days) == 1
    assert plan.rows <= 5


@pytest.mark.parametrize(("module", "name"), [("runs", "state"), ("loading", "load")])
async def test_what_is_asked_of_several_runs_is_read_in_their_parts(
    full: Connection, module: str, name: str
) -> None:
    some = (await at_work(full))[:3]

    plan = await explain(full, queries.load(module)[name], some, min(some), max(some))

    assert len({part.rpartition("_")[2] for part in plan.parts}) <= 3
    assert plan.rows <= 10


async def test_a_key_finds_its_run_in_one_part(full: Connection) -> None:
    (run, *_) = await at_work(full)
    async with full.transaction():
        await full.execute(
            "INSERT INTO idempotency VALUES ($1, 'k', '', $2) ON CONFLICT DO NOTHING", run, run
        )
        plan = await explain(full, queries.load("idempotency")["find"], run, "k")

    assert plan.rows <= 3


# -- the lists -------------------------------------------------------------------------------------

FILTERS = {
    "all": RunFilter(),
    "completed": RunFilter(RunStatus.COMPLETED),
    "failed": RunFilter(RunStatus.FAILED),
    "running": RunFilter(RunStatus.RUNNING),
    "of a workflow": RunFilter(workflow_id=WorkflowId(WORKFLOW)),
    "of a workflow, cancelled": RunFilter(RunStatus.CANCELLED, workflow_id=WorkflowId(WORKFLOW)),
}
SIZE = 20
BY_CREATION = (RunSort.CREATED_AT, RunSort.STATUS)


class Recorder:
    """A session that keeps what it was asked to fetch."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    async def fetch(self, statement: str, *args: Any) -> Any:
        self.asked.append((statement, args))
        return await self._conn.fetch(statement, *args)

    async def fetchval(self, statement: str, *args: Any) -> Any:
        self.asked.append((statement, args))
        return await self._conn.fetchval(statement, *args)


async def read_for(
    conn: Connection, wanted: RunFilter, number: int, sort: RunSort, **more: Any
) -> tuple[Listed, Plan]:
    """Read a page of a list; return it and all that its statements did."""
    recorder = Recorder(conn)
    page = Page(number, SIZE)
    listed = await run_lists.list_runs(recorder, wanted, page, sort, **more)  # type: ignore[arg-type]
    plan = Plan({"Node Type": "None", "Actual Loops": 0})
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute(run_lists.SQL["plan_for_values"])
        for statement, args in recorder.asked:
            one = await explain(conn, statement, *args)
            plan.rows += one.rows
            plan.parts |= one.parts
            plan.whole |= one.whole
    return listed, plan


@pytest.fixture
def by_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hours looked for also in days of a few thousand runs."""
    monkeypatch.setattr(run_segments, "_WALK", 50)


@pytest.mark.usefixtures("by_the_hour")
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", RunSort)
async def test_a_page_is_read_by_an_index_near_its_place(
    full: Connection, sort: RunSort, name: str, *, descending: bool
) -> None:
    wanted = FILTERS[name]
    listed, plan = await read_for(full, wanted, 1, sort, descending=descending)
    pages = -(-listed.total // SIZE)
    plans = {"first": plan}
    for where, number in {"middle": pages // 2, "last but one": pages - 1, "last": pages}.items():
        page, plans[where] = await read_for(
            full, wanted, max(number, 1), sort, descending=descending
        )
        if where == "middle" and page.next:
            _, plans["cursor"] = await read_for(
                full, wanted, 1, sort, descending=descending, after=page.next
            )

    for where, each in plans.items():
        assert not each.whole, where
        if sort in BY_CREATION:
            # Some hours of the day or two that it is in, and the totals.
            assert each.rows < A_DAY * 2 / 3, where
            assert len({part for part in each.parts if part.startswith("run_2")}) <= 4, where
        else:
            # Of each day a few, and one day's that may have ended late.
            assert each.rows < 2 * A_DAY, where


async def test_a_list_of_one_day_is_read_in_that_day(full: Connection) -> None:
    noon = await full.fetchval("SELECT date_trunc('day', now(), 'UTC') + interval '12 hours'")
    wanted = RunFilter(
        created_after=noon - timedelta(hours=3.2), created_before=noon + timedelta(hours=3.2)
    )

    for sort in RunSort:
        _, plan = await read_for(full, wanted, 5, sort)
        assert len({part for part in plan.parts if part.startswith("run_2")}) == 1, sort
        assert not plan.whole, sort


@pytest.mark.parametrize("name", FILTERS)
async def test_a_total_is_read_from_totals(full: Connection, name: str) -> None:
    recorder = Recorder(full)
    wanted = FILTERS[name]
    counted = totals.Counted(wanted.status, wanted.workflow_id)
    async with full.transaction(isolation="repeatable_read", readonly=True):
        await full.execute(run_lists.SQL["plan_for_values"])

        known = await totals.pieces(recorder, counted, pieces.window(None, None))  # type: ignore[arg-type]

        plans = [await explain(full, statement, *args) for statement, args in recorder.asked]
    assert sum(piece.count([*RunStatus]) for piece in known) > 0
    assert {part for plan in plans for part in plan.parts} <= {"run_total", "run_total_delta"}
    # A row a day and status.
    assert sum(plan.rows for plan in plans) <= WITH_RUNS * len(RunStatus)
