"""A long history in a fresh database, within a minute or two: by COPY into the daily parts."""

import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg import Connection

STEPS = ("read", "count", "report")
# How the runs spread over the workflows: from one that has half of them to one that is hardly used.
SHARES = (500, 200, 100, 80, 50, 30, 20, 15, 4, 1)
_STATUSES = ("COMPLETED", "FAILED", "CANCELLED")
_WEIGHTS = (95, 3, 2)
_WAITING = 200  # unfinished runs, on the last day; they wait, so that no engine moves them
_CHUNK = 2000  # runs whose lines are made at once
_DAY_S = 86_400
_LATE = 0.01  # of the runs end after hours, the others within seconds
_TABLES = {
    "run": "id partition workflow_id workflow_version workflow_key workflow_name status seq epoch"
    " token input triggered_by error_message wake_at created_at updated_at completed_at"
    " cancelled_at cancelled_by",
    "step_execution": "run_id path position agent_name status attempt message_no input output"
    " error_message due_at deadline_at started_at completed_at",
    "run_event": "run_id seq epoch at events",
}
_WORKFLOW = """INSERT INTO workflow
    (id, lifelong_id, version, key, name, data, status, created_at, updated_at)
  VALUES ($1, $1, 1, $2, $3, $4, 'active', now(), now())"""
# The parts begin with the history, not with the installation.
_BEGIN = """DROP TABLE run_past, step_execution_past, run_event_past;
  UPDATE deployment SET first_day = '{first}';
  SELECT make_run_parts('past', 'MINVALUE', quote_literal(day_floor(first_run_day())));"""
_NULL = "\\N"


@dataclass(frozen=True, slots=True)
class Workflow:
    id: UUID
    key: str


@dataclass(frozen=True, slots=True)
class History:
    """What was made: the workflows from the busiest to the rarest, and some of the runs."""

    workflows: Sequence[Workflow]
    runs: Sequence[str]
    first: datetime
    days: int


async def fill(dsn: str, runs: int, days: int, seed: int = 1) -> History:
    """Fill a migrated database that has no runs; the last day is yesterday, in its own time."""
    chance = random.Random(seed)  # noqa: S311 - the same history each time
    conn = await asyncpg.connect(dsn)
    try:
        today: date = await conn.fetchval("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date")
        first = today - timedelta(days=days)
        await conn.execute(_BEGIN.format(first=first))
        workflows = [await _workflow(conn, number) for number in range(len(SHARES))]
        some: list[str] = []
        for number in range(days):
            day = first + timedelta(days=number)
            await conn.fetchval("SELECT ensure_run_day($1)", day)
            here = runs * (number + 1) // days - runs * number // days
            maker = _Maker(chance, workflows, day, here, _WAITING if number == days - 1 else 0)
            some += await _copy(conn, maker, day)
        await conn.fetchval("SELECT recount_run_totals()")
        await conn.execute("VACUUM ANALYZE")
    finally:
        await conn.close()
    chance.shuffle(some)
    return History(workflows, some, datetime.combine(first, datetime.min.time(), UTC), days)


async def _workflow(conn: Connection, number: int) -> Workflow:
    made = UUID(int=(1 << 80) + number)
    steps: dict[str, Any] = {
        step: {"id": step, "agent_name": "nobody", "next_step": after, "input_mapping": {}}
        for step, after in zip(STEPS, (*STEPS[1:], None), strict=True)
    }
    name = f"history {number}"
    key = f"wf-history-{number}-001"
    data = json.dumps({"start_step": STEPS[0], "steps": steps})
    await conn.execute(_WORKFLOW, made, key, name, data)
    return Workflow(made, key)


async def _copy(conn: Connection, maker: "_Maker", day: date) -> list[str]:
    """Copy a day's runs into its parts; return some of their ids."""
    some = []
    for lines in maker.chunks():
        for table, columns in _TABLES.items():
            await conn.copy_to_table(
                f"{table}_{day:%Y%m%d}", source=_bytes(lines[table]), columns=columns.split()
            )
        some.append(lines["run"][0].partition("\t")[0])
    return some


async def _bytes(lines: Sequence[str]) -> AsyncIterator[bytes]:
    yield "".join(lines).encode()


class _Maker:
    """Makes the lines of one day's runs, in the order of their creation."""

    def __init__(
        self,
        chance: random.Random,
        workflows: Sequence[Workflow],
        day: date,
        runs: int,
        waiting: int,
    ) -> None:
        self._chance = chance
        self._workflows = workflows
        self._midnight = datetime.combine(day, datetime.min.time(), UTC)
        self._runs = runs
        self._waiting = waiting

    def chunks(self) -> Iterator[dict[str, list[str]]]:
        chance = self._chance
        every = max(1, self._runs // self._waiting) if self._waiting else 0
        offsets = sorted(chance.randrange(_DAY_S * 1000) for _ in range(self._runs))
        for start in range(0, self._runs, _CHUNK):
            lines: dict[str, list[str]] = {table: [] for table in _TABLES}
            for number in range(start, min(start + _CHUNK, self._runs)):
                waits = bool(every) and number % every == every - 1
                self._run(lines, offsets[number], waits=waits)
            yield lines

    def _run(self, lines: dict[str, list[str]], offset_ms: int, *, waits: bool) -> None:
        chance = self._chance
        created = self._midnight + timedelta(milliseconds=offset_ms)
        ms = int(created.timestamp()) * 1000 + created.microsecond // 1000
        low = (2 << 62) | chance.getrandbits(62)
        run = str(UUID(int=(ms << 80) | (7 << 76) | (chance.getrandbits(12) << 64) | low))
        (flow,) = chance.choices(range(len(SHARES)), SHARES)
        status = "RUNNING" if waits else chance.choices(_STATUSES, _WEIGHTS)[0]
        longest = 3 * 3600 if chance.random() < _LATE else 2
        end = created + timedelta(seconds=0.02 + chance.random() * longest)
        done = len(STEPS) if status == "COMPLETED" else 1
        self._steps(lines, run, created, end, status, done)
        seq = self._events(lines, run, created, end, status, done)
        completed = end if status in ("COMPLETED", "FAILED") else None
        cancelled = end if status == "CANCELLED" else None
        wake = created + timedelta(days=3650) if waits else None
        error = None if status in ("COMPLETED", "RUNNING") else f"{status.lower()} as seeded"
        workflow = self._workflows[flow]
        # fmt: off
        lines["run"].append(_line(
            run, low % (1 << 32) % 16, workflow.id, 1, workflow.key, f"history {flow}", status, seq,
            1, low >> 1, '{"path": "sales.csv", "rows": 1000}', "system", error, wake, created,
            created if waits else end, completed, cancelled, "system" if cancelled else None,
        ))
        # fmt: on

    def _steps(
        self,
        lines: dict[str, list[str]],
        run: str,
        at: datetime,
        end: datetime,
        status: str,
        done: int,
    ) -> None:
        each = (end - at) / len(STEPS)
        for position, step in enumerate(STEPS):
            completed = position < done
            if not completed and position > done:
                break
            said = "COMPLETED" if completed else "RUNNING" if status == "RUNNING" else "FAILED"
            waits = said == "RUNNING"
            # fmt: off
            lines["step_execution"].append(_line(
                run, step, position, "nobody", said, 1, 1, '{"rows": 1000}',
                '{"rows": 1000, "sum": 5}' if completed else None,
                "failed as seeded" if said == "FAILED" else None,
                at + timedelta(days=3650) if waits else None, None,
                at + each * position, None if waits else at + each * (position + 1),
            ))
            # fmt: on

    def _events(
        self,
        lines: dict[str, list[str]],
        run: str,
        at: datetime,
        end: datetime,
        status: str,
        done: int,
    ) -> int:
        """Add a row a decision; return the last event's number."""
        started = [f'{{"kind":"StepStarted","step_id":"{step}","attempt":1}}' for step in STEPS]
        decisions = [['{"kind":"RunCreated"}'], ['{"kind":"RunStarted"}', started[0]]]
        for number in range(done):
            over = f'{{"kind":"StepCompleted","step_id":"{STEPS[number]}","attempt":1}}'
            last = number + 1 == len(STEPS)
            decisions.append([over, '{"kind":"RunCompleted"}' if last else started[number + 1]])
        if status in ("FAILED", "CANCELLED"):
            decisions.append([f'{{"kind":"Run{status.capitalize()}"}}'])
        seq = 0
        for number, events in enumerate(decisions):
            seq += len(events)
            moment = at + (end - at) * number / len(decisions)
            lines["run_event"].append(_line(run, seq, 1, moment, f"[{','.join(events)}]"))
        return seq


def _line(*values: object) -> str:
    """Write a line of COPY; no value has a character that means something to it."""
    return "\t".join([_NULL if value is None else str(value) for value in values]) + "\n"
