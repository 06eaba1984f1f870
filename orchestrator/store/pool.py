"""Connections to PostgreSQL, and what their loss is called inside the program.

Every session is pinned to read committed and synchronous_commit = on (the fence relies on both),
and every wait has an end: connecting, acquiring, locks, statements. JSON goes in and out as text,
asyncpg's default.
"""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg
from asyncpg import Connection, Pool
from asyncpg.pool import PoolConnectionProxy

from orchestrator.domain.errors import Unavailable

# What a function of the store takes first: a session of its own, or one lent by the pool.
Conn: TypeAlias = Connection | PoolConnectionProxy

CONNECT_TIMEOUT = 5.0
ACQUIRE_TIMEOUT = 5.0
LOCK_TIMEOUT = 5.0
# The server gives up first, so that its answer says why. Short, since only this tells a connection
# on which nothing comes any more from one that is busy.
STATEMENT_TIMEOUT = 7.0
COMMAND_TIMEOUT = 9.0
CHORE_TIMEOUT = 300.0  # of a session for chores: what they drop may be a lot

_SESSION = {
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "jit": "off",
    "lock_timeout": f"{LOCK_TIMEOUT:.0f}s",
    "statement_timeout": f"{STATEMENT_TIMEOUT:.0f}s",
    "idle_in_transaction_session_timeout": "60s",
    # A session whose client's machine is gone ends, and its locks with it, within half a minute.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# The same from our side, on systems that have these options; the last also bounds in milliseconds
# how long the system goes on sending what nobody acknowledges.
_KEEP_ALIVE = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPALIVE": 10,  # macOS' name for it
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 15_000,
}

# SQLSTATEs, or their beginnings, that say "not now": connection, rights and database gone, no
# resources, shut down, cancelled by a timeout, lock not to be had, read-only standby, deadlock.
NOT_NOW = ("08", "28", "3D000", "40001", "40P01", "53", "55P03", "57", "58", "25006")
_CLOSED = "Database connection failed: Connection closed"
_IN_MESSAGE = re.compile(r"\[Errno (-?\d+)\]")


async def connect_pool(dsn: str, size: int) -> Pool:
    """Open the API's pool; it connects as needed, up to `size`. Raise `Unavailable`."""
    with translating():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,  # no background reconnecting while the database is away
            init_size=1,
            max_size=size,
            init=_keep_alive,
            reset=_leave_as_it_is,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            server_settings={**_SESSION, "application_name": "orchestrator api"},
        )
    assert pool is not None  # noqa: S101 - None only of a pool that was closed already
    return pool


async def connect(
    dsn: str, *, application_name: str, statement_timeout: float | None = None
) -> Connection:
    """Open a session of its own, for few statements used often; raise `Unavailable`."""
    longer = 0.0 if statement_timeout is None else statement_timeout - STATEMENT_TIMEOUT
    settings = {
        **_SESSION,
        "statement_timeout": f"{STATEMENT_TIMEOUT + longer:.0f}s",
        "application_name": application_name,
        # The journal's statements are few and large: planning them anew costs more than it gains.
        "plan_cache_mode": "force_generic_plan",
    }
    with translating():
        conn = await asyncpg.connect(
            dsn,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT + longer,
            server_settings=settings,
        )
    await _keep_alive(conn)
    return conn


@asynccontextmanager
async def acquire(pool: Pool) -> AsyncIterator[PoolConnectionProxy]:
    """Lend a connection of the pool; its loss, or none being free in time, is `Unavailable`.

    One that does not answer is not lent again, nor are those that were opened before: what cut it
    off without a word may have cut them off too, and each would cost somebody the same wait.
    """
    with translating():
        try:
            conn = await pool.acquire(timeout=ACQUIRE_TIMEOUT)
        except TimeoutError as error:
            if pool.get_size() < pool.get_max_size():
                raise  # it was busy connecting
            raise Unavailable("Database connections are all in use") from error
        with _cancellation_kept():
            try:
                yield conn
            except TimeoutError:
                conn.terminate()
                await pool.expire_connections()
                raise
            finally:
                await pool.release(conn)


@contextmanager
def _cancellation_kept() -> Iterator[None]:
    """Raise the cancellation that came meanwhile instead of an error of cleaning up after it.

    On a line that is silent, giving a connection back fails; as an error like any other that would
    be waited out by whoever waits for the database, and the cancelled task would never end.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except Exception as error:
        if task and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise


@contextmanager
def translating() -> Iterator[None]:
    """Turn what asyncpg raises while the database cannot be used into `Unavailable`."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(NOT_NOW):
            raise
        raise Unavailable(f"Database unavailable: {error.args[0]}") from error
    except asyncpg.InterfaceError as error:
        if not _connection_is_gone(error):
            raise
        raise Unavailable(_CLOSED) from error
    except asyncpg.InternalClientError as error:
        # asyncpg has lost the thread: the server's last words are read and its hanging up is not
        # yet, or an answer is still to come to somebody who gave up waiting for it.
        raise Unavailable(_CLOSED) from error
    except OSError as error:  # TimeoutError is one
        raise Unavailable(f"Database connection failed: {reason(error)}") from error


def reason(error: OSError) -> str:
    """Say why a connection failed, in the system's words: without addresses, names or secrets."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "Timeout"
    if isinstance(error, ssl.SSLError | socket.gaierror):
        return str(error.args[-1]) if error.args else type(error).__name__
    if error.errno is not None:
        return os.strerror(error.errno)
    if "rejected SSL" in str(error):
        return "it does not speak TLS, or is not PostgreSQL"
    # asyncpg tried several addresses and put its findings into one text.
    numbers = {int(n) for n in _IN_MESSAGE.findall(str(error))}
    return ", ".join(os.strerror(n) for n in sorted(numbers)) or "Connection failed"


def _connection_is_gone(error: asyncpg.InterfaceError) -> bool:
    """Whether it tells of a closed connection or pool: else it tells of a fault of ours."""
    return not isinstance(error, ValueError) and "clos" in str(error)


async def _keep_alive(conn: Conn) -> None:
    """Have the system find out by itself that a session's server is gone without a word."""
    # asyncpg has no option for it, and its types do not know what has the socket.
    used = conn._transport.get_extra_info("socket")  # type: ignore[union-attr]  # noqa: SLF001
    if used is None or used.family == getattr(socket, "AF_UNIX", None):
        return
    with socket.socket(fileno=os.dup(used.fileno())) as same:  # uvloop's stands for one
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if (option := getattr(socket, name, None)) is not None:
                same.setsockopt(socket.IPPROTO_TCP, option, value)


async def _leave_as_it_is(_: Connection) -> None:
    """Spare a round trip at each release: nobody changes a pooled session's state."""
