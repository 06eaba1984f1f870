"""What the state machine is asked, named: (run's status, step's state, command)."""

from orchestrator.domain.messages import (
    Command,
    FailAttempt,
    FailRun,
    ParkStep,
    RecoverRun,
    StartRun,
)
from orchestrator.domain.run import Run, StepExecution, StepStatus

Pair = tuple[str, str, str]  # run's status, step's state, command
NO_REASON = FailRun("probed")


def pair(run: Run, command: Command) -> Pair:
    """Name what the machine is asked."""
    kind = type(command).__name__
    if isinstance(command, FailAttempt):
        kind = f"{kind} {command.failure.outcome.value}"
    if isinstance(command, ParkStep):
        kind = f"{kind} {command.asked.waiting_for.value}"
    match command:
        case StartRun() | RecoverRun() | FailRun():
            at_work = [s for s in run.steps.values() if s.status is StepStatus.RUNNING]
            state = step_state(at_work[0]) if at_work else "no step at work"
        case _:
            state = step_state(run.steps.get(command.path))
    return run.status.value, state, kind


def step_state(step: StepExecution | None) -> str:
    """Name what a step is at, as far as the machine tells it apart."""
    if step is None:
        return "not started"
    if step.status is not StepStatus.RUNNING:
        return step.status.value.lower()
    if step.waiting_for is not None:
        return f"waiting for {step.waiting_for.value}"
    if step.answer is not None:
        return "answering" if step.due_in is None else "about to answer"
    if step.due_in is not None:
        return "backing off" if step.task is None else "backing off from a task"
    return "in a call" if step.task is None else "in a task"
