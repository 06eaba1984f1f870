"""The supervisor of one partition: it holds a term, starts the actors of its runs, and ends them.

It decides nothing about a run. What an actor's end leads to is told to the node as one of three
wishes: load this run again, this term is over, or nothing.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog

from orchestrator.actors.ports import Limits, Ports
from orchestrator.actors.run_actor import Phase, RunActor
from orchestrator.domain.errors import Fenced, Stale
from orchestrator.domain.record import record
from orchestrator.domain.run import Run, RunId, external_id
from orchestrator.domain.term import Term
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_ABANDONED = timedelta(seconds=1)  # for actors that were cancelled to end
_MAX_CRASHES = 3  # then the run is failed: one bad run must not keep a partition busy


class Home(Protocol):
    """What a supervisor asks of the node it lives in."""

    def reload(self, run_id: RunId, after: float = 0.0) -> None: ...
    def term_over(self, term: Term) -> None: ...
    def left(self, run: Run, parked_for: timedelta | None) -> None: ...


@record
class _Child:
    actor: RunActor
    task: asyncio.Task[float | None]  # its result: seconds until the run is to be loaded again


class PartitionSupervisor:
    """Owns one term; every actor below it writes under that term."""

    def __init__(
        self,
        term: Term,
        home: Home,
        group: asyncio.TaskGroup,
        *,
        ports: Ports,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.term = term
        self.draining = False
        self._home = home
        self._group = group
        self._ports = ports
        self._limits = limits
        self._metrics = metrics
        self._children: dict[RunId, _Child] = {}
        self._crashes: dict[RunId, int] = {}
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._children)

    def __contains__(self, run_id: RunId) -> bool:
        return run_id in self._children

    def seqs(self) -> Iterator[tuple[RunId, int]]:
        """Return each active run with the `seq` its actor knows."""
        return ((run_id, child.actor.run.seq) for run_id, child in self._children.items())

    def seq(self, run_id: RunId) -> int:
        """Return the `seq` that an active run's actor knows."""
        return self._children[run_id].actor.run.seq

    def start(self, run: Run) -> None:
        """Give the run an actor, unless it has one."""
        if run.id in self._children:
            return
        actor = RunActor(
            run,
            self.term,
            ports=self._ports,
            limits=self._limits,
            metrics=self._metrics,
            draining=self._is_draining,
            loop=self._loop,
        )
        task = self._group.create_task(self._supervise(actor), name=external_id(run.id))
        self._children[run.id] = _Child(actor, task)
        # A callback, since a task that is cancelled before its first step runs no `finally`.
        task.add_done_callback(partial(self._gone, actor, time.monotonic()))

    def moved(self, run_id: RunId, known_seq: int) -> None:
        """Tell that a run's rows are no longer at `known_seq`, as a look at them showed.

        That may be the actor's own write, which it is making or has made since the look began.
        """
        child = self._children.get(run_id)
        if child is None or child.actor.phase is Phase.WRITING:
            return
        if child.actor.run.seq == known_seq:
            self._doom(child)

    def outdated(self, run_id: RunId, seq: int) -> None:
        """Tell that somebody else brought a run's rows to `seq`; nothing to an actor that knows."""
        child = self._children.get(run_id)
        if child is not None and child.actor.run.seq < seq:
            self._doom(child)

    def _doom(self, child: _Child) -> None:
        """End an actor whose rows moved.

        One that is writing ends after the write, refused or not. One whose call has no durable
        task id gets a moment to learn it, so that the task can be cancelled at the agent.
        """
        if child.actor.doomed:
            return
        child.actor.doomed = True
        if child.actor.phase is Phase.SENDING:
            grace = self._limits.abort_grace.total_seconds()
            self._loop.call_later(grace, child.task.cancel)
        elif child.actor.phase is Phase.DETACHED:
            child.task.cancel()

    async def end(self, grace: timedelta) -> None:
        """Start no step any more, and end all actors: those with a call in flight after `grace`.

        The others only wait, or follow a task whose id is durable: the next owner goes on.
        """
        self.draining = True
        self._detach()
        await self._until_gone(grace)
        self.abandon()
        await self._until_gone(_ABANDONED)

    async def _until_gone(self, within: timedelta) -> None:
        tasks = [child.task for child in self._children.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=within.total_seconds())

    def forget(self, run_id: RunId) -> None:
        """Forget the crashes of a run that somebody else has ended."""
        self._crashes.pop(run_id, None)

    def _detach(self) -> None:
        for child in self._children.values():
            if child.actor.phase is Phase.DETACHED:
                child.task.cancel()

    def abandon(self) -> None:
        """End all actors at once."""
        for child in self._children.values():
            child.task.cancel()

    def _is_draining(self) -> bool:
        return self.draining

    async def _supervise(self, actor: RunActor) -> float | None:
        """Live the actor's life; no error passes, for that would end its siblings.

        Returns after how many seconds the run is to be loaded again; None: not at all.
        """
        run_id = actor.run.id
        try:
            return await self._live(actor)
        except Stale:
            self._metrics.refused("stale")
            return 0.0
        except Fenced:
            self._metrics.refused("fenced")
            self._home.term_over(self.term)
            return None
        except Exception:
            crashes = self._crashes[run_id] = self._crashes.get(run_id, 0) + 1
            self._metrics.actor_crashes.inc()
            log.exception("actor_crashed", run_id=external_id(run_id), crashes=crashes)
            return float(crashes)

    async def _live(self, actor: RunActor) -> float | None:
        if self._crashes.get(actor.run.id, 0) >= _MAX_CRASHES:
            await actor.fail("the run crashed its actor repeatedly; see the server's log")
            return None
        await actor.live()
        return None

    def _gone(self, actor: RunActor, born: float, task: asyncio.Task[float | None]) -> None:
        run = actor.run
        del self._children[run.id]
        if run.status.ended:
            self._crashes.pop(run.id, None)
            self._metrics.run_ended(run.status.value)
            self._metrics.run_seconds.observe(time.monotonic() - born)
        again = None if task.cancelled() else task.result()
        if again is None and actor.doomed:  # also one that was told while it was leaving
            again = 0.0
        self._home.left(run, actor.parked_for)
        if again is not None:
            self._home.reload(run.id, again)
