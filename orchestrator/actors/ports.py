"""What the actors need of the outside, as plain functions; `service` binds them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from orchestrator.domain.agent import Agent, Asked, Call, Cancellation, Output, TaskRef
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.run import Run, RunId
from orchestrator.domain.term import Partition, Term


class Scanned(Protocol):
    """What one look at the rows of the owned partitions showed."""

    @property
    def moved(self) -> Sequence[RunId]:
        """Active runs whose `seq` is no longer the one given."""
        ...

    @property
    def ready(self) -> Sequence[RunId]:
        """Runs that want an actor: due and RUNNING ones first, then PENDING, oldest first."""
        ...

    @property
    def next_due(self) -> timedelta | None:
        """How long until the next parked run is due; None: nothing is parked."""
        ...

    @property
    def pending_left(self) -> bool:
        """Whether more runs want an actor than `ready` holds."""
        ...


class Corrupt(Protocol):
    """A run whose rows cannot be used."""

    @property
    def run_id(self) -> RunId: ...
    @property
    def partition(self) -> Partition: ...
    @property
    def reason(self) -> str: ...


class Loaded(Protocol):
    """Runs rebuilt from their rows; those that could not be stand in `corrupt`."""

    @property
    def runs(self) -> Sequence[Run]: ...
    @property
    def corrupt(self) -> Sequence[Corrupt]: ...


class OpenCancellation(Protocol):
    """A task at an agent that is to be cancelled there."""

    @property
    def run_id(self) -> RunId: ...
    @property
    def message_id(self) -> str: ...
    @property
    def agent_name(self) -> str: ...
    @property
    def task(self) -> TaskRef | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def age(self) -> timedelta:
        """How long ago it was to be cancelled."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """All of them raise `Unavailable` while the database is away, unless they say otherwise."""

    # the journal: waits out an absent database; raises Fenced, Stale, Poisoned
    write: Callable[[Entry, Term], Awaitable[None]]
    load: Callable[[Sequence[RunId]], Awaitable[Loaded]]
    fail_corrupt: Callable[[RunId, Term, str], Awaitable[None]]
    scan: Callable[[Sequence[Partition], Mapping[RunId, int], int], Awaitable[Scanned]]
    claim: Callable[[Partition], Awaitable[Term]]
    confirm: Callable[[Sequence[Term]], Awaitable[frozenset[Term]]]
    release: Callable[[Term], Awaitable[None]]
    # agents: by name, at most a second stale; None when there is no active one; raises
    # Misconfigured when its secrets do not open
    agent: Callable[[str], Awaitable[Agent | None]]
    send: Callable[[Agent, Call], Awaitable[Output | TaskRef | Asked]]
    follow: Callable[[Agent, TaskRef], Awaitable[Output | Asked]]
    # what somebody answered, to the task that asked; should the task be past its question, nothing
    answer: Callable[[Agent, Call, TaskRef], Awaitable[Output | TaskRef | Asked]]
    # once; None: it waits as before, or gives no news
    look: Callable[[Agent, TaskRef], Awaitable[Output | TaskRef | Asked | None]]
    # the task that the agent made of a message which may have reached it; None: it shows none
    find: Callable[[Agent, Call], Awaitable[TaskRef | None]]
    cancel: Callable[[Agent, TaskRef], Awaitable[Cancellation]]
    # tasks to be cancelled at their agents
    open_cancellations: Callable[[Sequence[Partition], int], Awaitable[Sequence[OpenCancellation]]]
    settle_cancellation: Callable[[RunId, str, Cancellation], Awaitable[None]]
    postpone_cancellation: Callable[[RunId, str, timedelta], Awaitable[None]]
    learn_task: Callable[[RunId, str, TaskRef], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings that bound the actors."""

    max_active_runs: int
    scan_interval: timedelta
    park_after: timedelta
    shutdown_grace: timedelta
    # What calls in flight get when their partition goes to another process.
    handover_grace: timedelta = timedelta(seconds=3)
    # How long a call without a task id may go on after its run was cancelled, to learn the id.
    abort_grace: timedelta = timedelta(seconds=0.5)
    # How long an agent that does not confirm a cancel is asked again.
    cancel_patience: timedelta = timedelta(minutes=10)
