"""Binds the layers' functions to one another: what the actors and the API are given.

`service` builds the parts and starts them; here stands only who calls whom.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

from asyncpg import Pool

from orchestrator import failpoints
from orchestrator.actors.directory import AgentDirectory
from orchestrator.actors.node import Node
from orchestrator.actors.ports import Ports
from orchestrator.actors.watch import Watch
from orchestrator.agents.client import A2AClient
from orchestrator.agents.push import Push, task_ids
from orchestrator.api.deps import Check, Deps
from orchestrator.api.throttle import Throttle
from orchestrator.domain.agent import Agent, Cancellation, TaskRef
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import Run, RunId, RunStatus
from orchestrator.domain.term import Partition, Term
from orchestrator.settings import Settings
from orchestrator.store import agents, cancellations, loading, pool, runs, scan, terms
from orchestrator.store.creation import Created, Creator, NewRun
from orchestrator.store.definitions import Definitions
from orchestrator.store.journal import Journal
from orchestrator.store.sealing import Sealer
from orchestrator.store.session import Session, using
from orchestrator.telemetry.metrics import Metrics

_FIRST_SEQ = 1  # a new run has one event: RunCreated


class Feed(Protocol):
    """Either feed, as the API uses it."""

    @property
    def name(self) -> str: ...
    def publish(self, hint: Hint) -> None: ...
    async def lags(self) -> Mapping[Partition, int]: ...


@dataclass(frozen=True, kw_only=True)
class Binding:
    """The parts, and the functions made of them."""

    pool: Pool
    # for scans and loads, one at a time: generic plans, and never behind the API's requests
    looking: Session
    journal: Journal
    creator: Creator
    client: A2AClient
    push: Push | None
    throttle: Throttle
    sealer: Sealer
    definitions: Definitions
    metrics: Metrics
    owner: terms.Owner

    @cached_property
    def directory(self) -> AgentDirectory:
        return AgentDirectory(self._agent)

    def ports(self) -> Ports:
        """Return what the actors are given."""
        return Ports(
            write=self.journal.write,
            load=self._load,
            fail_corrupt=self._fail_corrupt,
            scan=self._scan,
            claim=self._claim,
            confirm=self._confirm,
            release=self._release,
            agent=self.directory.get,
            send=self.client.send,
            follow=self.client.follow,
            answer=self.client.answer,
            look=self.client.look,
            find=self.client.find,
            cancel=self.client.cancel,
            open_cancellations=self._open_cancellations,
            settle_cancellation=self._settle_cancellation,
            postpone_cancellation=self._postpone_cancellation,
            learn_task=self._learn_task,
        )

    def deps(
        self,
        settings: Settings,
        node: Node,
        watch: Watch,
        feed: Feed,
        feed_check: Callable[[], Awaitable[Check]],
    ) -> Deps:
        """Return what the API is given."""

        async def execute(new: NewRun, value: Any) -> Created:
            created = await self.creator.create(new)
            self.metrics.runs_accepted.inc()
            hint = Hint(HintKind.RUN_REQUESTED, created.id, created.partition, _FIRST_SEQ)
            if created.partition not in node:
                feed.publish(hint)
            elif (run := self._as_created(new, value, created)) is not None:
                node.wake(run)
            else:
                node.nudge(hint)
            return created

        def nudge(hint: Hint) -> None:
            if hint.partition in node:
                node.nudge(hint)
            else:
                feed.publish(hint)
            watch.wake((hint.run_id,))

        return Deps(
            pool=self.pool,
            sealer=self.sealer,
            definitions=self.definitions,
            metrics=self.metrics,
            throttle=self.throttle,
            execute=execute,
            nudge=nudge,
            feed=feed.name,
            lags=feed.lags,
            agents_changed=self.directory.forget,
            agent_health=self.client.health,
            agent_view=self.client.view,
            agent_probe=self.client.probe,
            push_accepted=self._push_accepted,
            pushed=self._pushed,
            wait_ended=watch.ended,
            feed_check=feed_check,
            draining=lambda: node.draining,
            started=time.monotonic(),
            partitions=settings.partitions,
            step_timeout=settings.step_timeout,
            max_body_bytes=settings.max_body_bytes,
            logs_endpoint=settings.logs_endpoint,
            readiness_requires_kafka=settings.readiness_requires_kafka,
        )

    def _as_created(self, new: NewRun, value: Any, created: Created) -> Run | None:
        """Return the new run without asking the database; None if its definition is not at hand."""
        definition = self.definitions.known(new.workflow_id, new.workflow_version)
        if definition is None:
            return None
        status = RunStatus.PENDING
        return Run(created.id, created.partition, definition, value, status, _FIRST_SEQ)

    def _push_accepted(self, name: str, token: str | None, authorization: str | None) -> bool:
        return self.push is not None and self.push.accepts(name, token, authorization)

    def _pushed(self, body: Any) -> None:
        for task_id in task_ids(body):
            self.client.pushed(task_id)

    # -- the store, on a connection ---------------------------------------------------------------

    async def statuses(self, run_ids: Sequence[RunId]) -> Mapping[RunId, RunStatus]:
        async with pool.acquire(self.pool) as conn:
            found = await runs.state(conn, run_ids)
        return {run_id: status for run_id, (status, _) in found.items()}

    async def _load(self, run_ids: Sequence[RunId]) -> loading.Loaded:
        return await using(self.looking, lambda conn: loading.load(conn, self.definitions, run_ids))

    async def _fail_corrupt(self, run_id: RunId, term: Term, reason: str) -> None:
        async with pool.acquire(self.pool) as conn:
            await loading.fail_corrupt(conn, run_id, term, reason)

    async def _scan(
        self, partitions: Sequence[Partition], active: Mapping[RunId, int], limit: int
    ) -> scan.Scan:
        return await using(self.looking, lambda conn: scan.scan(conn, partitions, active, limit))

    async def _claim(self, partition: Partition) -> Term:
        async with pool.acquire(self.pool) as conn:
            failpoints.reached("claim.before")
            term = await terms.claim(conn, partition, self.owner)
            failpoints.reached("claim.after")
            return term

    async def vacant(self, partitions: Sequence[Partition]) -> frozenset[Partition]:
        async with pool.acquire(self.pool) as conn:
            return await terms.vacant(conn, partitions, self.owner)

    async def _confirm(self, held: Sequence[Term]) -> frozenset[Term]:
        async with pool.acquire(self.pool) as conn:
            return await terms.confirm(conn, held)

    async def _release(self, term: Term) -> None:
        async with pool.acquire(self.pool) as conn:
            await terms.release(conn, term)

    async def _agent(self, name: str) -> Agent | None:
        async with pool.acquire(self.pool) as conn:
            return await agents.get_active(conn, self.sealer, name)

    async def _open_cancellations(
        self, partitions: Sequence[Partition], limit: int
    ) -> Sequence[cancellations.OpenCancellation]:
        async with pool.acquire(self.pool) as conn:
            return await cancellations.due(conn, partitions, limit)

    async def _settle_cancellation(
        self, run_id: RunId, message_id: str, outcome: Cancellation
    ) -> None:
        async with pool.acquire(self.pool) as conn:
            await cancellations.settle(conn, run_id, message_id, outcome)

    async def _postpone_cancellation(
        self, run_id: RunId, message_id: str, delay: timedelta
    ) -> None:
        async with pool.acquire(self.pool) as conn:
            await cancellations.postpone(conn, run_id, message_id, delay)

    async def _learn_task(self, run_id: RunId, message_id: str, task: TaskRef) -> None:
        async with pool.acquire(self.pool) as conn:
            await cancellations.learn_task(conn, run_id, message_id, task)
