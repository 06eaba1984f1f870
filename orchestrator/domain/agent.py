"""A registered agent, what a call to it carries, and how a call can end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from orchestrator.domain.retry import RetryPolicy

AgentId = NewType("AgentId", UUID)


class AgentStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


class AuthType(StrEnum):
    NONE = "none"
    BEARER = "bearer"
    APIKEY = "apikey"


@dataclass(frozen=True, slots=True)
class Agent:
    """An external service that executes steps; `auth_config` is open here, sealed at rest."""

    id: AgentId
    name: str
    url: str
    description: str | None
    auth_type: AuthType
    auth_config: Mapping[str, Any] = field(repr=False)  # secrets never reach a log line
    timeout: timedelta
    retry: RetryPolicy
    status: AgentStatus
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """What one attempt of a step says to its agent; with a `task_id`, the answer to its question.

    `input` is JSON text: of the step's input_data, or of the answer's; there it may be None.
    """

    run: str  # as users see it: run-<uuid>
    step: str
    attempt: int
    message_id: str
    input: str | None
    context_id: str
    text: str | None = None  # of an answer
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task that the agent works on for us; enough to go on with it after a restart.

    `asked` names the last question of it that we know, so that the same question, seen again, is
    not taken for another one.
    """

    task_id: str
    context_id: str | None
    asked: str | None = None


class WaitingFor(StrEnum):
    """What an agent's question wants."""

    INPUT = "input"  # an answer
    AUTH = "auth"  # a login somewhere; the task may go on by itself afterwards


@dataclass(frozen=True, slots=True)
class Asked:
    """The agent's task waits for somebody; `task.asked` names this very question.

    `question` is JSON: what the agent said, as `text` and as its `parts`.
    """

    task: TaskRef
    waiting_for: WaitingFor
    question: Any


@dataclass(frozen=True, slots=True)
class Output:
    """A call's result: the step's `output_data`, as a value and as the same value's JSON text."""

    value: Any
    text: str


class Outcome(StrEnum):
    """What is known of a call that brought no result."""

    TRANSIENT = "transient"  # it definitely did not work, and may another time
    FINAL = "final"  # it definitely did not work, and will not
    UNKNOWN = "unknown"  # the request was sent; whether the work was done nobody knows


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call brought no result: a sentence for `error_message`, and what may follow."""

    cause: str
    outcome: Outcome
    retry_after: timedelta | None = None


class Cancellation(StrEnum):
    """What became of asking an agent to cancel a task."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    UNSUPPORTED = "unsupported"
    UNREACHABLE = "unreachable"
    ALREADY_FINISHED = "already_finished"
    TASK_UNKNOWN = "task_unknown"  # the call left no task id by which to cancel
