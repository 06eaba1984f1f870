"""Who serves a database: one process with the embedded feed, or any number with Kafka.

A session advisory lock, held exclusively or shared, so that the two never mix. The session is
watched: its owner learns of its loss and takes the lock again before it goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import structlog
from asyncpg import Connection

from orchestrator.domain.errors import Misconfigured, Unavailable
from orchestrator.store import pool, queries
from orchestrator.store.pool import Conn

SQL = queries.load("lock")
# A killed predecessor may still be dying.
WAIT = 10.0
_TRY_EVERY = 0.1
_LOOK_EVERY = 5.0
_LONGEST_PAUSE = 2.0

log = structlog.get_logger(__name__)

_HELD = {
    True: "another orchestrator already serves this database; to share it among processes,"
    " configure Kafka (ORCHESTRATOR_KAFKA_BOOTSTRAP_SERVERS), else stop the other one",
    False: "an orchestrator without Kafka already serves this database: stop it, or configure"
    " Kafka (ORCHESTRATOR_KAFKA_BOOTSTRAP_SERVERS) for it too",
}


class OwnerLock:
    """`async with OwnerLock(connect, owner, exclusive=True)`: this process serves the database.

    The same session holds the owner's own lock, by which others know that the owner lives. Entering
    waits up to `WAIT` seconds for the lock, then raises `Misconfigured`. `lost` is set
    when the session is gone: start nothing new, `await lock.retake()`, confirm the terms, go on.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Connection]], owner: UUID, *, exclusive: bool
    ) -> None:
        self._connect = connect
        self._owner = owner
        self._exclusive = exclusive
        self._conn: Connection | None = None
        self._session: tuple[int, datetime] | None = None
        self._open = AsyncExitStack()
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._close)
            await self._take()
            group = await asyncio.TaskGroup().__aenter__()
            # Not as a context of the stack: it would wrap what the caller's block raises.
            stack.push_async_callback(group.__aexit__, None, None, None)
            watch = group.create_task(self._watch())
            stack.callback(watch.cancel)
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.__aexit__(kind, error, trace)

    async def retake(self) -> None:
        """Take the lock again after a loss; wait as long as the database is away.

        Raise `Misconfigured` if another process has it meanwhile.
        """
        pause = _TRY_EVERY
        while True:
            try:
                return await self._take()
            except Unavailable as away:
                log.info("owner_lock_waits_for_database", reason=away.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _take(self) -> None:
        self._close()
        with pool.translating():
            conn = self._conn = await self._connect()
            if self._session:
                await conn.execute(SQL["end_session"], *self._session)
            await self._acquire(conn)
            row = await conn.fetchrow(SQL["session"])
        self._session = (row["pid"], row["backend_start"]) if row else None
        self.lost.clear()
        conn.add_termination_listener(self._on_end)
        if conn.is_closed():  # in between
            self.lost.set()

    async def _acquire(self, conn: Connection) -> None:
        await self._until_taken(conn, "take_exclusive" if self._exclusive else "take_shared")
        # Held by others for a moment only, while they look whether this owner lives.
        await self._until_taken(conn, "take_owner", self._owner)

    async def _until_taken(self, conn: Connection, take: str, *args: object) -> None:
        give_up = time.monotonic() + WAIT
        while not await conn.fetchval(SQL[take], *args):
            if time.monotonic() > give_up:
                raise Misconfigured(_HELD[self._exclusive])
            await asyncio.sleep(_TRY_EVERY)

    def _on_end(self, conn: object) -> None:
        if conn is self._conn:
            log.warning("owner_lock_lost")
            self.lost.set()

    async def _watch(self) -> None:
        """Look after the session: a connection cut off without a word is found by asking."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            conn = self._conn
            if conn is None or self.lost.is_set():
                continue
            try:
                with pool.translating():
                    await conn.fetchval(SQL["look"], timeout=_LOOK_EVERY)
            except Unavailable:
                conn.terminate()  # calls `_on_end`

    def _close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None and not conn.is_closed():
            conn.terminate()


async def deployment_id(conn: Conn) -> UUID:
    """Return what tells this installation from others; made with the database."""
    found: UUID = await conn.fetchval(SQL["deployment_id"])
    return found
