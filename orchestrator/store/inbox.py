"""The inbox: the open questions of all agents, which somebody is to answer."""

from datetime import datetime

from asyncpg import Record

from orchestrator.domain.agent import WaitingFor
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import queries
from orchestrator.store.page import Page
from orchestrator.store.pool import Conn

SQL = queries.load("inbox")


@record
class Question:
    """What an agent asks: `number` tells it from the run's other ones, `said` is JSON text."""

    number: int
    waiting_for: WaitingFor
    said: str
    asked_at: datetime
    expires_at: datetime | None  # the step's deadline


@record
class OpenQuestion:
    """A question, and which step of which run waits for its answer."""

    run_id: RunId
    step_id: str
    agent_name: str
    workflow_id: WorkflowId
    workflow_key: str
    workflow_name: str
    question: Question


async def list_open(conn: Conn, page: Page) -> tuple[list[OpenQuestion], int]:
    """Return a page of open questions, the oldest first, and how many there are in all.

    Both of one moment. Not to be called in a transaction.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        total: int = await conn.fetchval(SQL["count"])
        rows = await conn.fetch(SQL["open"], page.offset, page.size)
    return [_open(row) for row in rows], total


def question_of(row: Record) -> Question | None:
    """Read the question in a step's row; None if it waits for nobody."""
    if row["waiting_for"] is None:
        return None
    return Question(
        number=row["asked_seq"],
        waiting_for=WaitingFor(row["waiting_for"]),
        said=row["question"],
        asked_at=row["asked_at"],
        expires_at=row["deadline_at"],
    )


def _open(row: Record) -> OpenQuestion:
    question = question_of(row)
    assert question is not None  # noqa: S101 - the statement wants only such
    return OpenQuestion(
        run_id=RunId(row["run_id"]),
        step_id=row["path"],
        agent_name=row["agent_name"],
        workflow_id=WorkflowId(row["workflow_id"]),
        workflow_key=row["workflow_key"],
        workflow_name=row["workflow_name"],
        question=question,
    )
