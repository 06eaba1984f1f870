"""The run state machine.

Rule 1: everything that changes a run's state lives in this file and, event by event, in
        `evolution`; cancel, retry and the answer to a question, which the API decides in the
        database, are the only other writers, and reach a run when it is loaded.
Rule 2: this file performs nothing; it reads no clock and makes no id. Delays come out, jitter
        comes in.
Rule 3: a command delivered twice, or late, decides nothing. `RecoverRun` alone is a fact about
        the owner and is told once, after loading.
Rule 4: a step's start precedes every effect that calls its agent, in one decision or an earlier
        one; a completed step is never started again.
Rule 5: the message number rises with a definite failure, a retry and an answer, by nothing else:
        what may have reached the agent is sent again under the same number, or, where its step
        forbids that, only asked for.
Rule 6: a task that is known is asked for and not sent again, until its agent says that it ended or
        knows it no longer; with the message number it is forgotten.
Rule 7: a step whose task waits for somebody waits too, as rows only: nothing is sent until there
        is an answer, which then goes to that task until the agent is known to have it. A task that
        waits for a login is looked at now and then, since it may go on by itself.
"""

from datetime import timedelta

from orchestrator.domain.agent import Outcome, WaitingFor
from orchestrator.domain.errors import MissingReference, Refused
from orchestrator.domain.evolution import evolve, replay
from orchestrator.domain.messages import (
    NOTHING,
    AttemptFailed,
    BackoffOver,
    CallAgent,
    Command,
    CompleteStep,
    DeadlineReached,
    Decision,
    Effect,
    Event,
    FailAttempt,
    FailRun,
    FindTask,
    FinishRun,
    FollowTask,
    LookAtTask,
    LookDue,
    Park,
    ParkStep,
    RecordTask,
    RecoverRun,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTakenOver,
    SendAnswer,
    StartRun,
    StepCompleted,
    StepFailed,
    StepParked,
    StepStarted,
    StillWaiting,
    TaskRecorded,
    WaitBackoff,
)
from orchestrator.domain.run import (
    Run,
    RunStatus,
    StepExecution,
    StepPath,
    StepStatus,
    completed,
    definition_of,
    external_id,
    step_input,
)
from orchestrator.domain.workflow import OnUnknownOutcome

__all__ = ["decide", "evolve", "replay"]

_NOW = timedelta(0)
_FIRST_LOOK = timedelta(seconds=5)  # later ones after half of the time waited so far …
_RAREST_LOOK = timedelta(minutes=5)  # … and at least so often


def decide(run: Run, command: Command) -> Decision:
    """Choose what happens next; `NOTHING` for a stale or repeated command.

    Raises `Refused` for a step that the run's definition does not have.
    """
    if run.status.ended:
        return NOTHING
    match command:
        case CompleteStep():
            return _complete(run, command)
        case RecordTask():
            return _record_task(run, command)
        case ParkStep():
            return _park(run, command)
        case LookDue(path):
            return _look(run, path)
        case StartRun():
            return _start(run) if run.status is RunStatus.PENDING else NOTHING
        case FailAttempt():
            return _fail_attempt(run, command)
        case BackoffOver():
            return _end_backoff(run, command)
        case DeadlineReached(path):
            step = _running(run, path)
            return NOTHING if step is None else _fail_step(run, (), _timed_out(run, step))
        case RecoverRun():
            return _start(run) if run.status is RunStatus.PENDING else _recover(run)
        case FailRun(reason):
            return _fail_run(run, (), reason)


# -- decisions ------------------------------------------------------------------------------------


def _start(run: Run) -> Decision:
    return _go_on(run, (RunStarted(),), run.definition.start_step)


def _complete(run: Run, command: CompleteStep) -> Decision:
    if _in_attempt(run, command.path, command.attempt) is None:
        return NOTHING
    done = StepCompleted(command.path, command.attempt, command.output)
    return _go_on(run, (done,), definition_of(run, command.path).next_step, done)


def _record_task(run: Run, command: RecordTask) -> Decision:
    step = _in_attempt(run, command.path, command.attempt)
    if step is None:
        return NOTHING
    if step.task is not None and step.answer is None and step.waiting_for is None:
        return NOTHING
    path, attempt, task = command.path, command.attempt, command.task
    return Decision((TaskRecorded(path, attempt, task),), (FollowTask(path, attempt, task),))


def _park(run: Run, command: ParkStep) -> Decision:
    path, attempt, asked = command.path, command.attempt, command.asked
    step = _in_attempt(run, path, attempt)
    if step is None:
        return NOTHING
    if (step.waiting_for, step.task) == (asked.waiting_for, asked.task):
        return NOTHING
    look_in = _FIRST_LOOK if asked.waiting_for is WaitingFor.AUTH else None
    parked = StepParked(path, attempt, asked.task, asked.waiting_for, asked.question, look_in)
    return Decision((parked,), (Park(path, look_in),))


def _look(run: Run, path: StepPath) -> Decision:
    step = _running(run, path)
    if step is None or step.waiting_for is None or step.task is None:
        return NOTHING
    if step.due_in is None or step.due_in > _NOW:
        return NOTHING
    look_in = min(max((step.waited or _NOW) / 2, _FIRST_LOOK), _RAREST_LOOK)
    waits = StillWaiting(path, step.attempt, look_in)
    return Decision((waits,), (LookAtTask(path, step.attempt, step.task),))


def _fail_attempt(run: Run, command: FailAttempt) -> Decision:
    path, attempt, failure, policy = command.path, command.attempt, command.failure, command.policy
    step = _in_attempt(run, path, attempt)
    if step is None:
        return NOTHING
    unknown, answering = failure.outcome is Outcome.UNKNOWN, step.answer is not None
    if (
        failure.outcome is Outcome.FINAL
        or (unknown and (step.task is None or answering) and _never_resent(run, path))
        or not policy.allows(attempt)
    ):
        left_open = unknown or answering
        return _fail_step(run, (), StepFailed(path, attempt, failure.cause, cancel_task=left_open))
    delay = policy.delay(attempt, command.jitter, failure.retry_after)
    message_no = step.message_no if unknown else step.message_no + 1
    failed = AttemptFailed(path, attempt, failure.cause, delay, message_no)
    return Decision((failed,), (WaitBackoff(path, attempt, delay),))


def _end_backoff(run: Run, command: BackoffOver) -> Decision:
    step = _running(run, command.path)
    if step is None or step.attempt != command.attempt or step.due_in is None:
        return NOTHING
    if step.waiting_for is not None:
        return NOTHING
    return _next_attempt(step)


def _recover(run: Run) -> Decision:
    """Go on with every step that is at work; the rows say how far each one is."""
    events: tuple[Event, ...] = (RunTakenOver(),)
    effects: tuple[Effect, ...] = ()
    active = [step for step in run.steps.values() if step.status is StepStatus.RUNNING]
    if not active:  # a drained owner completed a step and left the next one to us
        return _go_on(run, events, run.definition.start_step)
    for step in active:
        taken_up = _take_up(run, step)
        if isinstance(taken_up, StepFailed):
            return _fail_step(run, (RunTakenOver(),), taken_up)
        events += taken_up.events
        effects += taken_up.effects
    return Decision(events, effects)


def _take_up(run: Run, step: StepExecution) -> Decision | StepFailed:
    _check_known(run, step.path)
    if step.deadline_in is not None and step.deadline_in <= _NOW:
        return _timed_out(run, step)
    if step.waiting_for is not None:
        return Decision((), (Park(step.path, step.due_in),))
    if step.due_in is not None:
        if step.due_in <= _NOW:
            return _next_attempt(step)
        return Decision((), (WaitBackoff(step.path, step.attempt, step.due_in),))
    if step.task is not None and step.answer is None:
        return Decision((), (FollowTask(step.path, step.attempt, step.task),))
    # It is unknown whether the call left, and what became of it.
    if _never_resent(run, step.path):
        return Decision((), (FindTask(step.path, step.attempt, step.message_no, step.task),))
    return Decision((), (_call(step, step.attempt),))


def _go_on(
    run: Run, before: tuple[Event, ...], first: str | None, done: StepCompleted | None = None
) -> Decision:
    """Start the first step from `first` on that is not completed; without one, end the run.

    `done` is the step that `before` completes, whose output the run does not have yet.
    """
    step_id = first
    while step_id is not None and completed(run, step_id) is not None:
        step_id = run.definition.steps[step_id].next_step
    if step_id is None:
        return Decision((*before, RunCompleted()), (FinishRun(),))
    path = StepPath(step_id)
    previous = run.steps.get(path)
    try:
        value = step_input(run, path, {} if done is None else {done.path: done.output})
    except MissingReference as missing:
        attempt = 0 if previous is None else previous.attempt
        return _fail_step(run, before, StepFailed(path, attempt, missing.message))
    message_no = 1 if previous is None else previous.message_no + 1
    started = StepStarted(path, 1, message_no, value, definition_of(run, path).timeout)
    return Decision((*before, started), (CallAgent(path, 1, message_no),))


def _next_attempt(step: StepExecution) -> Decision:
    attempt = step.attempt + 1
    started = StepStarted(step.path, attempt, step.message_no, step.input)
    if step.task is not None and step.answer is None:
        return Decision((started,), (FollowTask(step.path, attempt, step.task),))
    return Decision((started,), (_call(step, attempt),))


def _call(step: StepExecution, attempt: int) -> Effect:
    """Send what is to be sent: the step's message, or the answer to its task's question."""
    if step.task is None:
        return CallAgent(step.path, attempt, step.message_no)
    return SendAnswer(step.path, attempt, step.message_no, step.task)


def _fail_step(run: Run, before: tuple[Event, ...], failed: StepFailed) -> Decision:
    step_id = definition_of(run, failed.path).id
    return _fail_run(run, (*before, failed), f"Step '{step_id}' failed: {failed.cause}")


def _fail_run(run: Run, before: tuple[Event, ...], error: str) -> Decision:
    """End the run as FAILED, and with it every step that `before` leaves at work."""
    over = {event.path for event in before if isinstance(event, StepCompleted | StepFailed)}
    others = (
        StepFailed(step.path, step.attempt, error, step.at_work)
        for step in run.steps.values()
        if step.status is StepStatus.RUNNING and step.path not in over
    )
    return Decision((*before, *others, RunFailed(error)), (FinishRun(),))


def _check_known(run: Run, path: StepPath) -> None:
    if path not in run.definition.steps:
        raise Refused(f"{external_id(run.id)} has no step '{path}'")


def _running(run: Run, path: StepPath) -> StepExecution | None:
    """Return the step if it is RUNNING (in a call or between two attempts)."""
    _check_known(run, path)
    step = run.steps.get(path)
    if step is None or step.status is not StepStatus.RUNNING or run.status is not RunStatus.RUNNING:
        return None
    return step


def _in_attempt(run: Run, path: StepPath, attempt: int) -> StepExecution | None:
    """Return the step if it is in this very attempt, which has not failed yet, or waits in it."""
    step = _running(run, path)
    if step is None or step.attempt != attempt:
        return None
    return step if step.in_call or step.waiting_for is not None else None


def _never_resent(run: Run, path: StepPath) -> bool:
    return definition_of(run, path).on_unknown_outcome is OnUnknownOutcome.FAIL


def _timed_out(run: Run, step: StepExecution) -> StepFailed:
    timeout_ms = definition_of(run, step.path).timeout // timedelta(milliseconds=1)
    cause = f"timed out after {timeout_ms} ms"
    return StepFailed(step.path, step.attempt, cause, cancel_task=step.at_work)
