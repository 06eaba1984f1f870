"""Whole nodes on a real database whose line can be cut; the agents are plain functions."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

from asyncpg import Connection
from cryptography.fernet import Fernet

from bench.stack.proxy import Proxy
from orchestrator.actors.node import Node
from orchestrator.actors.ports import Limits
from orchestrator.actors.watch import Watch
from orchestrator.api.throttle import Throttle
from orchestrator.binding import Binding
from orchestrator.domain.agent import Agent, AuthType, Call, Cancellation, Output, TaskRef
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store import agents, terms
from orchestrator.store import pool as pools
from orchestrator.store.agents import NewAgent
from orchestrator.store.creation import Creator, NewRun
from orchestrator.store.definitions import Definitions
from orchestrator.store.journal import Journal
from orchestrator.store.sealing import Sealer
from orchestrator.store.session import Session
from orchestrator.telemetry.metrics import Metrics
from tests.integration.store.stage import HOUR, Stage

PARTITIONS = 8
LIMITS = Limits(
    max_active_runs=100,
    scan_interval=timedelta(seconds=0.05),
    park_after=timedelta(seconds=0.05),
    shutdown_grace=timedelta(seconds=2),
    abort_grace=timedelta(seconds=0.05),
)
SEALER = Sealer([Fernet.generate_key().decode()])


class Agents:
    """Answers calls, and keeps books: which step of which run was sent, and how often."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.message_ids: dict[tuple[str, str], set[str]] = {}
        self.cancelled: list[str] = []
        self.reply: Callable[[Call], Awaitable[Output | TaskRef]] = self.echo

    async def echo(self, _: Call) -> Output:
        await asyncio.sleep(random.random() * 0.01)
        return Output({"ok": True}, '{"ok":true}')

    async def send(self, _: Agent, call: Call) -> Output | TaskRef:
        self.calls[call.run, call.step] += 1
        self.message_ids.setdefault((call.run, call.step), set()).add(call.message_id)
        return await self.reply(call)

    async def follow(self, _: Agent, task: TaskRef) -> Output:
        await asyncio.sleep(random.random() * 0.02)
        return Output({"of": task.task_id}, '{"ok":true}')

    async def answer(self, _: Agent, call: Call, task: TaskRef) -> Output | TaskRef:
        raise AssertionError(f"{call.run} answers {task}, which asked nothing")

    async def look(self, _: Agent, task: TaskRef) -> Output | None:
        raise AssertionError(f"nobody waits for {task}")

    async def find(self, _: Agent, call: Call) -> TaskRef | None:
        raise AssertionError(f"{call.message_id} may be sent again")

    async def cancel(self, _: Agent, task: TaskRef) -> Cancellation:
        self.cancelled.append(task.task_id)
        return Cancellation.CONFIRMED


class Engine:
    """One process's node and what it stands on, as `service` builds them."""

    def __init__(self, dsn: str, answering: Agents) -> None:
        self.dsn = dsn
        self.agents = answering
        self.node: Node
        self.binding: Binding
        self.running: asyncio.Task[None]
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            pool = await pools.connect_pool(self.dsn, 5)
            stack.callback(pool.terminate)
            journal = await stack.enter_async_context(Journal(self._connect, close_within=1))
            creator = await stack.enter_async_context(
                Creator(self._connect, PARTITIONS, close_within=1)
            )
            looking = Session(self._connect)
            stack.push_async_callback(looking.close)
            client: Any = self.agents
            self.binding = Binding(
                pool=pool,
                looking=looking,
                journal=journal,
                creator=creator,
                client=client,
                sealer=SEALER,
                definitions=Definitions(HOUR),
                metrics=Metrics("1"),
                owner=terms.Owner(uuid4(), "test"),
                push=None,
                throttle=Throttle(),
            )
            watch = Watch(self.binding.statuses, 10)
            self.node = Node(self.binding.ports(), LIMITS, self.binding.metrics, watch)
            self.running = asyncio.create_task(self.node.run())
            stack.push_async_callback(self._end)
            self._open = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def own(self, partitions: Sequence[int] = range(PARTITIONS)) -> None:
        await self.node.own([Partition(n) for n in partitions])

    async def claim_again(self) -> None:
        """Claim what the fence took, as the embedded feed does."""
        while True:
            await self.node.own([await self.node.lost.get()])

    async def _connect(self) -> Connection:
        return await pools.connect(self.dsn, application_name="test engine")

    async def _end(self) -> None:
        assert not self.running.done(), self.running.exception()
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running


class World:
    """The stage, a line that can be cut, agents, and as many engines as are wanted."""

    def __init__(self, stage: Stage, proxy: Proxy) -> None:
        self.stage = stage
        self.proxy = proxy
        self.agents = Agents()

    def engine(self) -> Engine:
        return Engine(self.proxy.dsn, self.agents)

    async def create(self, count: int) -> list[RunId]:
        """Create runs behind the engines' back; their looks find them."""
        async with Creator(self.stage.connect, PARTITIONS) as creator:
            new = NewRun(self.stage.workflow_id, 1, self.stage.key, "flow", "{}")
            made = await asyncio.gather(*(creator.create(new) for _ in range(count)))
        return [one.id for one in made]

    async def statuses(self) -> Counter[str]:
        rows = await self.stage.conn.fetch("SELECT status, count(*) AS n FROM run GROUP BY 1")
        return Counter({row["status"]: row["n"] for row in rows})

    async def ended(self, within: float = 60) -> Counter[str]:
        """Wait until every run has ended; return how."""
        async with asyncio.timeout(within):
            while (found := await self.statuses())["PENDING"] + found["RUNNING"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found

    async def check_histories(self) -> None:
        """Every history is gapless, starts no completed step again, and ends once."""
        gaps = await self.stage.conn.fetch(
            "SELECT r.id FROM run r LEFT JOIN run_event e ON e.run_id = r.id GROUP BY r.id, r.seq"
            " HAVING sum(json_array_length(e.events)) <> r.seq OR max(e.seq) <> r.seq"
        )
        assert not gaps
        back = await self.stage.conn.fetchval(
            "SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER (PARTITION BY run_id"
            " ORDER BY seq) AS back FROM run_event WHERE epoch > 0) AS e WHERE back"
        )
        assert back == 0
        rows = await self.stage.conn.fetch(
            "SELECT e.run_id, v.event ->> 'kind' AS kind, v.event ->> 'step_id' AS step"
            " FROM run_event e, json_array_elements(e.events) WITH ORDINALITY AS v(event, n)"
            " ORDER BY e.run_id, e.seq, v.n"
        )
        done: set[tuple[Any, str]] = set()
        for row in rows:
            step = (row["run_id"], row["step"])
            if row["kind"] in ("StepStarted", "StepCompleted", "AttemptFailed"):
                assert step not in done, step
            if row["kind"] == "StepCompleted":
                done.add(step)
        at_work = await self.stage.conn.fetchval(
            "SELECT count(*) FROM run r JOIN step_execution s ON s.run_id = r.id"
            " WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND s.status = 'RUNNING'"
        )
        assert at_work == 0


@asynccontextmanager
async def world(dsn: str) -> AsyncIterator[World]:
    """Set the stage, with three agents that are registered."""
    stage = await Stage(dsn).open()
    async with Proxy(dsn) as proxy:
        for name in ("A", "B", "C"):
            new = NewAgent(
                name, "http://127.0.0.1:9", None, AuthType.NONE, {}, 1000, RetryPolicy(8, 20, 200)
            )
            await agents.create(stage.conn, SEALER, new)
        yield World(stage, proxy)
    await stage.close()
