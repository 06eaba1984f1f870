"""What events do to a run: the other half of the state machine, which `machine` decides."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from orchestrator.domain.messages import (
    AttemptFailed,
    Event,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTakenOver,
    StepCompleted,
    StepFailed,
    StepParked,
    StepStarted,
    StillWaiting,
    TaskRecorded,
)
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepStatus

_StepEvent: TypeAlias = (
    StepStarted
    | TaskRecorded
    | StepParked
    | StillWaiting
    | AttemptFailed
    | StepCompleted
    | StepFailed
)


def evolve(run: Run, event: Event) -> Run:
    """Apply one event."""
    return replay(run, (event,))


def replay(run: Run, events: Iterable[Event]) -> Run:
    """Apply a decision's events; raise `ValueError` for one of a step that never started."""
    status, error, seq = run.status, run.error, run.seq
    steps = dict(run.steps)
    for event in events:
        seq += 1
        match event:
            case RunStarted():
                status = RunStatus.RUNNING
            case RunTakenOver():
                pass
            case RunCompleted():
                status = RunStatus.COMPLETED
            case RunFailed():
                status, error = RunStatus.FAILED, event.error
            case _:
                steps[event.path] = _evolve_step(steps.get(event.path), event)
    return Run(run.id, run.partition, run.definition, run.input, status, seq, steps, error)


def _evolve_step(step: StepExecution | None, event: _StepEvent) -> StepExecution:
    path, attempt = event.path, event.attempt
    running = StepStatus.RUNNING
    if isinstance(event, StepStarted):
        left = step.deadline_in if event.timeout is None and step is not None else event.timeout
        no, value = event.message_no, event.input
        task = None if step is None else step.task_under(no)
        answer = None if step is None else step.answer
        return StepExecution(path, running, attempt, no, task, None, left, value, answer=answer)
    if step is None:
        if not isinstance(event, StepFailed):
            raise ValueError(f"step '{path}' has not started")
        step = StepExecution(path, StepStatus.PENDING)  # its input could not be made
    no, task, left, value = step.message_no, step.task, step.deadline_in, step.input
    match event:
        case StepCompleted():
            done, output = StepStatus.COMPLETED, event.output
            return StepExecution(path, done, attempt, no, task, None, None, value, output)
        case TaskRecorded():
            return StepExecution(path, running, attempt, no, event.task, None, left, value)
        case AttemptFailed():
            no, delay, answer = event.message_no, event.delay, step.answer
            task = step.task_under(no)
            return StepExecution(
                path, running, attempt, no, task, delay, left, value, answer=answer
            )
        case StepParked():
            return StepExecution(
                path,
                running,
                attempt,
                no,
                event.task,
                event.look_in,
                left,
                value,
                waiting_for=event.waiting_for,
                waited=timedelta(0),
            )
        case StillWaiting():
            return replace(step, due_in=event.look_in)
        case StepFailed():
            return StepExecution(path, StepStatus.FAILED, attempt, no, task, None, None, value)
