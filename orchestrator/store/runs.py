"""Runs, as the API shows and changes them."""

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Record

from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId, RunStatus, external_id
from orchestrator.domain.term import Partition
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import queries
from orchestrator.store.pool import Conn

SQL = queries.load("runs")


@record
class RunRow:
    """A run; `input` is JSON text, `workflow_id` the lifelong id, `workflow_key` the human one."""

    id: RunId
    partition: Partition
    workflow_id: WorkflowId
    workflow_version: int
    workflow_key: str
    workflow_name: str
    status: RunStatus
    seq: int
    input: str
    triggered_by: str
    error_message: str | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    cancelled_at: datetime | None
    cancelled_by: str | None


async def get(conn: Conn, run_id: RunId) -> RunRow:
    """Return a run; raise `NotFound`."""
    row = await conn.fetchrow(SQL["get"], run_id)
    if row is None:
        raise missing(run_id)
    return run_row(row)


async def get_with_owner(conn: Conn, run_id: RunId) -> tuple[RunRow, str | None]:
    """Return a run, and the name of the process that owns its partition; raise `NotFound`."""
    row = await conn.fetchrow(SQL["get_with_owner"], run_id)
    if row is None:
        raise missing(run_id)
    return run_row(row), row["owner_name"]


async def cancel(conn: Conn, run_id: RunId, reason: str | None) -> RunRow:
    """Cancel a run that has not ended; raise `NotFound`, or `Refused` when it has.

    From its return on no step of the run starts: whoever owns it is refused at its next write.
    """
    row = await conn.fetchrow(SQL["cancel"], run_id, reason)
    if row is None:
        raise await _refused(conn, run_id, "cancelled (not in PENDING or RUNNING status)")
    return run_row(row)


async def retry(conn: Conn, run_id: RunId) -> RunRow:
    """Put a failed or cancelled run back to PENDING; raise `NotFound` or `Refused`.

    Completed steps stay so. The others begin anew: attempts, deadline, message number.
    """
    row = await conn.fetchrow(SQL["retry"], run_id)
    if row is None:
        raise await _refused(conn, run_id, "retried (not in FAILED or CANCELLED status)")
    return run_row(row)


async def give_input(
    conn: Conn, run_id: RunId, step_id: str, answer: str, question: int | None = None
) -> RunRow:
    """Answer (JSON text) the open question of a step; with `question`, only the one of that number.

    Of several answers at the same time one is taken. Raises `NotFound` for no such run or step, and
    `Refused` when the step does not wait, or not for an answer to that question.
    """
    row = await conn.fetchrow(SQL["give_input"], run_id, step_id, answer, question)
    if row is not None:
        return run_row(row)
    known: bool | None = await conn.fetchval(SQL["step_defined"], run_id, step_id)
    if known is None:
        raise missing(run_id)
    if not known:
        raise NotFound(f"Step with id '{step_id}' not found in run '{external_id(run_id)}'")
    which = "input" if question is None else f"an answer to question {question}"
    raise Refused(f"Step '{step_id}' of run '{external_id(run_id)}' does not wait for {which}")


async def state(conn: Conn, ids: Sequence[RunId]) -> dict[RunId, tuple[RunStatus, int]]:
    """Return status and seq of those of the runs that exist."""
    if not ids:
        return {}
    rows = await conn.fetch(SQL["state"], list(ids), min(ids), max(ids))
    return {RunId(row["id"]): (RunStatus(row["status"]), row["seq"]) for row in rows}


def run_row(row: Record) -> RunRow:
    """Read a row of the table."""
    return RunRow(
        id=RunId(row["id"]),
        partition=Partition(row["partition"]),
        workflow_id=WorkflowId(row["workflow_id"]),
        workflow_version=row["workflow_version"],
        workflow_key=row["workflow_key"],
        workflow_name=row["workflow_name"],
        status=RunStatus(row["status"]),
        seq=row["seq"],
        input=row["input"],
        triggered_by=row["triggered_by"],
        error_message=row["error_message"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        completed_at=row["completed_at"],
        cancelled_at=row["cancelled_at"],
        cancelled_by=row["cancelled_by"],
    )


def missing(run_id: RunId) -> NotFound:
    """Say that there is no such run."""
    return NotFound(f"Run with id '{external_id(run_id)}' not found")


async def _refused(conn: Conn, run_id: RunId, what: str) -> Refused:
    """Say why nothing was done, in a statement of its own; raise `NotFound` for no run at all."""
    row = await get(conn, run_id)
    return Refused(f"Run cannot be {what}: '{external_id(run_id)}' is {row.status}")
