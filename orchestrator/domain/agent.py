"""A registered agent, what a call to it carries, and how a call can end."""

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

from orchestrator.domain.record import record
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


class Protocol(StrEnum):
    """What an operator may fix where a card is wrong or missing; `AUTO` follows the card."""

    AUTO = "auto"
    V0_2 = "0.2"
    V0_3 = "0.3"
    V1 = "1.0"
    V1_REST = "1.0-rest"  # HTTP+JSON; the others are JSON-RPC


class CallMode(StrEnum):
    """How a call waits for its result; whatever an agent ignores of it, the result is right."""

    AUTO = "auto"  # STREAM where the card says so, else POLL
    STREAM = "stream"
    POLL = "poll"
    WAIT = "wait"  # the agent answers when it is done: for short calls


class InputAs(StrEnum):
    """In which parts a step's input goes to its agent; `AUTO`: as the card's input modes say."""

    AUTO = "auto"
    DATA = "data"
    TEXT = "text"
    BOTH = "both"


class ContextScope(StrEnum):
    """Which calls share an A2A context, the agent's conversation."""

    RUN = "run"
    STEP = "step"
    NONE = "none"  # the agent makes one


@record
class Options:
    """How an agent wants to be talked to, where that is not what its card says.

    `max_concurrency` and `rate_limit` (requests a second) hold for all processes together.
    """

    protocol: Protocol = Protocol.AUTO
    interface_url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    card_path: str | None = None
    call_mode: CallMode = CallMode.AUTO
    push: bool = False
    max_concurrency: int | None = None
    rate_limit: float | None = None


@record
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
    options: Options = Options()


@record
class Call:
    """What one attempt of a step says to its agent; with a `task_id`, the answer to its question.

    `input` and `text` are what it brings, one of them at least. `maybe_sent`: the same message may
    have reached the agent before, so that its task is looked for first.
    """

    run: str  # as users see it: run-<uuid>
    step: str
    attempt: int
    message_id: str
    input: str | None  # JSON text of the step's input_data
    context_id: str | None
    text: str | None = None
    task_id: str | None = None
    input_as: InputAs = InputAs.AUTO
    prompt: str | None = None
    skill: str | None = None
    maybe_sent: bool = False


@record
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


@record
class Asked:
    """The agent's task waits for somebody; `task.asked` names this very question.

    `question` is JSON: what the agent said, as `text` and as its `parts`.
    """

    task: TaskRef
    waiting_for: WaitingFor
    question: Any


@record
class Output:
    """A call's result: the step's `output_data`, as a value and as the same value's JSON text.

    `artifacts` is the JSON text of the task's artifacts as the agent sent them; None without any.
    """

    value: Any
    text: str
    artifacts: str | None = None


class Outcome(StrEnum):
    """What is known of a call that brought no result."""

    TRANSIENT = "transient"  # it definitely did not work, and may another time
    FINAL = "final"  # it definitely did not work, and will not
    UNKNOWN = "unknown"  # the request was sent; whether the work was done nobody knows


@record
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
