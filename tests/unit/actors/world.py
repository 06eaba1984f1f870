"""A node among plain functions: rows in a dictionary, and agents that a test answers for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.actors.node import Node
from orchestrator.actors.ports import Limits, Ports
from orchestrator.actors.watch import Watch
from orchestrator.domain import workflow
from orchestrator.domain.agent import Agent, AgentId, AgentStatus, AuthType, Call, Output, TaskRef
from orchestrator.domain.errors import Fenced, Stale, Unavailable
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution
from orchestrator.domain.term import Partition, Term
from orchestrator.domain.workflow import WorkflowId
from orchestrator.telemetry.metrics import Metrics

P0, P1 = Partition(0), Partition(1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGENT = Agent(
    id=AgentId(UUID(int=1)),
    name="a",
    url="http://127.0.0.1:1",
    description=None,
    auth_type=AuthType.NONE,
    auth_config={},
    timeout=timedelta(seconds=1),
    retry=RetryPolicy(0),
    status=AgentStatus.ACTIVE,
    created_at=NOW,
    updated_at=NOW,
)
DEFINITION = workflow.parse(
    WorkflowId(UUID(int=1)),
    1,
    "wf-a-001",
    "a",
    {
        "start_step": "one",
        "steps": {
            "one": {"id": "one", "agent_name": "a", "next_step": None, "input_mapping": {}},
        },
    },
    timedelta(hours=1),
)
LIMITS = Limits(
    max_active_runs=10,
    scan_interval=timedelta(seconds=0.01),
    park_after=timedelta(seconds=5),
    shutdown_grace=timedelta(seconds=0.05),
    abort_grace=timedelta(seconds=0.01),
)


def a_run(number: int, partition: Partition = P0, *steps: StepExecution) -> Run:
    """Return a PENDING run; with steps, a RUNNING one."""
    status = RunStatus.RUNNING if steps else RunStatus.PENDING
    run_id = RunId(UUID(int=number))
    return Run(run_id, partition, DEFINITION, {}, status, 1, {s.path: s for s in steps})


@dataclass(frozen=True, slots=True)
class Bad:
    """A run whose rows cannot be used."""

    run_id: RunId
    partition: Partition
    reason: str = "bad"


@dataclass(frozen=True, slots=True)
class Seen:
    moved: tuple[RunId, ...] = ()
    ready: tuple[RunId, ...] = ()
    next_due: timedelta | None = None
    pending_left: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    runs: tuple[Run, ...]
    corrupt: tuple[Bad, ...]


@dataclass
class World:
    """What the database says and the agents do; a test changes it behind the node's back."""

    limits: Limits = LIMITS
    retry: RetryPolicy = AGENT.retry
    rows: dict[RunId, Run] = field(default_factory=dict)
    bad: dict[RunId, Bad] = field(default_factory=dict)
    waiting: dict[RunId, timedelta] = field(default_factory=dict)  # parked runs, and for how long
    epochs: dict[Partition, int] = field(default_factory=dict)
    released: list[Term] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    loads: int = 0
    scans: int = 0
    scanning: bool = True  # whether a look shows anything
    away: int = 0  # how many questions from now on find no database
    fail_corrupt_raises: Exception | None = None
    answer: Callable[[Call], Awaitable[Output | TaskRef]] = field(init=False)
    follow: Callable[[TaskRef], Awaitable[Output]] = field(init=False)
    write: Callable[[Entry, Term], Awaitable[None]] = field(init=False)

    def __post_init__(self) -> None:
        self.write = self._write
        self.answer = self.hang
        self.follow = self.hang
        self.metrics = Metrics("1")

    def add(self, *runs: Run) -> None:
        self.rows.update((run.id, run) for run in runs)

    def end(self, run: Run, status: RunStatus) -> Run:
        """Change a run as the API does: its `seq` rises."""
        now = self.rows[run.id]
        self.rows[run.id] = replace(now, status=status, seq=now.seq + 1, steps={})
        return self.rows[run.id]

    def status(self, run: Run) -> RunStatus:
        return self.rows[run.id].status

    async def hang(self, _: object) -> Output:
        await asyncio.Event().wait()
        raise AssertionError

    async def echo(self, _: object) -> Output:
        return Output({}, "{}")

    @asynccontextmanager
    async def node(self, *partitions: Partition) -> AsyncIterator[Node]:
        """Run a node that owns the partitions."""
        node = Node(self._ports(), self.limits, self.metrics, Watch(self._statuses, 10))
        running = asyncio.create_task(node.run())
        try:
            await node.own(partitions or (P0,))
            yield node
        finally:
            failed = running.done()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            assert not failed

    async def until(self, condition: Callable[[], object], within: float = 5.0) -> None:
        """Return when the condition holds."""
        async with asyncio.timeout(within):
            while not condition():  # noqa: ASYNC110 - it is the world that is asked
                await asyncio.sleep(0.001)

    # -- the ports --------------------------------------------------------------------------------

    def _ports(self) -> Ports:
        unused: Any = None
        return Ports(
            write=self._written,
            load=self._load,
            fail_corrupt=self._fail_corrupt,
            scan=self._scan,
            claim=self._claim,
            confirm=self._confirm,
            release=self._release,
            agent=self._agent,
            send=self._send,
            follow=self._follow,
            answer=unused,
            look=unused,
            find=unused,
            cancel=unused,
            open_cancellations=self._open_cancellations,
            settle_cancellation=unused,
            postpone_cancellation=unused,
            learn_task=unused,
        )

    def _question(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise Unavailable("away")

    async def _written(self, entry: Entry, term: Term) -> None:
        await self.write(entry, term)

    async def _write(self, entry: Entry, term: Term) -> None:
        await asyncio.sleep(0)
        if self.epochs[term.partition] != term.epoch:
            raise Fenced("over")
        if self.rows[entry.run.id].seq != entry.run.seq:
            raise Stale("moved")
        self.rows[entry.run.id] = entry.after

    async def _load(self, ids: Sequence[RunId]) -> Loaded:
        self._question()
        self.loads += 1
        await asyncio.sleep(0)
        return Loaded(
            tuple(self.rows[i] for i in ids if i in self.rows and i not in self.bad),
            tuple(self.bad[i] for i in ids if i in self.bad),
        )

    async def _fail_corrupt(self, run_id: RunId, _: Term, __: str) -> None:
        if self.fail_corrupt_raises is not None:
            raise self.fail_corrupt_raises
        del self.bad[run_id]
        self.end(self.rows[run_id], RunStatus.FAILED)

    async def _scan(
        self, partitions: Sequence[Partition], active: Mapping[RunId, int], limit: int
    ) -> Seen:
        self._question()
        self.scans += 1
        if not self.scanning:
            return Seen()
        moved = tuple(run_id for run_id, seq in active.items() if self.rows[run_id].seq != seq)
        ready = [
            run.id
            for run in sorted(self.rows.values(), key=lambda run: run.status, reverse=True)
            if run.partition in partitions and run.id not in active and not run.status.ended
        ]
        waits = [self.waiting[i] for i in ready if i in self.waiting]
        ready = [i for i in ready if i not in self.waiting]
        return Seen(moved, tuple(ready[:limit]), min(waits, default=None), len(ready) > limit)

    async def _claim(self, partition: Partition) -> Term:
        self._question()
        self.epochs[partition] = self.epochs.get(partition, 0) + 1
        return Term(partition, self.epochs[partition])

    async def _confirm(self, terms: Sequence[Term]) -> frozenset[Term]:
        return frozenset(t for t in terms if self.epochs[t.partition] == t.epoch)

    async def _release(self, term: Term) -> None:
        if self.epochs[term.partition] != term.epoch:
            raise Fenced("over")
        self.released.append(term)

    async def _agent(self, _: str) -> Agent:
        return replace(AGENT, retry=self.retry)

    async def _send(self, _: Agent, call: Call) -> Output | TaskRef:
        self.calls.append(call)
        return await self.answer(call)

    async def _follow(self, _: Agent, task: TaskRef) -> Output:
        return await self.follow(task)

    async def _open_cancellations(self, _: Sequence[Partition], __: int) -> Sequence[Any]:
        return ()

    async def _statuses(self, ids: Sequence[RunId]) -> Mapping[RunId, RunStatus]:
        return {run_id: self.rows[run_id].status for run_id in ids}
