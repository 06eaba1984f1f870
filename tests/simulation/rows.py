"""The rows of the simulated database."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = frozenset(("COMPLETED", "FAILED", "CANCELLED"))


def moment(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def optional(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


@dataclass(slots=True)
class StepRow:
    path: str
    position: int
    agent_name: str
    status: str
    attempt: int
    message_no: int
    input: str | None = None
    output: str | None = None
    error_message: str | None = None
    task_id: str | None = None
    task_context: str | None = None
    due_at: float | None = None
    deadline_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    waiting_for: str | None = None
    question: str | None = None
    asked_at: float | None = None
    asked_seq: int | None = None
    task_asked: str | None = None
    answer: str | None = None

    def ask_no_more(self) -> None:
        """Forget the question."""
        self.waiting_for = self.question = self.asked_at = self.asked_seq = None


@dataclass(slots=True)
class EventRow:
    """One decision in the history."""

    seq: int
    epoch: int
    at: float
    events: list[dict[str, Any]]


@dataclass(slots=True)
class CancellationRow:
    run_id: UUID
    message_id: str
    path: str
    partition: int
    agent_name: str
    task_id: str | None
    task_context: str | None
    asked_at: float
    next_at: float
    attempts: int = 0
    outcome: str | None = None


@dataclass(slots=True)
class TermRow:
    epoch: int = 0
    owner: UUID | None = None
    owner_name: str | None = None
    released: bool = True


@dataclass(slots=True)
class RunRow:
    id: UUID
    partition: int
    workflow_id: UUID
    workflow_version: int
    workflow_key: str
    workflow_name: str
    input: str
    created_at: float
    token: int = 0
    status: str = "PENDING"
    seq: int = 1
    epoch: int = 0
    triggered_by: str = "system"
    error_message: str | None = None
    wake_at: float | None = None
    updated_at: float = 0.0
    completed_at: float | None = None
    cancelled_at: float | None = None
    cancelled_by: str | None = None
    steps: dict[str, StepRow] = field(default_factory=dict)
    history: list[EventRow] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return the row as a statement returns it."""
        return {
            "id": self.id,
            "partition": self.partition,
            "workflow_id": self.workflow_id,
            "workflow_version": self.workflow_version,
            "workflow_key": self.workflow_key,
            "workflow_name": self.workflow_name,
            "status": self.status,
            "seq": self.seq,
            "epoch": self.epoch,
            "token": self.token,
            "input": self.input,
            "triggered_by": self.triggered_by,
            "error_message": self.error_message,
            "created_at": moment(self.created_at),
            "updated_at": moment(self.updated_at),
            "completed_at": optional(self.completed_at),
            "cancelled_at": optional(self.cancelled_at),
            "cancelled_by": self.cancelled_by,
        }
