"""What is known after a scenario: by the clients, by the rows, by the API, and by the agents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A cancel or retry; `status` None: no answer came."""

    run: str
    what: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """An execute that was answered with 202; times by the bench's monotonic clock."""

    run: str
    sent: float
    answered: float
    key: str | None


@dataclass(slots=True)
class Ledger:
    """What the bench's clients saw."""

    accepted: list[Accepted] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    unanswered: int = 0  # executes without a key whose answer got lost: there may be a run
    refused: int = 0  # executes that were told to come later, or found nobody, all the time
    wrong: list[str] = field(default_factory=list)  # answers that are never right


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run's history, from its rows; `at` in seconds since 1970."""

    seq: int
    kind: str
    at: float
    epoch: int
    step: str | None = None
    attempt: int = 0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """A step's row."""

    path: str
    status: str
    attempt: int
    input: Any
    output: Any


@dataclass(frozen=True, slots=True)
class Run:
    """A run's rows; `events` as the row of each decision holds them, `gaps`: what does not fit."""

    id: str
    status: str
    seq: int
    ended_at: float | None
    error: str | None
    events: Sequence[Event]
    steps: Mapping[str, Step]
    gaps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A run as the API shows it: its status, the steps', and the history's seq and kinds."""

    status: str
    steps: Mapping[str, str]
    logs: Sequence[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Call:
    """A call as an agent met it."""

    run: str
    step: str
    message_id: str
    attempt: int
    at: float
    how: str
    nonce: str

    @property
    def number(self) -> int:
        return int(self.message_id.rpartition(".")[2])


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it, with what the judge must know of the scenario."""

    ledger: Ledger
    runs: Mapping[str, Run]
    shown: Mapping[str, Shown]
    calls: Sequence[Call]
    keys: Mapping[str, Sequence[str]]  # runs by Idempotency-Key, from the rows
    totals: Mapping[str, int]  # runs by status, as the API's list counts them
    counted: Mapping[str, float] | None  # `orchestrator_runs_ended_total`; None: a process died
    steps: Sequence[str]
    max_attempts: int
    may_fail: bool  # agents were told to do what no retry makes good
    paused: bool  # a process stood still: what it had begun may reach an agent late
