"""One simulated process: the engine's own parts, put together as `service` does it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

from asyncpg import Connection, Pool

from orchestrator.actors.node import Node
from orchestrator.actors.ports import Limits
from orchestrator.actors.watch import Watch
from orchestrator.agents.client import A2AClient
from orchestrator.api.deps import Check, Deps
from orchestrator.api.throttle import Throttle
from orchestrator.binding import Binding
from orchestrator.domain.errors import Misconfigured, Unavailable
from orchestrator.feed.embedded import EmbeddedFeed
from orchestrator.service import _patiently, _tasks
from orchestrator.settings import Settings
from orchestrator.store import terms
from orchestrator.store.creation import Creator
from orchestrator.store.definitions import Definitions
from orchestrator.store.journal import Journal
from orchestrator.store.lock import OwnerLock
from orchestrator.store.sealing import Sealer
from orchestrator.store.session import Session
from orchestrator.telemetry.metrics import Metrics
from tests.simulation import wire
from tests.simulation.agents import Agents, Client
from tests.simulation.group import Group, GroupFeed
from tests.simulation.loop import Clock, ProcessLoop, State

# One for all: making it takes longer than a history.
METRICS = Metrics("simulated")
_SETTINGS = cast(
    "Settings",
    SimpleNamespace(
        partitions=0,
        step_timeout=timedelta(hours=1),
        max_body_bytes=0,
        logs_endpoint="",
        readiness_requires_kafka=False,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all processes of a world have in common."""

    partitions: int
    limits: Limits
    lanes: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The world outside the process."""

    clock: Clock
    wire: wire.Wire
    agents: Agents
    group: Group | None  # None: the embedded feed
    wrong: Callable[[str], None]
    drains: Callable[[str], None]


class Process:
    """Lives from `__init__` to a kill, a stop or its own failure to start."""

    def __init__(self, name: str, owner: UUID, plan: Plan, around: Surroundings) -> None:
        self.name = name
        self.loop = ProcessLoop(around.clock, name, around.wrong)
        self.pool = cast("Pool", wire.Pool(around.wire, self.loop))
        self.deps: Deps | None = None  # set while it serves
        self.node: Node | None = None
        self._owner = terms.Owner(owner, name)
        self._plan = plan
        self._around = around
        self._feed: EmbeddedFeed | GroupFeed | None = None
        self._stop = asyncio.Event()
        self._main = self.loop.create_task(self._serve(), name="main")
        self._main.add_done_callback(self._ended)

    @property
    def alive(self) -> bool:
        return self.loop.state is not State.ENDED

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what a client asks for."""
        self._asked = self.loop.create_task(work, name="request")

    def kill(self) -> None:
        """End at once: nothing is released, what was sent arrives."""
        self.deps = None
        stuck = self.loop.end()
        self._around.wire.leave(self.loop)
        if isinstance(self._feed, GroupFeed):
            self._feed.leave()
        if stuck:
            self._around.wrong(f"{self.name}: tasks that do not end when cancelled: {stuck}")

    def stop(self) -> None:
        """Ask for an orderly end (SIGTERM)."""
        self.loop.call_soon(self._stop.set)

    def expelled(self) -> None:
        """Be taken for dead by the group."""
        if isinstance(self._feed, GroupFeed):
            self._feed.leave()

    def join_again(self) -> None:
        if isinstance(self._feed, GroupFeed):
            self.loop.call_soon(self._feed.join_again)

    def _ended(self, main: asyncio.Task[None]) -> None:
        if not self.alive:
            return
        error = None if main.cancelled() else main.exception()
        if error is not None and not isinstance(error, Unavailable | Misconfigured):
            self._around.wrong(f"{self.name} ended by {error!r}")
        self._around.wire.outside.call_soon(self.kill)

    async def _connect(self) -> Connection:
        return cast("Connection", await self._around.wire.connect(self.loop))

    async def _serve(self) -> None:
        plan = self._plan
        async with AsyncExitStack() as stack:
            connect: Callable[[], Awaitable[Connection]] = self._connect
            alone = self._around.group is None
            lock = await stack.enter_async_context(
                OwnerLock(connect, self._owner.id, exclusive=alone)
            )
            journal = await stack.enter_async_context(Journal(connect, lanes=plan.lanes))
            creator = await stack.enter_async_context(Creator(connect, plan.partitions))
            looking = Session(connect)
            stack.push_async_callback(looking.close)
            binding = Binding(
                pool=self.pool,
                looking=looking,
                journal=journal,
                creator=creator,
                client=cast("A2AClient", Client(self._around.agents, self.loop)),
                sealer=cast("Sealer", None),
                definitions=Definitions(timedelta(hours=1)),
                metrics=METRICS,
                owner=self._owner,
                push=None,
                throttle=Throttle(),
            )
            watch = Watch(binding.statuses, 100)
            node = self.node = Node(binding.ports(), plan.limits, METRICS, watch)
            feed = self._feed = self._make_feed(node, lock, binding)
            async with _tasks(node.run(), watch.run(), feed.run()) as over:
                await feed.start()
                self.deps = binding.deps(_SETTINGS, node, watch, feed, _healthy)
                stopping = asyncio.ensure_future(self._stop.wait())
                await asyncio.wait((stopping, over), return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                self._around.drains(self.name)
                await node.drain()
                watch.close()
                self.deps = None

    def _make_feed(self, node: Node, lock: OwnerLock, binding: Binding) -> EmbeddedFeed | GroupFeed:
        plan, group = self._plan, self._around.group
        if group is None:
            return EmbeddedFeed(plan.partitions, node, lock, _patiently)
        return GroupFeed(
            group,
            self.loop,
            node,
            lock=lock,
            patiently=_patiently,
            vacant=binding.vacant,
            handover_grace_s=plan.limits.handover_grace.total_seconds(),
            metrics=METRICS,
        )


async def _healthy() -> Check:
    return Check("healthy", "simulated")
