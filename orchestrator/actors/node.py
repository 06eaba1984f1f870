"""The node: every partition that this process owns, and the looks at their rows.

The rows are the truth and the hints are only fast: a hint that is lost, late or doubled is made
good by the next scan. Nothing here pauses for a backlog; what does not fit stays a PENDING row.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

import structlog

from orchestrator.actors.cancellations import Cancellations
from orchestrator.actors.partition_supervisor import PartitionSupervisor
from orchestrator.actors.ports import Corrupt, Limits, Ports
from orchestrator.actors.watch import Watch
from orchestrator.domain.errors import Fenced, Unavailable
from orchestrator.domain.hint import Hint
from orchestrator.domain.run import Run, RunId, external_id
from orchestrator.domain.term import Partition, Term
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_MAX_HINTS = 10_000  # beyond it a hint is dropped: the rows still say it
_LOAD_AT_ONCE = 100
_CLAIM_PAUSE_S = 0.5
_MIN_SCAN_S = 0.01


class Node:
    """Runs the actors of the partitions it is given; `run` lives until cancelled."""

    def __init__(self, ports: Ports, limits: Limits, metrics: Metrics, watch: Watch) -> None:
        self.draining = False
        self.lost: asyncio.Queue[Partition] = asyncio.Queue()  # terms that ended under us
        self._ports = ports
        self._limits = limits
        self._metrics = metrics
        self._watch = watch
        self._supervisors: dict[Partition, PartitionSupervisor] = {}
        self._hints: deque[RunId] = deque(maxlen=_MAX_HINTS)
        self._wanted = asyncio.Event()
        self._scan_at = 0.0
        self._backlog = False
        self._suspended = False
        self._active = 0
        self._group: asyncio.Future[asyncio.TaskGroup] = asyncio.get_running_loop().create_future()
        self._cancellations = Cancellations(ports, self.partitions, metrics, limits.cancel_patience)
        metrics.watch(metrics.active_actors, lambda: self._active)
        metrics.watch(metrics.mailbox_depth, lambda: len(self._hints))
        metrics.watch(metrics.partitions_owned, lambda: len(self.partitions()))

    def __contains__(self, partition: Partition) -> bool:
        """Whether a run of this partition would be taken up here."""
        return self._open(partition) is not None

    def partitions(self) -> Sequence[Partition]:
        """Return the partitions that this process owns and is not handing over."""
        return tuple(p for p, s in self._supervisors.items() if not s.draining)

    def terms(self) -> Sequence[Term]:
        """Return the terms that this process holds at the moment."""
        return tuple(s.term for s in self._supervisors.values())

    # -- ownership --------------------------------------------------------------------------------

    async def own(self, partitions: Sequence[Partition]) -> None:
        """Claim each partition, one a transaction, and take up its unfinished runs."""
        group = await self._group
        for partition in partitions:
            if self.draining:
                return
            term = await self._claim(partition)
            self._supervisors[partition] = PartitionSupervisor(
                term,
                self,
                group,
                ports=self._ports,
                limits=self._limits,
                metrics=self._metrics,
            )
        log.info("partitions_claimed", count=len(partitions))
        self._look_now()

    async def _claim(self, partition: Partition) -> Term:
        while True:
            try:
                return await self._ports.claim(partition)
            except Unavailable:
                await asyncio.sleep(_CLAIM_PAUSE_S)

    async def hand_over(self, partitions: Sequence[Partition]) -> None:
        """Give partitions up: calls in flight get their grace, then the terms are released."""
        leaving = [s for p in partitions if (s := self._supervisors.get(p)) is not None]
        await self._release_all(leaving, self._limits.handover_grace)
        log.info("partitions_handed_over", count=len(leaving))

    async def _release_all(self, leaving: Sequence[PartitionSupervisor], grace: timedelta) -> None:
        async with asyncio.TaskGroup() as group:
            for supervisor in leaving:
                group.create_task(self._release(supervisor, grace))

    async def _release(self, supervisor: PartitionSupervisor, grace: timedelta) -> None:
        await supervisor.end(grace)
        partition = supervisor.term.partition
        if self._supervisors.get(partition) is not supervisor:
            return  # fenced meanwhile
        del self._supervisors[partition]
        try:
            await self._ports.release(supervisor.term)
        except (Unavailable, Fenced) as error:  # the next owner claims without it
            log.info("term_not_released", partition=partition, reason=error.message)

    async def confirm(self) -> None:
        """Look whether the terms still hold (after the feed's lock was lost and taken again)."""
        valid = await self._ports.confirm(self.terms())
        for term in self.terms():
            if term not in valid:
                self.term_over(term)

    def suspend(self) -> None:
        """Start nothing new until `resume`."""
        self._suspended = True

    def resume(self) -> None:
        self._suspended = False
        self._look_now()

    # -- hints ------------------------------------------------------------------------------------

    def wake(self, run: Run) -> None:
        """Take up a run that was created a moment ago, if there is room; else it stays a row."""
        supervisor = self._open(run.partition)
        if supervisor is None:
            return
        if self._backlog or self._active >= self._limits.max_active_runs:
            self._backlog = True
            return
        self._start(supervisor, run)

    def hint(self, hint: Hint) -> None:
        """Hear from another process that its API changed a run; maybe long ago.

        A call in flight is not aborted for that: the rows are asked.
        """
        supervisor = self._supervisors.get(hint.partition)
        if supervisor is None:
            return
        if hint.run_id not in supervisor:
            self._take_up(hint.run_id, hint.partition)
        elif supervisor.seq(hint.run_id) < hint.seq:
            self._look_now()
        self._cancellations.wake()

    def nudge(self, hint: Hint) -> None:
        """Hear from our API that it just created, cancelled, retried or answered a run.

        A look at the rows may have been faster: an actor that was built from them stays.
        """
        supervisor = self._supervisors.get(hint.partition)
        if supervisor is None:
            return
        if hint.run_id in supervisor:
            supervisor.outdated(hint.run_id, hint.seq)
        else:
            self._take_up(hint.run_id, hint.partition)
        self._cancellations.wake()

    def _take_up(self, run_id: RunId, partition: Partition) -> None:
        """Load the run, if there is room; else it stays a row."""
        if self._open(partition) is None:
            return
        if self._backlog or self._room() <= 0:
            self._backlog = True
            return
        self.reload(run_id)

    # -- what supervisors ask ---------------------------------------------------------------------

    def reload(self, run_id: RunId, after: float = 0.0) -> None:
        """Load the run from its rows, and give it an actor if it still wants one."""
        if after > 0:
            asyncio.get_running_loop().call_later(after, self.reload, run_id)
            return
        self._hints.append(run_id)
        self._wanted.set()

    def term_over(self, term: Term) -> None:
        """End a term that the fence refused; the feed decides when to claim again."""
        supervisor = self._supervisors.get(term.partition)
        if supervisor is None or supervisor.term != term:
            return
        del self._supervisors[term.partition]
        self._metrics.terms_lost.inc()
        log.warning("term_lost", partition=term.partition, epoch=term.epoch)
        supervisor.abandon()
        self.lost.put_nowait(term.partition)

    def left(self, run: Run, parked_for: timedelta | None) -> None:
        """Note that an actor is gone: there is room again, or a time to come back."""
        self._active -= 1
        if run.status.ended:
            self._watch.wake((run.id,))
        if parked_for is not None:
            due = asyncio.get_running_loop().time() + parked_for.total_seconds()
            if due < self._scan_at:
                self._scan_at = due
                self._wanted.set()
        room = self._limits.max_active_runs - self._active
        if self._backlog and room >= max(1, self._limits.max_active_runs // 8):
            self._look_now()

    # -- the loop ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled; every actor lives and ends inside."""
        async with asyncio.TaskGroup() as group:
            self._group.set_result(group)
            group.create_task(self._cancellations.run())
            while True:
                await self._until_wanted()
                try:
                    await self._serve_hints()
                    await self._scan_if_due()
                except Unavailable as away:
                    log.warning("database_unavailable", detail=away.message)
                    self._scan_at = self._now() + self._limits.scan_interval.total_seconds()
                    await asyncio.sleep(_CLAIM_PAUSE_S)

    async def drain(self) -> None:
        """Start nothing, give calls in flight their grace, hand every partition over."""
        self.draining = True
        await self._release_all(list(self._supervisors.values()), self._limits.shutdown_grace)

    async def _until_wanted(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._scan_at - self._now())):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    async def _serve_hints(self) -> None:
        while self._hints and not self._closed_for_starts():
            count = min(len(self._hints), _LOAD_AT_ONCE)
            run_ids = [self._hints.popleft() for _ in range(count)]
            try:
                await self._load_and_start(dict.fromkeys(run_ids))
            except Unavailable:
                self._hints.extendleft(reversed(run_ids))
                raise

    async def _scan_if_due(self) -> None:
        if self._now() < self._scan_at:
            return
        self._scan_at = self._now() + self._limits.scan_interval.total_seconds()
        if not self._supervisors:
            return
        known = dict(pair for s in self._supervisors.values() for pair in s.seqs())
        room = 0 if self._closed_for_starts() else max(0, self._room())
        seen = await self._ports.scan(self.partitions(), known, room)
        for run_id in seen.moved:
            for supervisor in self._supervisors.values():
                supervisor.moved(run_id, known[run_id])
        self._backlog = seen.pending_left
        if seen.next_due is not None:
            due = self._now() + max(_MIN_SCAN_S, seen.next_due.total_seconds())
            self._scan_at = min(self._scan_at, due)
        for first in range(0, len(seen.ready), _LOAD_AT_ONCE):
            await self._load_and_start(seen.ready[first : first + _LOAD_AT_ONCE])

    async def _load_and_start(self, run_ids: Sequence[RunId] | dict[RunId, None]) -> None:
        loaded = await self._ports.load([r for r in run_ids if not self._is_active(r)])
        for run in loaded.runs:
            supervisor = self._open(run.partition)
            if supervisor is None:
                continue
            if run.status.ended:
                supervisor.forget(run.id)
                continue
            if self._room() <= 0:
                self._backlog = True
                continue
            self._start(supervisor, run)
        for corrupt in loaded.corrupt:
            await self._fail(corrupt)

    async def _fail(self, corrupt: Corrupt) -> None:
        """Fail a run whose rows cannot be used; one that cannot even be failed harms no other."""
        supervisor = self._open(corrupt.partition)
        if supervisor is None:
            return
        run_id = external_id(corrupt.run_id)
        log.error("run_corrupt", run_id=run_id, reason=corrupt.reason)
        try:
            await self._ports.fail_corrupt(corrupt.run_id, supervisor.term, corrupt.reason)
        except Fenced:
            self.term_over(supervisor.term)
        except Unavailable:
            raise
        except Exception:
            log.exception("run_not_failed", run_id=run_id)

    def _start(self, supervisor: PartitionSupervisor, run: Run) -> None:
        if run.id not in supervisor:
            self._active += 1
            supervisor.start(run)

    def _is_active(self, run_id: RunId) -> bool:
        return any(run_id in supervisor for supervisor in self._supervisors.values())

    def _open(self, partition: Partition) -> PartitionSupervisor | None:
        """Return the partition's supervisor if it may start runs."""
        supervisor = self._supervisors.get(partition)
        if supervisor is None or supervisor.draining or self._closed_for_starts():
            return None
        return supervisor

    def _room(self) -> int:
        return self._limits.max_active_runs - self._active

    def _closed_for_starts(self) -> bool:
        return self.draining or self._suspended

    def _look_now(self) -> None:
        self._scan_at = 0.0
        self._wanted.set()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
