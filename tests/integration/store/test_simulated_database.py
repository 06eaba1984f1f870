"""The simulation's database does what PostgreSQL does: the same operations, the same outcomes.

Random operations, sound and unsound ones, go through the store's own functions to both; after each
one, what was answered and what the rows say is compared. Times are compared as past, or as whole
hours ahead: waits are none or hours long here.
"""

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg import Connection

from orchestrator.domain.agent import Cancellation, TaskRef, WaitingFor
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.messages import (
    AttemptFailed,
    Event,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTakenOver,
    StepCompleted,
    StepFailed,
    StepParked,
    StepStarted,
    StillWaiting,
    TaskRecorded,
)
from orchestrator.domain.run import Run, RunId, message_id
from orchestrator.domain.term import Partition, Term
from orchestrator.store import cancellations, loading, lock, runs, scan, terms
from orchestrator.store.definitions import Definitions
from orchestrator.store.journal import SQL
from orchestrator.store.journal_rows import Columns
from tests.integration.store.stage import DATA, HOUR, A, B, C, Stage, entry_of, until
from tests.simulation.database import Database
from tests.simulation.rows import RunRow
from tests.simulation.tables import Session

OPERATIONS = 250
PARTITIONS = (Partition(0), Partition(1))
EVERYTHING = 10_000
Do = Callable[[Connection], Awaitable[Any]]


class Direct:
    """A connection to the simulated database that answers at once."""

    def __init__(self, database: Database, number: int) -> None:
        self.database = database
        self.session = database.sessions[number] = Session(number)

    async def fetch(self, statement: str, *args: Any) -> list[Any]:
        return self.database.execute(statement, args, self.session)

    async def fetchrow(self, statement: str, *args: Any) -> Any:
        return next(iter(await self.fetch(statement, *args)), None)

    async def fetchval(self, statement: str, *args: Any) -> Any:
        row = await self.fetchrow(statement, *args)
        return None if row is None else next(iter(row.values()))

    async def execute(self, statement: str, *args: Any) -> None:
        await self.fetch(statement, *args)

    async def close(self) -> None:
        self.database.sessions.pop(self.session.number, None)


class Both:
    """PostgreSQL and the simulated database, driven alike."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.chance = random.Random(seed)
        self.now = 0.0
        self.database = Database(lambda: self.now, random.Random(seed))
        self.direct = Direct(self.database, 1)
        self.definitions = Definitions(HOUR)
        self.database.definitions[stage.workflow_id, 1] = {
            "key": stage.key,
            "name": stage.key,
            "data": json.dumps(DATA),
        }
        self.ids: list[RunId] = []
        self.owners = [terms.Owner(uuid4(), "one"), terms.Owner(uuid4(), "two")]
        self.held: dict[UUID, tuple[Connection, Direct]] = {}
        self.epochs: dict[Partition, int] = {}
        self.sessions = 1

    async def agree(self, do: Do) -> Any:
        """Do it on both; return what both answered."""
        self.now += 0.01
        answers = [
            await _outcome(do(conn)) for conn in (self.stage.conn, cast("Connection", self.direct))
        ]
        assert answers[0] == answers[1]
        return answers[0]

    async def begin(self) -> None:
        """Claim every partition, once alone there (the stage has on its own), once on both."""
        direct, (owner, _) = cast("Connection", self.direct), self.owners
        for partition in PARTITIONS:
            await terms.claim(direct, partition, owner)
            await self._claim(partition, owner)

    # -- operations -------------------------------------------------------------------------------

    async def create(self) -> None:
        partition, stage = self.chance.choice(PARTITIONS), self.stage
        run_id = RunId(await stage.conn.fetchval("SELECT new_run_id()"))
        await stage.run(partition, run_id)
        row = RunRow(run_id, partition, stage.workflow_id, 1, stage.key, stage.key, "{}", self.now)
        self.database.add_run(row)
        self.ids.append(run_id)

    def _some(self) -> RunId:
        return self.chance.choice(self.ids[-6:])

    async def claim(self) -> None:
        await self._claim(self.chance.choice(PARTITIONS), self.chance.choice(self.owners))

    async def _claim(self, partition: Partition, owner: terms.Owner) -> None:
        term: Term = await self.agree(lambda conn: terms.claim(conn, partition, owner))
        self.epochs[partition] = term.epoch

    def _term(self, partition: Partition) -> Term:
        """Return the term of a partition, sometimes an old one or one to come."""
        return Term(partition, self.epochs[partition] + self.chance.choice((0, 0, 0, 0, -1, 1)))

    async def release(self) -> None:
        term = self._term(self.chance.choice(PARTITIONS))
        await self.agree(lambda conn: terms.release(conn, term))

    async def confirm(self) -> None:
        held = [self._term(partition) for partition in PARTITIONS]
        await self.agree(lambda conn: terms.confirm(conn, held))

    async def vacant(self) -> None:
        owner = self.chance.choice(self.owners)
        await self.agree(lambda conn: terms.vacant(conn, PARTITIONS, owner))

    async def live_or_die(self) -> None:
        """Let an owner's session begin or end."""
        owner = self.chance.choice(self.owners)
        if sessions := self.held.pop(owner.id, None):
            pid = sessions[0].get_server_pid()
            for session in sessions:
                await session.close()
            await until(lambda: self._has_ended(pid))
            return
        self.sessions += 1
        real, direct = await self.stage.session(), Direct(self.database, self.sessions)
        self.held[owner.id] = real, direct
        for session in (real, direct):
            assert await session.fetchval(lock.SQL["take_owner"], owner.id)

    async def _has_ended(self, pid: int) -> bool:
        backends = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
        return not await self.stage.conn.fetchval(backends, pid)

    async def cancel(self) -> None:
        run_id, reason = self._some(), self.chance.choice((None, "", "  why ", "a\0b"))
        await self.agree(lambda conn: runs.cancel(conn, run_id, reason))

    async def retry(self) -> None:
        run_id = self._some()
        await self.agree(lambda conn: runs.retry(conn, run_id))

    async def give_input(self) -> None:
        run_id, path = self._some(), self.chance.choice((A, B, "none"))
        answer = self.chance.choice(('{"text":"so"}', '{"input_data":{"n":1}}'))
        question = self.chance.choice((None, None, 3, 4, 5))
        await self.agree(lambda conn: runs.give_input(conn, run_id, path, answer, question))

    async def fail_corrupt(self) -> None:
        run_id, term = self._some(), self._term(self.chance.choice(PARTITIONS))
        await self.agree(lambda conn: loading.fail_corrupt(conn, run_id, term, "broken"))

    async def states(self) -> None:
        ids = [self._some(), RunId(uuid4())]
        await self.agree(lambda conn: runs.state(conn, ids))

    async def scan(self) -> None:
        active = {self._some(): self.chance.randrange(12) for _ in range(self.chance.randrange(4))}
        active |= {RunId(uuid4()): 1} if self.chance.random() < 0.2 else {}
        limit = self.chance.choice((0, 1, 3, EVERYTHING))
        owned = self.chance.choice((PARTITIONS, PARTITIONS[:1], ()))
        known = set(self.ids)

        async def look(conn: Connection) -> object:
            seen = await scan.scan(conn, owned, active, limit)
            ready = [run_id for run_id in seen.ready if run_id in known]
            return set(seen.moved), ready, _ahead(seen.next_due), seen.pending_left

        await self.agree(look)

    async def cancellations(self) -> None:
        async def due(conn: Connection) -> object:
            return sorted(
                (row.message_id, row.agent_name, row.task, row.attempts)
                for row in await cancellations.due(conn, PARTITIONS, EVERYTHING)
            )

        open_now = await self.agree(due)
        number = self.chance.choice((1, 2, 3))
        run_id, path = self._some(), self.chance.choice((A, B))
        message = message_id(run_id, path, number)
        if open_now and self.chance.random() < 0.7:
            message = self.chance.choice(open_now)[0]
            run_id = RunId(UUID(message[4:40]))
        outcome = self.chance.choice((Cancellation.CONFIRMED, Cancellation.TASK_UNKNOWN))
        delay, task = self.chance.choice((timedelta(0), HOUR)), TaskRef("learned", "there")
        change: Do = self.chance.choice(
            (
                lambda conn: cancellations.settle(conn, run_id, message, outcome),
                lambda conn: cancellations.postpone(conn, run_id, message, delay),
                lambda conn: cancellations.learn_task(conn, run_id, message, task),
            )
        )
        await self.agree(change)

    async def write(self) -> None:
        """Write a batch of decisions, most of them sound, and ask what became of the others."""
        batch: dict[RunId, tuple[Entry, Term, int]] = {}
        for _ in range(self.chance.choice((1, 1, 2, 3))):
            run = await self._loaded(self._some())
            entry = self._decision(run)
            if entry is not None and run.id not in batch:
                batch[run.id] = entry, self._term(run.partition), self.chance.getrandbits(62)
        if not batch:
            return
        columns = Columns()
        for entry, term, token in batch.values():
            columns.add(entry, term, token)

        async def write(conn: Connection) -> object:
            return {row[0] for row in await conn.fetch(SQL["write"], *columns.arguments())}

        await self.agree(write)
        ids = list(batch)
        partitions = [entry.run.partition for entry, _, _ in batch.values()]

        async def explain(conn: Connection) -> object:
            rows = await conn.fetch(SQL["explain"], ids, partitions, min(ids), max(ids))
            return sorted(
                (row["run_id"], row["seq"], row["token"] == batch[row["run_id"]][2], row["epoch"])
                for row in rows
            )

        await self.agree(explain)

    async def _loaded(self, run_id: RunId) -> Run:
        async def load(conn: Connection) -> object:
            loaded = await loading.load(conn, self.definitions, [run_id])
            return loaded.runs[0]

        run: Run = await self.agree(lambda conn: _rounding(load(conn)))
        return run

    def _decision(self, run: Run) -> Entry | None:
        """Make up a decision: the machine would make few of them, and the statement takes all."""
        chance = self.chance
        seq = run.seq + chance.choice((0, 0, 0, 0, 0, -1, 1))
        events = tuple(self._event() for _ in range(chance.choice((1, 1, 2, 3))))
        try:
            return entry_of(replace(run, seq=seq), *events)
        except ValueError:  # of a step that has not started
            return None

    def _event(self) -> Event:
        chance = self.chance
        path, attempt, number = chance.choice((A, B, C)), chance.randrange(3), chance.randrange(4)
        wait = chance.choice((timedelta(0), HOUR, 2 * HOUR))
        timeout = chance.choice((None, timedelta(0), 3 * HOUR))
        asks = chance.choice(tuple(WaitingFor))
        task = TaskRef(f"t{number}", None, chance.choice((None, "q1", "q2")))
        cause = chance.choice(("it broke", "it broke", "it broke", "a\0b"))
        return chance.choice(
            (
                RunStarted(),
                RunTakenOver(),
                StepStarted(path, attempt, number, {"n": number}, timeout),
                StepStarted(path, attempt, number, {"n": number}, timeout),
                TaskRecorded(path, attempt, TaskRef(f"t{number}", chance.choice((None, "c")))),
                AttemptFailed(path, attempt, cause, wait, number),
                AttemptFailed(path, attempt, cause, wait, number),
                StepCompleted(path, attempt, {"out": number}),
                StepParked(path, attempt, task, asks, {"text": "?"}, chance.choice((None, wait))),
                StepParked(path, attempt, task, asks, {"text": "?"}, chance.choice((None, wait))),
                StillWaiting(path, attempt, wait),
                StepFailed(path, attempt, cause, chance.random() < 0.5),
                RunFailed(cause) if chance.random() < 0.2 else RunStarted(),
                RunCompleted() if chance.random() < 0.2 else RunStarted(),
            )
        )

    # -- the rows ---------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Hold the rows of the newest runs against each other."""
        now = await self.stage.conn.fetchval("SELECT clock_timestamp()")
        for run_id in self.ids[-6:]:
            real = await self.stage.row("run", run_id)
            steps = await self.stage.rows("step_execution", run_id)
            events = await self.stage.rows("run_event", run_id)
            asked = await self.stage.rows("task_cancellation", run_id)
            row = self.database.runs[run_id]
            for name in ("status", "seq", "epoch", "error_message", "cancelled_by"):
                assert real[name] == getattr(row, name), name
            for name in ("completed_at", "cancelled_at"):
                assert (real[name] is None) == (getattr(row, name) is None), name
            wake_in = real["wake_at"] and real["wake_at"] - now
            assert _ahead(wake_in) == _ahead(self._in(row.wake_at))
            assert [_step(step, now) for step in steps] == [
                self._step(step) for step in row.steps.values()
            ]
            assert [(e["seq"], e["epoch"], json.loads(e["events"])) for e in events] == [
                (e.seq, e.epoch, e.events) for e in row.history
            ]
            mine = [r for r in self.database.cancellations.values() if r.run_id == run_id]
            assert sorted(map(_asked, asked)) == sorted(
                _asked({name: getattr(row, name) for name in _ASKED}) for row in mine
            )

    def _in(self, moment: float | None) -> timedelta | None:
        return None if moment is None else timedelta(seconds=moment - self.now)

    def _step(self, row: Any) -> tuple[Any, ...]:
        return (
            *(getattr(row, name) for name in _STEP),
            _ahead(self._in(row.due_at)),
            _ahead(self._in(row.deadline_at)),
            row.started_at is None,
            row.completed_at is None,
        )


_STEP = (
    *("waiting_for", "question", "asked_seq", "task_asked", "answer"),
    *("path", "position", "agent_name", "status", "attempt", "message_no", "input", "output"),
    *("error_message", "task_id", "task_context"),
)
_ASKED = (
    *("message_id", "path", "partition", "agent_name", "task_id", "task_context"),
    *("attempts", "outcome"),
)


def _step(row: dict[str, Any], now: Any) -> tuple[Any, ...]:
    return (
        *(row[name] for name in _STEP),
        _ahead(row["due_at"] and row["due_at"] - now),
        _ahead(row["deadline_at"] and row["deadline_at"] - now),
        row["started_at"] is None,
        row["completed_at"] is None,
    )


def _asked(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(row[name]) for name in _ASKED)


def _ahead(wait: timedelta | None) -> int | None:
    """Round a wait to hours; what is over is 0."""
    return None if wait is None else max(0, round(wait / HOUR))


def _rounded(run: Run) -> Run:
    steps = {
        path: replace(
            step,
            due_in=None if step.due_in is None else HOUR * (_ahead(step.due_in) or 0),
            waited=None if step.waited is None else timedelta(0),
            deadline_in=None
            if step.deadline_in is None
            else HOUR * (_ahead(step.deadline_in) or 0),
        )
        for path, step in run.steps.items()
    }
    return replace(run, steps=steps)


async def _rounding(load: Awaitable[object]) -> object:
    return _rounded(cast("Run", await load))


async def _outcome(answer: Awaitable[Any]) -> Any:
    """Return what was answered, without times and chance; of an error, its kind and its text."""
    try:
        found = await answer
    except OrchestratorError as refused:
        return type(refused), str(refused)
    except asyncpg.PostgresError as refused:
        return refused.sqlstate
    if isinstance(found, runs.RunRow):
        ends = [found.completed_at is None, found.cancelled_at is None]
        return found.id, found.partition, found.status, found.seq, found.error_message, ends
    return found


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_operations_have_the_same_outcome_as_on_postgresql(
    stage: Stage, seed: int
) -> None:
    both = Both(stage, seed)
    await both.begin()
    weights = {
        both.create: 4,
        both.write: 40,
        both.cancel: 6,
        both.retry: 6,
        both.give_input: 8,
        both.scan: 10,
        both.cancellations: 8,
        both.claim: 2,
        both.release: 2,
        both.confirm: 2,
        both.vacant: 3,
        both.live_or_die: 3,
        both.fail_corrupt: 2,
        both.states: 2,
    }
    await both.create()

    for _ in range(OPERATIONS):
        (operation,) = both.chance.choices(list(weights), list(weights.values()))
        await operation()

        await both.compare()
