"""Loading: runs rebuilt from their rows, for whoever is to go on with them."""

from collections.abc import Sequence
from uuid import UUID

from asyncpg import Record

from orchestrator import json_text
from orchestrator.domain.agent import TaskRef, WaitingFor
from orchestrator.domain.errors import Fenced, NotFound, Refused
from orchestrator.domain.record import record
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Partition, Term
from orchestrator.store import queries
from orchestrator.store.definitions import Definitions
from orchestrator.store.pool import Conn
from orchestrator.store.session import refuses_value

SQL = queries.load("loading")

# What reading a run's rows may raise, whatever is wrong with them.
_WRONG = (ValueError, TypeError, LookupError, OverflowError, RecursionError, NotFound, Refused)


@record
class Corrupt:
    """A run whose rows cannot be used; its owner fails it, and no other run suffers."""

    run_id: RunId
    partition: Partition
    reason: str


@record
class Loaded:
    """Runs in no particular order; ids that have no run are in neither list."""

    runs: tuple[Run, ...]
    corrupt: tuple[Corrupt, ...]


async def load(conn: Conn, definitions: Definitions, ids: Sequence[RunId]) -> Loaded:
    """Rebuild runs of any status; those that cannot be rebuilt are reported with the reason."""
    if not ids:
        return Loaded((), ())
    try:
        rows = await conn.fetch(SQL["load"], list(ids), min(ids), max(ids))
    except Exception as wrong:
        if not _is_unreadable(wrong):
            raise
        return await _load_apart(conn, definitions, ids, wrong)
    runs: list[Run] = []
    corrupt: list[Corrupt] = []
    for row in rows:
        try:
            runs.append(await _run(conn, definitions, row))
        except _WRONG as wrong:
            corrupt.append(_corrupt(row["id"], row["partition"], wrong))
    return Loaded(tuple(runs), tuple(corrupt))


async def _load_apart(
    conn: Conn, definitions: Definitions, ids: Sequence[RunId], wrong: Exception
) -> Loaded:
    """Load halves of what cannot be read at once, until what cannot be read stands alone."""
    if len(ids) == 1:
        partition = await conn.fetchval(SQL["partition"], ids[0])
        return Loaded((), (_corrupt(ids[0], partition, wrong),))
    middle = len(ids) // 2
    one = await load(conn, definitions, ids[:middle])
    other = await load(conn, definitions, ids[middle:])
    return Loaded(one.runs + other.runs, one.corrupt + other.corrupt)


def _is_unreadable(error: Exception) -> bool:
    """Whether PostgreSQL cannot read a row, or asyncpg a value (a time beyond Python's)."""
    return refuses_value(error) or isinstance(error, ValueError | OverflowError)


def _corrupt(run_id: UUID, partition: int, wrong: Exception) -> Corrupt:
    reason = f"the run's rows cannot be used: {wrong}"
    return Corrupt(RunId(run_id), Partition(partition), reason)


async def fail_corrupt(conn: Conn, run_id: RunId, term: Term, reason: str) -> None:
    """Fail a run that cannot be rebuilt, as its partition's owner; raise `Fenced` if it is not.

    Fenced like the journal's statement, and in the database since there is no `Run` to decide on.
    A run that has ended meanwhile is left alone.
    """
    told = reason.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    if not await conn.fetchval(SQL["fail_corrupt"], run_id, told, term.partition, term.epoch):
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
    # fmt: off
    (path, status, attempt, message_no, task_id, context, due_in, deadline_in, given, made,
     waiting_for, waited, asked, answer) = columns
    # fmt: on
    return StepExecution(
        path=StepPath(path),
        status=StepStatus(status),
        attempt=attempt,
        message_no=message_no,
        task=None if task_id is None else TaskRef(task_id, context, asked),
        due_in=due_in,
        deadline_in=deadline_in,
        input=None if given is None else json_text.loads(given),
        output=None if made is None else json_text.loads(made),
        waiting_for=None if waiting_for is None else WaitingFor(waiting_for),
        waited=waited,
        answer=None if answer is None else json_text.loads(answer),
    )
