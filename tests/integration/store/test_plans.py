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

from orchestrator.store import parts, queries
from orchestrator.store import pool as pools
from tests.integration.conftest import Server, in_thread

pytestmark = pytest.mark.integration

DAYS, WITH_RUNS, A_DAY = 60, 6, 3000
LOWEST, HIGHEST = UUID(int=0), UUID(int=(1 << 128) - 1)
OWNED = list(range(16))
WORKFLOW = UUID(int=0)  # one run in ten, some of them of each status
# Runs that have ended, spread over a day and ten workflows.
ENDED = """INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key,
    workflow_name, status, seq, input, created_at, updated_at, completed_at, cancelled_at)
  SELECT id, partition_of(id, 16), lpad(to_hex(n % 10), 32, '0')::uuid, 1, 'wf', 'wf', status, 5,
    '{}', run_id_time(id), at, CASE WHEN status <> 'CANCELLED' THEN at END,
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
    await conn.execute("VACUUM ANALYZE run")
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

LISTS = queries.load("runs")
SORTS = ("created_at", "updated_at", "completed_at", "status")
FILTERS: dict[str, tuple[str | None, UUID | None]] = {
    "all": (None, None),
    "failed": ("FAILED", None),
    "running": ("RUNNING", None),
    "of a workflow": (None, WORKFLOW),
}


async def explain_list(conn: Connection, name: str, *args: Any) -> Plan:
    async with conn.transaction():
        await conn.execute(LISTS["plan_for_values"])
        return await explain(conn, LISTS[name], *args)


@pytest.mark.parametrize("wanted", FILTERS)
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", SORTS)
async def test_a_page_of_a_list_is_read_by_an_index(
    full: Connection, sort: str, order: str, wanted: str
) -> None:
    plan = await explain_list(full, f"by_{sort}_{order}", *FILTERS[wanted], LOWEST, HIGHEST, 0, 20)

    assert not plan.whole
    assert plan.rows < A_DAY  # a page of twenty, looked for in each of the days


async def test_a_list_of_one_day_is_read_in_that_day(full: Connection) -> None:
    run, *_ = await at_work(full)
    first = UUID(int=run.int >> 96 << 96)
    last = UUID(int=first.int | ((1 << 96) - 1))

    for sort in SORTS:
        plan = await explain_list(full, f"by_{sort}_desc", None, None, first, last, 0, 20)
        assert len(plan.parts) == 1, sort


async def test_a_count_with_a_filter_is_read_from_an_index(full: Connection) -> None:
    for wanted in FILTERS.values():
        async with full.transaction():
            await full.execute(LISTS["plan_for_values"])
            text = await full.fetchval(
                "EXPLAIN (ANALYZE, FORMAT JSON) " + LISTS["count"], *wanted, LOWEST, HIGHEST
            )
        assert not Plan(json.loads(text)[0]["Plan"]).whole
