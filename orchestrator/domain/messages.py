"""What the state machine is told (commands), decides (events) and wants done (effects)."""

from datetime import timedelta
from typing import Any

from orchestrator.domain.agent import Asked, Failure, TaskRef, WaitingFor
from orchestrator.domain.record import record
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import StepPath

# -- commands: requests to a run; stale or repeated ones decide nothing ---------------------------


@record
class StartRun:
    """Begin a PENDING run, or go on with one that was put back to PENDING by a retry."""


@record
class RecoverRun:
    """Take up a RUNNING run from its rows: whoever ran it is gone."""


@record
class RecordTask:
    """The agent answered with a task: make its id durable before anything else."""

    path: StepPath
    attempt: int
    task: TaskRef


@record
class ParkStep:
    """The agent's task waits for somebody: so does the step."""

    path: StepPath
    attempt: int
    asked: Asked


@record
class LookDue:
    """It is time to look whether a task that waits for a login went on by itself."""

    path: StepPath


@record
class CompleteStep:
    path: StepPath
    attempt: int
    output: Any


@record
class FailAttempt:
    """An attempt failed; `policy` is the agent's of this moment, `jitter` lies in [0, 1)."""

    path: StepPath
    attempt: int
    failure: Failure
    policy: RetryPolicy
    jitter: float


@record
class BackoffOver:
    """The wait before the next attempt is over, or before the answer that somebody gave is sent."""

    path: StepPath
    attempt: int  # the one that failed; 0 before the first one of an answer


@record
class DeadlineReached:
    """The step's timeout ran out."""

    path: StepPath


@record
class FailRun:
    """The run cannot go on for a reason of its own (its rows or a value cannot be used)."""

    reason: str


Command = (
    StartRun
    | RecoverRun
    | RecordTask
    | ParkStep
    | LookDue
    | CompleteStep
    | FailAttempt
    | BackoffOver
    | DeadlineReached
    | FailRun
)

# -- events: facts, journaled in this order; each raises `seq` by one -----------------------------


@record
class RunStarted:
    """An owner claimed the PENDING run: it is RUNNING."""


@record
class RunTakenOver:
    """A new owner went on with a RUNNING run."""


@record
class StepStarted:
    """An attempt of a step begins: its call may leave once this is durable.

    `timeout` is set on the first attempt of a generation: the whole step's, from now.
    """

    path: StepPath
    attempt: int
    message_no: int
    input: Any
    timeout: timedelta | None = None


@record
class TaskRecorded:
    path: StepPath
    attempt: int
    task: TaskRef


@record
class StepParked:
    """The step waits for somebody; its task is looked at after `look_in`, None: never."""

    path: StepPath
    attempt: int
    task: TaskRef
    waiting_for: WaitingFor
    question: Any
    look_in: timedelta | None


@record
class StillWaiting:
    """The task is looked at now, and should it still wait, again after `look_in`."""

    path: StepPath
    attempt: int
    look_in: timedelta


@record
class AttemptFailed:
    """An attempt failed and another follows after `delay`, with the messageId's n given here."""

    path: StepPath
    attempt: int
    cause: str
    delay: timedelta
    message_no: int


@record
class StepCompleted:
    path: StepPath
    attempt: int
    output: Any


@record
class StepFailed:
    """The step is over without a result; `cancel_task`: its agent may still be at it."""

    path: StepPath
    attempt: int
    cause: str
    cancel_task: bool = False


@record
class RunCompleted:
    pass


@record
class RunFailed:
    error: str


Event = (
    RunStarted
    | RunTakenOver
    | StepStarted
    | TaskRecorded
    | StepParked
    | StillWaiting
    | AttemptFailed
    | StepCompleted
    | StepFailed
    | RunCompleted
    | RunFailed
)

# -- effects: to be performed once the events are durable -----------------------------------------


@record
class CallAgent:
    """Send the step's message; the same `message_no` again where the outcome was unknown."""

    path: StepPath
    attempt: int
    message_no: int


@record
class FollowTask:
    """Ask for the task until it has ended."""

    path: StepPath
    attempt: int
    task: TaskRef


@record
class FindTask:
    """Ask what became of a message that may have left and is not to be sent again.

    `task` is the one that the message answered; None: the message was the step's own.
    """

    path: StepPath
    attempt: int
    message_no: int
    task: TaskRef | None


@record
class SendAnswer:
    """Send what somebody answered to the task that asked; again under the same number as above."""

    path: StepPath
    attempt: int
    message_no: int
    task: TaskRef


@record
class LookAtTask:
    """Ask once whether a task that waits went on by itself."""

    path: StepPath
    attempt: int
    task: TaskRef


@record
class Park:
    """Wait, as rows only, for an answer or until `look_in` is over."""

    path: StepPath
    look_in: timedelta | None


@record
class WaitBackoff:
    """Come back with `BackoffOver` after `delay`."""

    path: StepPath
    attempt: int
    delay: timedelta


@record
class FinishRun:
    """The run has ended: forget it."""


Effect = (
    CallAgent | FindTask | FollowTask | SendAnswer | LookAtTask | Park | WaitBackoff | FinishRun
)


@record
class Decision:
    """Events to journal, then effects to perform, in that order; both empty: nothing to do."""

    events: tuple[Event, ...] = ()
    effects: tuple[Effect, ...] = ()


NOTHING = Decision()
