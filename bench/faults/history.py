"""Reads a run's history like a strict clerk: what may follow what, and how many calls it explains.

It knows the rules, not the engine: nothing of `orchestrator.domain` is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.faults.evidence import Event, Run
from bench.faults.violation import Violation

_EARLY_S = 0.05  # times are of the same clock, to the microsecond; this is for their rounding
_ENDS = {"RunCompleted": "COMPLETED", "RunFailed": "FAILED", "RunCancelled": "CANCELLED"}


@dataclass(slots=True)
class _Step:
    attempt: int = 0
    at_work: bool = False
    due: float | None = None  # when its next attempt may start
    completed_at: float | None = None


@dataclass(slots=True)
class Reading:
    """What a history came to."""

    status: str = "PENDING"
    failed_attempts: int = 0
    cancels: int = 0
    retries: int = 0
    takeovers: int = 0
    started: dict[str, int] = field(default_factory=dict)  # calls that its events explain, by step
    first_start: dict[str, float] = field(default_factory=dict)
    completed_at: dict[str, float] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)


class Clerk:
    """Reads one history; `order`: the chain of the workflow's steps."""

    def __init__(self, run: Run, order: Sequence[str], max_attempts: int) -> None:
        self._run = run
        self._order = order
        self._max_attempts = max_attempts
        self._steps = {path: _Step() for path in order}
        self._found = Reading()
        self._epoch = 0

    def read(self) -> Reading:
        """Read it from the beginning to the end."""
        found = self._found
        for event in self._run.events:
            found.violations += self._check_epoch(event)
            found.violations += self._take(event)
        if found.status != self._run.status:
            found.violations.append(
                self._wrong(1, f"its row says {self._run.status}, its history {found.status}")
            )
        return found

    def _wrong(self, invariant: int, text: str) -> Violation:
        return Violation(invariant, self._run.id, text)

    def _check_epoch(self, event: Event) -> Iterator[Violation]:
        if event.epoch == 0:  # the API's
            return
        if event.epoch < self._epoch:
            yield self._wrong(3, f"seq {event.seq} was written by epoch {event.epoch}, replaced")
        self._epoch = max(self._epoch, event.epoch)

    def _take(self, event: Event) -> Iterator[Violation]:
        ended = self._found.status in _ENDS.values()
        if ended and event.kind != "RunRetried":
            invariant = 1 if event.kind in _ENDS else 2
            yield self._wrong(invariant, f"{event.kind} after it was {self._found.status}")
        match event.kind:
            case "RunCreated":
                if event.seq != 1:
                    yield self._wrong(6, "created anew in its history")
            case "RunStarted" | "RunTakenOver":
                yield from self._owner(event)
            case "StepStarted":
                yield from self._start(event)
            case "StepCompleted" | "StepFailed" | "AttemptFailed" | "TaskRecorded":
                yield from self._move(event)
            case "RunRetried":
                yield from self._retry()
            case "RunCompleted" | "RunFailed" | "RunCancelled":
                yield from self._end(event)
            case unknown:
                yield self._wrong(6, f"an event that nobody knows: {unknown}")

    def _owner(self, event: Event) -> Iterator[Violation]:
        wanted = "PENDING" if event.kind == "RunStarted" else "RUNNING"
        if self._found.status != wanted:
            yield self._wrong(1, f"{event.kind} while it was {self._found.status}")
        self._found.status = "RUNNING"
        if event.kind == "RunTakenOver":
            self._found.takeovers += 1
            for path, step in self._steps.items():
                if step.at_work:  # its call may be repeated
                    self._found.started[path] = self._found.started.get(path, 0) + 1

    def _start(self, event: Event) -> Iterator[Violation]:
        path = event.step or ""
        step = self._steps[path]
        if step.completed_at is not None:
            yield self._wrong(3, f"step {path} started after it had completed")
        before = self._order[: self._order.index(path)]
        if missing := [name for name in before if self._steps[name].completed_at is None]:
            yield self._wrong(2, f"step {path} started before {missing[0]} had completed")
        if others := [name for name, s in self._steps.items() if s.at_work and name != path]:
            yield self._wrong(2, f"step {path} started while {others[0]} was at work")
        if event.attempt != step.attempt + 1 or step.at_work:
            yield self._wrong(5, f"step {path}: attempt {event.attempt} after {step.attempt}")
        if event.attempt > self._max_attempts:
            yield self._wrong(5, f"step {path}: attempt {event.attempt} of {self._max_attempts}")
        if step.due is not None and event.at < step.due - _EARLY_S:
            yield self._wrong(5, f"step {path}: retried {step.due - event.at:.3f} s early")
        step.attempt, step.at_work, step.due = event.attempt, True, None
        self._found.started[path] = self._found.started.get(path, 0) + 1
        self._found.first_start.setdefault(path, event.at)

    def _move(self, event: Event) -> Iterator[Violation]:
        path = event.step or ""
        step = self._steps[path]
        if event.kind == "StepFailed":  # also while it waits, or when its input cannot be made
            step.at_work = False
            return
        if not step.at_work or event.attempt != step.attempt:
            invariant = 3 if event.kind == "StepCompleted" else 5
            yield self._wrong(
                invariant, f"{event.kind} of step {path}, which is not in attempt {event.attempt}"
            )
        if event.kind == "StepCompleted":
            if step.completed_at is not None:
                yield self._wrong(3, f"step {path} completed twice")
            step.completed_at = self._found.completed_at[path] = event.at
            step.at_work = False
        elif event.kind == "AttemptFailed":
            self._found.failed_attempts += 1
            step.due = event.at + event.delay_s
            step.at_work = False

    def _retry(self) -> Iterator[Violation]:
        if self._found.status not in {"FAILED", "CANCELLED"}:
            yield self._wrong(1, f"retried while it was {self._found.status}")
        self._found.status = "PENDING"
        self._found.retries += 1
        for step in self._steps.values():
            if step.completed_at is None:
                step.attempt, step.at_work, step.due = 0, False, None

    def _end(self, event: Event) -> Iterator[Violation]:
        if event.kind == "RunCompleted" and any(
            step.completed_at is None for step in self._steps.values()
        ):
            yield self._wrong(1, "it completed without all of its steps")
        self._found.cancels += event.kind == "RunCancelled"
        self._found.status = _ENDS[event.kind]
        for step in self._steps.values():
            step.at_work = False
