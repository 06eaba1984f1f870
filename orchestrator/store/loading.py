"""Loading: runs rebuilt from their rows, for whoever is to go on with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg import Record

from orchestrator import json_text
from orchestrator.domain.agent import TaskRef
from orchestrator.domain.errors import Fenced, NotFound, Refused
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Partition, Term
from orchestrator.store import queries
from orchestrator.store.definitions import Definitions
from orchestrator.store.pool import Conn

SQL = queries.load("loading")


@dataclass(frozen=True, slots=True)
class Corrupt:
    """A run whose rows cannot be used; its owner fails it, and no other run suffers."""

    run_id: RunId
    partition: Partition
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Runs in no particular order; ids that have no run are in neither list."""

    runs: tuple[Run, ...]
    corrupt: tuple[Corrupt, ...]


async def load(conn: Conn, definitions: Definitions, ids: Sequence[RunId]) -> Loaded:
    """Rebuild runs of any status; those that cannot be rebuilt are reported with the reason."""
    if not ids:
        return Loaded((), ())
    runs: list[Run] = []
    corrupt: list[Corrupt] = []
    for row in await conn.fetch(SQL["load"], list(ids), min(ids), max(ids)):
        try:
            runs.append(await _run(conn, definitions, row))
        except (ValueError, NotFound, Refused) as wrong:
            reason = f"the run's rows cannot be used: {wrong}"
            corrupt.append(Corrupt(RunId(row["id"]), Partition(row["partition"]), reason))
    return Loaded(tuple(runs), tuple(corrupt))


async def fail_corrupt(conn: Conn, run_id: RunId, term: Term, reason: str) -> None:
    """Fail a run that cannot be rebuilt, as its partition's owner; raise `Fenced` if it is not.

    Fenced like the journal's statement, and in the database since there is no `Run` to decide on.
    A run that has ended meanwhile is left alone.
    """
    if not await conn.fetchval(SQL["fail_corrupt"], run_id, reason, term.partition, term.epoch):
        raise Fenced(f"term {term.epoch} of partition {term.partition} is over")


async def _run(conn: Conn, definitions: Definitions, row: Record) -> Run:
    definition = await definitions.get(conn, row["workflow_id"], row["workflow_version"])
    steps = {}
    for columns in row["steps"]:
        step = _step(columns)
        if step.path not in definition.steps:
            raise ValueError(f"its workflow has no step '{step.path}'")
        steps[step.path] = step
    return Run(
        id=RunId(row["id"]),
        partition=Partition(row["partition"]),
        definition=definition,
        input=json_text.loads(row["input"]),
        status=RunStatus(row["status"]),
        seq=row["seq"],
        steps=steps,
        error=row["error_message"],
    )


def _step(columns: Record) -> StepExecution:
    path, status, attempt, message_no, task_id, context, due_in, deadline_in, given, made = columns
    return StepExecution(
        path=StepPath(path),
        status=StepStatus(status),
        attempt=attempt,
        message_no=message_no,
        task=None if task_id is None else TaskRef(task_id, context),
        due_in=due_in,
        deadline_in=deadline_in,
        input=None if given is None else json_text.loads(given),
        output=None if made is None else json_text.loads(made),
    )
