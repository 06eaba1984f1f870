"""The journal's batch as columns: what the statement `write` takes, one list a column."""

from datetime import timedelta
from typing import Any
from uuid import UUID

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
    StepStarted,
    TaskRecorded,
)
from orchestrator.domain.run import Run, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Term

_ENTRY_BYTES = 500  # what a decision takes besides its texts, roughly


class Columns:
    """Collects decisions; each run at most once. `arguments` are those of the statement."""

    __slots__ = ("_decisions", "_held", "_highest", "_lowest", "_steps")

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], None] = {}
        self._decisions: tuple[list[Any], ...] = tuple([] for _ in range(10))
        self._steps: tuple[list[Any], ...] = tuple([] for _ in range(15))
        self._lowest: UUID | None = None
        self._highest: UUID | None = None

    def add(self, entry: Entry, term: Term, token: int) -> None:
        run, after = entry.run, entry.after
        run_id, epoch = run.id, term.epoch
        if self._lowest is None or run_id < self._lowest:
            self._lowest = run_id
        if self._highest is None or run_id > self._highest:
            self._highest = run_id
        self._held[run.partition, epoch] = None
        # fmt: off
        for column, value in zip(self._decisions, (
            run_id, run.partition, epoch, run.seq, after.seq, token, after.status, after.error,
            wake_in(after), events_text(entry),
        ), strict=True):
            column.append(value)
        # fmt: on
        self._add_steps(entry)

    def _add_steps(self, entry: Entry) -> None:
        rows: dict[StepPath, _StepChange] = {}
        for event, text in zip(entry.decision.events, entry.texts, strict=True):
            match event:
                case RunStarted() | RunTakenOver() | RunCompleted() | RunFailed():
                    continue
                case _:
                    change = rows.get(event.path)
                    if change is None:
                        change = rows[event.path] = _StepChange()
                    change.note(event, text)
        for path, change in rows.items():
            row = change.row(entry.run, entry.after.steps[path])
            for column, value in zip(self._steps, row, strict=True):
                column.append(value)

    def arguments(self) -> list[Any]:
        """Return the arguments of `write`; there is at least one decision."""
        partitions = [partition for partition, _ in self._held]
        epochs = [epoch for _, epoch in self._held]
        return [partitions, epochs, self._lowest, self._highest, *self._decisions, *self._steps]


class _StepChange:
    """What a decision's events say of one step, besides the state it ends in."""

    __slots__ = ("cancel", "error", "input", "output", "timeout")

    def __init__(self) -> None:
        self.input: str | None = None
        self.output: str | None = None
        self.error: str | None = None
        self.timeout: timedelta | None = None
        self.cancel = False

    def note(
        self,
        event: StepStarted | TaskRecorded | AttemptFailed | StepCompleted | StepFailed,
        text: str | None,
    ) -> None:
        match event:
            case StepStarted():
                self.input, self.error, self.timeout = text, None, event.timeout
            case StepCompleted():
                self.output, self.error = text, None
            case AttemptFailed():
                self.error = event.cause  # shown until the next attempt begins
            case StepFailed():
                self.error, self.cancel = event.cause, event.cancel_task
            case TaskRecorded():
                pass

    def row(self, run: Run, step: StepExecution) -> tuple[Any, ...]:
        definition, task = run.definition.steps[step.path], step.task
        # fmt: off
        return (
            run.id, step.path, definition.position, definition.agent_name, step.status,
            step.attempt, step.message_no, self.input, self.output, self.error,
            None if task is None else task.task_id, None if task is None else task.context_id,
            step.due_in, self.timeout, self.cancel,
        )
        # fmt: on


def size(entry: Entry) -> int:
    """Return roughly how many bytes the entry adds to a batch."""
    return _ENTRY_BYTES + sum(len(text) for text in entry.texts if text is not None)


def wake_in(run: Run) -> timedelta | None:
    """Return when a run that only waits is to be looked at again; None while it does something."""
    running = [step for step in run.steps.values() if step.status is StepStatus.RUNNING]
    waits = [step.due_in for step in running if step.due_in is not None]
    return min(waits) if waits and len(waits) == len(running) else None


def events_text(entry: Entry) -> str:
    """Render a decision's events for the history: never what goes to or comes from an agent."""
    return json_text.dumps([_described(event) for event in entry.decision.events])


def _described(event: Event) -> dict[str, Any]:
    kind = type(event).__name__
    match event:
        case RunStarted() | RunTakenOver() | RunCompleted():
            return {"kind": kind}
        case RunFailed(cause):
            return {"kind": kind, "cause": cause}
        case StepStarted(path, attempt) | StepCompleted(path, attempt):
            return {"kind": kind, "step_id": path, "attempt": attempt}
        case StepFailed(path, attempt, cause):
            return {"kind": kind, "step_id": path, "attempt": attempt, "cause": cause}
        case TaskRecorded(path, attempt, task):
            return {"kind": kind, "step_id": path, "attempt": attempt, "task_id": task.task_id}
        case AttemptFailed(path, attempt, cause, delay):
            delay_ms = delay // timedelta(milliseconds=1)
            step = {"kind": kind, "step_id": path, "attempt": attempt}
            return {**step, "cause": cause, "delay_ms": delay_ms}
