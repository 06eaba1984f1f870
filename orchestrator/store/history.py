"""What a run went through: its steps, and its events in order."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from asyncpg import Record

from orchestrator.domain.agent import Cancellation
from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId, RunStatus, StepStatus, step_execution_id
from orchestrator.domain.workflow import StepDefinition
from orchestrator.store import queries
from orchestrator.store.definitions import Definitions
from orchestrator.store.inbox import Question, question_of
from orchestrator.store.page import Page
from orchestrator.store.pool import Conn
from orchestrator.store.runs import missing

SQL = queries.load("history")

_NEVER = datetime.max.replace(tzinfo=UTC)


@record
class StepRow:
    """A step of a run, also one that has not started; the user's values are JSON text.

    `cancel` is what became of cancelling its task at the agent; None: nothing was to be cancelled.
    """

    id: str
    run_id: RunId
    step_id: str
    position: int
    agent_name: str
    status: StepStatus
    attempt: int = 0
    input: str | None = None
    output: str | None = None
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    question: Question | None = None
    cancel: Cancellation | None = None
    artifacts: str | None = None


@record
class HistoryRow:
    """An event: `event` is its JSON text, `kind` included; `epoch` 0 is the API's."""

    seq: int
    at: datetime
    epoch: int
    kind: str
    event: str


async def steps(conn: Conn, definitions: Definitions, run_id: RunId) -> list[StepRow]:
    """Return every step of the run's workflow, in order of start, then of position.

    What has not started is PENDING, and SKIPPED once the run has ended. Raises `NotFound`.
    """
    rows = await conn.fetch(SQL["steps"], run_id)
    if not rows:
        raise missing(run_id)
    run = rows[0]
    not_reached = StepStatus.SKIPPED if RunStatus(run["run_status"]).ended else StepStatus.PENDING
    started = {row["path"]: row for row in rows if row["path"] is not None}
    defined = await _defined(conn, definitions, run["workflow_id"], run["workflow_version"])
    found = [_started(run_id, row, not_reached) for row in started.values()]
    found += [_not_started(run_id, s, not_reached) for s in defined if s.id not in started]
    return sorted(found, key=lambda step: (step.started_at or _NEVER, step.position))


async def history(conn: Conn, run_id: RunId, page: Page) -> tuple[list[HistoryRow], int]:
    """Return a page of a run's events in order, and how many there are; raise `NotFound`."""
    total: int | None = await conn.fetchval(SQL["count_events"], run_id)
    if total is None:
        raise missing(run_id)
    rows = await conn.fetch(SQL["events"], run_id, page.offset, page.size)
    return [HistoryRow(*row) for row in rows], int(total)


async def _defined(
    conn: Conn, definitions: Definitions, workflow_id: UUID, version: int
) -> Iterable[StepDefinition]:
    """Return the workflow's steps; none if they cannot be read: what started is still shown."""
    try:
        definition = await definitions.get(conn, workflow_id, version)
    except (NotFound, Refused, ValueError):
        return ()
    return definition.steps.values()


def _started(run_id: RunId, row: Record, not_reached: StepStatus) -> StepRow:
    status = StepStatus(row["status"])
    return StepRow(
        id=step_execution_id(run_id, row["path"]),
        run_id=run_id,
        step_id=row["path"],
        position=row["position"],
        agent_name=row["agent_name"],
        status=not_reached if status is StepStatus.PENDING else status,
        attempt=row["attempt"],
        input=row["input"],
        output=row["output"],
        error_message=row["error_message"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        question=question_of(row),
        cancel=None if row["cancel"] is None else Cancellation(row["cancel"]),
        artifacts=row["artifacts"],
    )


def _not_started(run_id: RunId, step: StepDefinition, status: StepStatus) -> StepRow:
    public_id = step_execution_id(run_id, step.id)
    return StepRow(public_id, run_id, step.id, step.position, step.agent_name, status)
