"""New runs: what many requests want created at the moment goes in one statement."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import asyncpg

from orchestrator import failpoints
from orchestrator.domain.errors import Fault, Malformed, Overloaded, Stale, Unavailable
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store import parts, queries
from orchestrator.store.lanes import Bounds, Lanes
from orchestrator.store.session import (
    Connect,
    Session,
    finds_no_part,
    may_repeat,
    once,
    pause,
    refuses_value,
    using,
)

SQL = queries.load("creation")

_TOKEN_BITS = 63
_REPEATS = 5
_REQUEST_BYTES = 500  # what a request takes besides its input, roughly


@record
class NewRun:
    """What a run is created from; `input` is JSON text. `workflow_id` is the lifelong id.

    `agents` are the names of those that the version calls, as a JSON array.
    """

    workflow_id: UUID
    workflow_version: int
    workflow_key: str
    workflow_name: str
    input: str
    triggered_by: str = "system"
    agents: str = "[]"


@record
class Created:
    """What the database chose for a new run."""

    id: RunId
    partition: Partition
    created_at: datetime
    workflow_name: str


class _Request:
    """One run to be created."""

    __slots__ = ("done", "key", "new", "size")

    def __init__(self, new: NewRun, done: asyncio.Future[Created]) -> None:
        self.new = new
        self.key = random.getrandbits(_TOKEN_BITS)  # the run's first token
        self.size = _REQUEST_BYTES + len(new.input)
        self.done = done


class Creator:
    """`async with Creator(…)`: creates runs, spread over `partitions`.

    `on_commit` hears how many seconds each commit took.
    """

    def __init__(
        self,
        connect: Connect,
        partitions: int,
        *,
        lanes: int = 1,
        max_rows: int = 500,
        max_bytes: int = 4 * 2**20,
        max_waiting: int = 10_000,
        max_waiting_bytes: int = 64 * 2**20,
        close_within: float = 10.0,
        on_commit: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._partitions = partitions
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting_bytes = 0
        self._next_lane = 0
        self._on_commit = on_commit
        self._lanes: Lanes[_Request] = Lanes(
            connect,
            self._commit,
            lanes=lanes,
            bounds=Bounds(max_rows, max_bytes),
            close_within=close_within,
        )

    @property
    def depth(self) -> int:
        """How many requests wait or are being written."""
        return self._lanes.depth

    def create(self, new: NewRun) -> asyncio.Future[Created]:
        """Create a run; the future is done when it is committed. To be awaited.

        Raises `Unavailable` while the database is away (when the connection broke under it nobody
        knows whether the run exists: an Idempotency-Key is for that), `Overloaded` when too many
        wait, `Malformed` for an input that PostgreSQL refuses, and `Stale` when the version is no
        longer the workflow's newest, or it or one of its agents is not active: nothing was made.
        """
        done: asyncio.Future[Created] = self._lanes.loop.create_future()
        request = _Request(new, done)
        waiting = self._waiting_bytes
        if self.depth >= self._max_waiting or (
            waiting and waiting + request.size > self._max_waiting_bytes
        ):
            raise Overloaded("Too many executions are waiting to be recorded: try again later")
        self._waiting_bytes += request.size
        done.add_done_callback(lambda _: self._forget(request.size))
        self._next_lane += 1
        self._lanes.put(request, self._next_lane)
        return done

    def _forget(self, size: int) -> None:
        self._waiting_bytes -= size

    async def __aenter__(self) -> Self:
        await self._lanes.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._lanes.__aexit__(kind, error, trace)

    async def _commit(self, session: Session, batch: Sequence[_Request]) -> None:
        """Create a batch and tell everybody; halve it until a refused value stands alone."""
        try:
            failpoints.reached("create.before")
            began = time.monotonic()
            rows = await _insert(session, batch, self._partitions)
            self._on_commit(time.monotonic() - began)
            failpoints.reached("create.after")
        except Unavailable as away:
            _refuse(batch, away)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not refuses_value(error):
                raise
            if len(batch) == 1:
                _refuse(batch, refused_input(error))
                return
            middle = len(batch) // 2
            await self._commit(session, batch[:middle])
            await self._commit(session, batch[middle:])
        else:
            made = {row["token"]: row for row in rows}
            for request in batch:
                if request.done.done():
                    continue
                if (row := made.get(request.key)) is not None:
                    request.done.set_result(_created(row))
                else:
                    request.done.set_exception(Stale("The workflow is no longer as it was"))


def refused_input(error: Exception) -> Malformed:
    """Say that PostgreSQL refuses a run's input, the only value in it that is the user's."""
    return Malformed(Fault(("body", "input_data"), "value_error", f"Value error, {error.args[0]}"))


async def _insert(
    session: Session, batch: Sequence[_Request], partitions: int
) -> list[asyncpg.Record]:
    """Insert the rows; make today's parts if they are missing, repeat what others rolled back."""
    news = [request.new for request in batch]
    versions = {(new.workflow_id, new.workflow_version): new.agents for new in news}
    arguments = [
        *zip(*map(_columns, batch), strict=True),
        [workflow_id for workflow_id, _ in versions],
        [version for _, version in versions],
        [*versions.values()],
        partitions,
    ]
    for attempt in range(_REPEATS):
        try:
            try:
                return await once(session, SQL["create"], *arguments)
            except asyncpg.CheckViolationError as error:
                if not finds_no_part(error):
                    raise
                await using(session, parts.ensure_soon)
        except Unavailable as away:
            if not may_repeat(away):
                raise
            await pause(attempt)
    raise Unavailable("Database unavailable: the run could not be recorded")


def _columns(request: _Request) -> tuple[object, ...]:
    new = request.new
    return new.workflow_id, new.workflow_version, new.input, new.triggered_by, request.key


def _created(row: asyncpg.Record) -> Created:
    run_id, partition = RunId(row["id"]), Partition(row["partition"])
    return Created(run_id, partition, row["created_at"], row["workflow_name"])


def _refuse(batch: Sequence[_Request], error: Exception) -> None:
    for request in batch:
        if not request.done.done():
            request.done.set_exception(error)
