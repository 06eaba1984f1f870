"""Calls to be cancelled at their agents, worked off by the owner of the run's partition.

Nothing here is fenced, and need not be: a row only tells what to ask an agent, asking twice is the
same as asking once, and no run's state depends on it. At worst two owners ask for a moment, and
the first outcome stays.
"""

from collections.abc import Sequence
from datetime import timedelta

from orchestrator.domain.agent import Cancellation, TaskRef
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store import queries
from orchestrator.store.pool import Conn

SQL = queries.load("cancellations")


@record
class OpenCancellation:
    """A call to be cancelled; without a `task` there is nothing yet to name to the agent."""

    run_id: RunId
    message_id: str
    agent_name: str
    task: TaskRef | None
    attempts: int
    age: timedelta  # since it was to be cancelled


async def due(
    conn: Conn, partitions: Sequence[Partition], limit: int
) -> tuple[OpenCancellation, ...]:
    """Return open rows whose time has come, the longest due first."""
    rows = await conn.fetch(SQL["due"], partitions, limit)
    return tuple(
        OpenCancellation(
            RunId(row["run_id"]),
            row["message_id"],
            row["agent_name"],
            None if row["task_id"] is None else TaskRef(row["task_id"], row["task_context"]),
            row["attempts"],
            row["age"],
        )
        for row in rows
    )


async def settle(conn: Conn, run_id: RunId, message_id: str, outcome: Cancellation) -> None:
    """Close a row with what became of it; a closed one stays as it is."""
    await conn.execute(SQL["settle"], run_id, message_id, outcome)


async def postpone(conn: Conn, run_id: RunId, message_id: str, delay: timedelta) -> None:
    """Ask again after `delay`."""
    await conn.execute(SQL["postpone"], run_id, message_id, delay)


async def learn_task(conn: Conn, run_id: RunId, message_id: str, task: TaskRef) -> None:
    """Note the task of an aborted call, so that it can be cancelled; no row: nothing to do."""
    await conn.execute(SQL["learn_task"], run_id, message_id, task.task_id, task.context_id)
