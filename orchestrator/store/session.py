"""A connection that one task keeps for itself: prepared statements, opened anew when it is lost."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg
import structlog
from asyncpg import Connection
from asyncpg.prepared_stmt import PreparedStatement

from orchestrator.domain.errors import Unavailable
from orchestrator.store.pool import translating

log = structlog.get_logger(__name__)

Connect: TypeAlias = Callable[[], Awaitable[Connection]]
R = TypeVar("R")

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 2.0
_CLOSE_WITHIN_S = 2.0
# A deadlock, a serialization failure, a lock that was not to be had: the connection is sound.
_REPEAT = ("40001", "40P01", "55P03")
# Data exceptions, broken constraints, too complex values, rows that cannot be read.
_REFUSED_VALUE = ("22", "23", "54", "XX")


class Session:
    """One connection; not to be used by two tasks at a time."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._conn: Connection | None = None
        self._prepared: dict[str, PreparedStatement] = {}

    async def conn(self) -> Connection:
        """Return the connection, a new one if it was lost."""
        if self._conn is None or self._conn.is_closed():
            self._prepared = {}
            self._conn = await self._connect()
        return self._conn

    async def fetch(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        """Run a prepared statement; it is prepared when first used on a connection."""
        conn = await self.conn()
        prepared = self._prepared.get(statement)
        if prepared is None:
            prepared = self._prepared[statement] = await conn.prepare(statement)
            # `prepare` ends in Flush, not Sync: until the next statement the session would keep
            # its locks, and stand in the way of migrations and of drops of parts.
            await conn.execute("SELECT 1")
        return await prepared.fetch(*args)

    def drop(self) -> None:
        """Give the connection up: the next use opens another."""
        if self._conn is not None:
            self._conn.terminate()
        self._conn = None

    async def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None and not conn.is_closed():
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await conn.close(timeout=_CLOSE_WITHIN_S)


async def once(session: Session, statement: str, *args: Any) -> list[asyncpg.Record]:
    """Run a prepared statement; a lost connection is `Unavailable`, and is given up."""
    with _giving_up(session):
        return await session.fetch(statement, *args)


async def using(session: Session, work: Callable[[Connection], Awaitable[R]]) -> R:
    """Do `work` on the session's connection; a lost one is `Unavailable`, and is given up."""
    with _giving_up(session):
        return await work(await session.conn())


@contextmanager
def _giving_up(session: Session) -> Iterator[None]:
    """Give a connection up that did not answer: it may never do so, and not say that it is gone."""
    try:
        with translating():
            yield
    except Unavailable as away:
        if not may_repeat(away):
            session.drop()
        raise


async def patiently(session: Session, statement: str, *args: Any) -> list[asyncpg.Record]:
    """Run a statement, again and again while the database cannot be used.

    It may have taken effect once already: only for statements that can tell.
    """
    attempt = 0
    while True:
        try:
            return await once(session, statement, *args)
        except Unavailable as away:
            log.warning("write_repeated", detail=away.message, attempt=attempt)
        await pause(attempt)
        attempt += 1


async def pause(attempt: int) -> None:
    """Wait before the next attempt: longer each time, never long, and not all at the same time."""
    longest = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
    await asyncio.sleep(longest * (1 + random.random()) / 2)  # noqa: S311 - jitter


def may_repeat(away: Unavailable) -> bool:
    """Whether the statement was rolled back for others' sake, and the connection is sound."""
    cause = away.__cause__
    return isinstance(cause, asyncpg.PostgresError) and cause.sqlstate in _REPEAT


def refuses_value(error: Exception) -> bool:
    """Whether PostgreSQL, or what comes before it, refuses a value of the statement."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_REFUSED_VALUE)
    if isinstance(error, UnicodeError):  # a lone surrogate
        return True
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def finds_no_part(error: Exception) -> bool:
    """Whether there is no part for a row of a run table: a check violation without a check."""
    return isinstance(error, asyncpg.CheckViolationError) and error.constraint_name is None
