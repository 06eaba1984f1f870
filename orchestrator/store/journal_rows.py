"""The journal's batch as columns: what the statement `write` takes, one list a column."""

import functools
from datetime import timedelta
from typing import Any, TypeAlias

from orchestrator import json_text
from orchestrator.domain.journal_entry import Entry
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
from orchestrator.domain.run import Run, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Term

# Until somebody answers: the statement takes the step's deadline where that is earlier.
_WHENEVER = timedelta(days=36_500)
_MILLISECOND = timedelta(milliseconds=1)
_ENTRY_BYTES = 500  # what a decision takes besides its texts, roughly


class Columns:
    """Collects decisions; each run at most once. `arguments` are those of the statement."""

    __slots__ = ("_decisions", "_held", "_steps")

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], None] = {}
        self._decisions: list[tuple[Any, ...]] = []
        self._steps: list[tuple[Any, ...]] = []

    def add(self, entry: Entry, term: Term, token: int) -> None:
        run, after = entry.run, entry.after
        self._held[run.partition, term.epoch] = None
        # fmt: off
        self._decisions.append((
            run.id, run.partition, term.epoch, run.seq, after.seq, token, after.status, after.error,
            wake_in(after), events_text(entry),
        ))
        # fmt: on
        for path, said in _said_of_steps(entry).items():
            artifacts = entry.artifacts.get(path)
            self._steps.append((*_step_row(run, after.steps[path], said), artifacts))

    def arguments(self) -> list[Any]:
        """Return the arguments of `write`; there is at least one decision."""
        partitions = [partition for partition, _ in self._held]
        epochs = [epoch for _, epoch in self._held]
        decisions = [_column(each) for each in zip(*self._decisions, strict=True)]
        steps = [_column(each) for each in zip(*self._steps, strict=True)] or _NO_STEPS
        run_ids = decisions[0]
        return [partitions, epochs, min(run_ids), max(run_ids), *decisions, *steps]


def _column(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Send nothing for a column of NULLs: `unnest` fills up what is shorter than the others.

    Most columns of most batches are such, and asyncpg looks at each value four times.
    """
    if values[0] is None and values.count(None) == len(values):
        return ()
    return values


_STEP_COLUMNS = 20
_NO_STEPS: list[tuple[Any, ...]] = [()] * _STEP_COLUMNS

# What events say of a step besides the state it ends in: input, output, error, timeout, whether
# its call is to be cancelled, and a question.
_Said: TypeAlias = tuple[
    str | None, str | None, str | None, timedelta | None, bool | None, str | None
]


def _said_of_steps(entry: Entry) -> dict[StepPath, _Said]:
    """Collect what a decision's events say, one row a step."""
    rows: dict[StepPath, _Said] = {}
    said: _Said
    for event, text in zip(entry.decision.events, entry.texts, strict=True):
        match event:
            case StepStarted():
                said = (text, None, None, event.timeout, None, None)
            case StepCompleted():
                said = (None, text, None, None, None, None)
            case TaskRecorded() | StillWaiting():
                said = (None, None, None, None, None, None)
            case StepParked():
                said = (None, None, None, None, None, text)
            case AttemptFailed():
                # Shown until the next one begins.
                said = (None, None, event.cause, None, None, None)
            case StepFailed():
                said = (None, None, event.cause, None, event.cancel_task or None, None)
            case RunStarted() | RunTakenOver() | RunCompleted() | RunFailed():
                continue
        if (before := rows.get(event.path)) is not None:
            given, made, _, timeout, cancel, _ = before
            said = (
                said[0] or given,
                said[1] or made,
                said[2],
                said[3] or timeout,
                said[4] or cancel,
                said[5],
            )
        rows[event.path] = said
    return rows


def _step_row(run: Run, step: StepExecution, said: _Said) -> tuple[Any, ...]:
    definition, task = run.definition.steps[step.path], step.task
    given, made, error, timeout, cancel, question = said
    # fmt: off
    return (
        run.id, step.path, definition.position, definition.agent_name, step.status, step.attempt,
        step.message_no, given, made, error,
        None if task is None else task.task_id, None if task is None else task.context_id,
        step.due_in, timeout, cancel, step.waiting_for, question,
        None if task is None else task.asked, None if step.answer is None else True,
    )
    # fmt: on


def size(entry: Entry) -> int:
    """Return roughly how many bytes the entry adds to a batch."""
    total = _ENTRY_BYTES
    for text in (*entry.texts, *entry.artifacts.values()):
        if text is not None:
            total += len(text)
    return total


def wake_in(run: Run) -> timedelta | None:
    """Return when a run that only waits is to be looked at again; None while it does something."""
    earliest: timedelta | None = None
    for step in run.steps.values():
        if step.status is not StepStatus.RUNNING:
            continue
        due_in = step.due_in
        if due_in is None:
            if step.waiting_for is None:
                return None
            due_in = _WHENEVER
        if earliest is None or due_in < earliest:
            earliest = due_in
    return earliest


def events_text(entry: Entry) -> str:
    """Render a decision's events for the history: never what goes to or comes from an agent."""
    return f"[{','.join([_described(event) for event in entry.decision.events])}]"


def _described(event: Event) -> str:
    kind = type(event).__name__
    more: dict[str, Any] = {}
    match event:
        case RunStarted() | RunTakenOver() | RunCompleted():
            return json_text.dumps({"kind": kind})
        case RunFailed(cause):
            return json_text.dumps({"kind": kind, "cause": cause})
        case StepStarted() | StepCompleted():
            return _plainly(kind, event.path, event.attempt)
        case StepFailed(cause=cause):
            more = {"cause": cause}
        case TaskRecorded(task=task):
            more = {"task_id": task.task_id}
        case StepParked(task=task, waiting_for=waiting_for):
            more = {"task_id": task.task_id, "waiting_for": waiting_for}
        case StillWaiting(look_in=look_in):
            more = {"look_in_ms": look_in // _MILLISECOND}
        case AttemptFailed(cause=cause, delay=delay):
            more = {"cause": cause, "delay_ms": delay // _MILLISECOND}
    said = {"kind": kind, "step_id": event.path, "attempt": event.attempt, **more}
    return json_text.dumps(said)


@functools.lru_cache(maxsize=4096)  # most events, and the same ones for every run of a workflow
def _plainly(kind: str, path: str, attempt: int) -> str:
    return json_text.dumps({"kind": kind, "step_id": path, "attempt": attempt})
