"""What tests of the store need: a workflow, an owner of all partitions, runs and decisions."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from asyncpg import Connection

from orchestrator import json_text
from orchestrator.domain import machine
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.messages import (
    Decision,
    Event,
    RunStarted,
    StepCompleted,
    StepParked,
    StepStarted,
)
from orchestrator.domain.run import Run, RunId, StepPath
from orchestrator.domain.term import Partition, Term
from orchestrator.domain.workflow import WorkflowDefinition
from orchestrator.store import loading, terms
from orchestrator.store import pool as pools
from orchestrator.store.definitions import Definitions
from orchestrator.store.journal import SQL
from orchestrator.store.journal_rows import Columns

PARTITIONS = 8
A, B, C = StepPath("a"), StepPath("b"), StepPath("c")
HOUR = timedelta(hours=1)
DATA = {
    "start_step": "a",
    "steps": {
        "a": {"id": "a", "agent_name": "A", "next_step": "b", "input_mapping": {}},
        "b": {"id": "b", "agent_name": "B", "next_step": "c", "input_mapping": {}},
        "c": {"id": "c", "agent_name": "C", "next_step": None, "input_mapping": {}},
    },
}
WORKFLOW = """INSERT INTO workflow
    (id, lifelong_id, version, key, name, data, status, created_at, updated_at)
  VALUES ($1, $1, 1, $2, $2, $3, 'active', now(), now())"""
# A new run in a partition of the test's choice; `moment` puts it into another day.
RUN = """WITH made AS (
    INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
      status, seq, input, created_at, updated_at)
    SELECT id, $2, $3, 1, $4, $4, 'PENDING', 1, $5, run_id_time(id), run_id_time(id)
    FROM (SELECT coalesce($1, new_run_id()) AS id) AS new RETURNING id)
  INSERT INTO run_event (run_id, seq, epoch, events)
  SELECT id, 1, 0, '[{"kind":"RunCreated"}]' FROM made RETURNING run_id"""
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
STARTED = (RunStarted(), StepStarted(A, 1, 1, {}, HOUR))
WENT_ON = (StepCompleted(A, 1, {"of": "a"}), StepStarted(B, 1, 1, {}, HOUR))


class Stage:
    """Sessions on one database, a workflow of three steps, and terms on all partitions."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.definitions = Definitions(HOUR)
        self.workflow_id = uuid4()
        self.key = f"wf-{self.workflow_id}"
        self.terms: dict[Partition, Term] = {}
        self.conn: Connection
        self.definition: WorkflowDefinition
        self._opened: list[Connection] = []

    async def open(self) -> "Stage":
        self.conn = await self.session()
        await self.conn.execute(WORKFLOW, self.workflow_id, self.key, json_text.dumps(DATA))
        self.definition = await self.definitions.get(self.conn, self.workflow_id, 1)
        for number in range(PARTITIONS):
            await self.claim(number)
        return self

    async def close(self) -> None:
        for conn in self._opened:
            conn.terminate()

    async def session(self) -> Connection:
        self._opened.append(await self.connect())
        return self._opened[-1]

    async def connect(self) -> Connection:
        return await pools.connect(self.dsn, application_name="test journal")

    async def claim(self, number: int) -> Term:
        term = await terms.claim(self.conn, Partition(number), terms.Owner(uuid4(), "test"))
        self.terms[term.partition] = term
        return term

    async def run(self, partition: int = 0, run_id: UUID | None = None, given: str = "{}") -> Run:
        """Create a PENDING run and load it."""
        made = await self.conn.fetchval(RUN, run_id, partition, self.workflow_id, self.key, given)
        return await self.load(made)

    async def started(self, partition: int = 0) -> Run:
        """Create a run whose first step is in its first attempt."""
        return await self.write(await self.run(partition), *STARTED)

    async def load(self, run_id: UUID) -> Run:
        loaded = await loading.load(self.conn, self.definitions, [RunId(run_id)])
        assert not loaded.corrupt, loaded.corrupt
        return loaded.runs[0]

    async def write(self, run: Run, *events: Event) -> Run:
        """Write a decision that takes effect."""
        entry = entry_of(run, *events)
        rows = await self.send(self.conn, entry)
        assert rows == [run.id], "the write was refused"
        return entry.after

    async def send(self, conn: Connection, *entries: Entry, sql: str | None = None) -> list[UUID]:
        """Send decisions in one statement; return the runs that took effect."""
        held = [self.terms[entry.run.partition] for entry in entries]
        return await send(conn, list(zip(entries, held, strict=True)), sql)

    async def row(self, table: str, run_id: UUID) -> dict[str, Any]:
        """Return the only row of a run in a table."""
        rows = await self.rows(table, run_id)
        assert len(rows) == 1
        return rows[0]

    async def rows(self, table: str, run_id: UUID) -> list[dict[str, Any]]:
        queries = {
            "run": "SELECT * FROM run WHERE id = $1",
            "step_execution": "SELECT * FROM step_execution WHERE run_id = $1 ORDER BY position",
            "run_event": "SELECT * FROM run_event WHERE run_id = $1 ORDER BY seq",
            "task_cancellation": "SELECT * FROM task_cancellation WHERE run_id = $1",
        }
        return [dict(row) for row in await self.conn.fetch(queries[table], run_id)]

    async def until_locked(self, sessions: int = 1) -> None:
        """Return when so many sessions wait for a lock."""
        await until_locked(self.conn, sessions)


def entry_of(run: Run, *events: Event) -> Entry:
    """Make a decision of these events."""
    return Entry(run, Decision(events, ()), machine.replay(run, events), tuple(map(_text, events)))


def _text(event: Event) -> str | None:
    match event:
        case StepStarted(input=value) | StepCompleted(output=value):
            return json_text.dumps(value)
        case StepParked(question=question):
            return json_text.dumps(question)
        case _:
            return None


async def send(
    conn: Connection, entries: Sequence[tuple[Entry, Term]], sql: str | None = None
) -> list[UUID]:

    columns = Columns()
    for entry, term in entries:
        columns.add(entry, term, random.getrandbits(63))
    rows = await conn.fetch(sql or SQL["write"], *columns.arguments())
    return [row["id"] for row in rows]


async def until_locked(conn: Connection, sessions: int = 1) -> None:
    """Return when so many sessions wait for a lock, seen from one that does not."""

    async def locked() -> bool:
        return int(await conn.fetchval(LOCKED)) >= sessions

    await until(locked)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Return when the condition holds; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it is the database that is asked
            await asyncio.sleep(0.005)


def at_seq(run: Run, seq: int) -> Run:
    """Return the run as an owner sees it that knows another `seq`."""
    return replace(run, seq=seq)
