"""Connections: pinned sessions, JSON as text, losses under one name and without secrets."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
import uvloop
from asyncpg import Connection, Pool

from bench.stack.proxy import Proxy
from orchestrator.domain.errors import Unavailable
from orchestrator.store import pool as pools
from tests.integration.conftest import in_thread

pytestmark = pytest.mark.integration
SESSION = """SELECT current_setting('transaction_isolation') AS isolation,
  current_setting('synchronous_commit') AS synchronous, current_setting('TimeZone') AS zone,
  current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
  current_setting('jit') AS jit, current_setting('application_name') AS name"""
END_OTHERS = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@pytest.fixture
async def loose(dsn: str) -> AsyncIterator[Connection]:
    """Open a session on a database that is set up otherwise, as an operator may have done."""
    conn = await asyncpg.connect(dsn)
    name = await conn.fetchval("SELECT current_database()")
    await conn.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    await conn.execute(f"ALTER DATABASE {name} SET synchronous_commit = 'off'")
    await conn.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'")
    yield conn
    await conn.close()


@pytest.mark.usefixtures("loose")
async def test_sessions_are_pinned_whatever_the_database_says(dsn: str) -> None:
    single = await pools.connect(dsn, application_name="orchestrator journal")
    pool = await pools.connect_pool(dsn, 2)

    of_single = await single.fetchrow(SESSION)
    async with pools.acquire(pool) as conn:
        of_pool = await conn.fetchrow(SESSION)

    pinned = ("read committed", "on", "UTC", "7s", "5s", "off")
    assert of_single is not None
    assert of_pool is not None
    assert tuple(of_single) == (*pinned, "orchestrator journal")
    assert tuple(of_pool) == (*pinned, "orchestrator api")
    assert await single.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
    await single.close()
    await pool.close()


async def test_json_goes_in_and_out_as_text(conn: Connection) -> None:
    text = '{"b": 1,   "a": [1.0, "ü"]}'

    assert await conn.fetchval("SELECT $1::json", text) == text


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dsn = f"postgresql://user:s3cret@127.0.0.1:{closed.getsockname()[1]}/db"

        with pytest.raises(Unavailable) as single:
            await pools.connect(dsn, application_name="x")
        with pytest.raises(Unavailable) as pooled:
            _ = await pools.connect_pool(dsn, 2)

    assert single.value.message == "Database connection failed: Connection refused"
    assert pooled.value.message == "Database connection failed: Connection refused"


async def test_a_host_with_two_addresses_gives_one_reason() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dsn = f"postgresql://user:s3cret@localhost,127.0.0.1:{closed.getsockname()[1]}/db"

        with pytest.raises(Unavailable) as refused:
            await pools.connect(dsn, application_name="x")

    assert refused.value.message == "Database connection failed: Connection refused"


async def test_an_unknown_host_is_unavailable() -> None:
    with pytest.raises(Unavailable) as unknown:
        await pools.connect("postgresql://user:s3cret@nowhere.invalid/db", application_name="x")

    assert "s3cret" not in unknown.value.message
    assert "nowhere" not in unknown.value.message


async def test_a_server_that_does_not_answer_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "CONNECT_TIMEOUT", 0.1)
    mute = socket.create_server(("127.0.0.1", 0))
    dsn = f"postgresql://user@127.0.0.1:{mute.getsockname()[1]}/db"
    with mute, pytest.raises(Unavailable) as silent:
        await pools.connect(dsn, application_name="x")

    assert silent.value.message == "Database connection failed: Timeout"


async def test_a_database_that_went_away_is_unavailable(dsn: str) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        await pools.connect(dsn.replace("/test_", "/gone_"), application_name="x")


async def test_a_session_ended_in_the_middle_is_unavailable_and_the_pool_goes_on(
    pool: Pool, conn: Connection
) -> None:
    async def interrupted() -> None:
        async with pools.acquire(pool) as lent:
            await lent.fetchval("SELECT pg_sleep(30)")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(expect_unavailable(interrupted()))
        while not await conn.fetchval(  # noqa: ASYNC110
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        ):
            await asyncio.sleep(0.01)
        await conn.fetchval(END_OTHERS)

    assert task.result().startswith("Database unavailable: ")
    assert "terminating connection due to administrator command" in task.result()
    async with pools.acquire(pool) as lent:
        assert await lent.fetchval("SELECT 1") == 1


async def expect_unavailable(work: Awaitable[None]) -> str:
    with pytest.raises(Unavailable) as away:
        await work
    return away.value.message


async def test_a_session_ended_while_idle_costs_at_most_one_call(
    pool: Pool, conn: Connection
) -> None:
    async with pools.acquire(pool) as lent:
        first = lent.get_server_pid()
    await conn.fetchval(END_OTHERS)

    for _ in range(2):
        try:
            async with pools.acquire(pool) as lent:
                assert await lent.fetchval("SELECT pg_backend_pid()") != first
                break
        except Unavailable:
            continue
    else:
        pytest.fail("the pool did not recover")


async def test_a_use_after_the_loss_is_unavailable(dsn: str) -> None:
    conn = await pools.connect(dsn, application_name="x")
    conn.terminate()

    with pytest.raises(Unavailable) as closed, pools.translating():
        await conn.fetchval("SELECT 1")

    assert closed.value.message == "Database connection failed: Connection closed"


def test_the_system_looks_after_connections_on_both_sides(dsn: str) -> None:
    async def options(conn: Any) -> tuple[int, ...]:
        used = conn._transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(used.fileno())) as same:
            on = same.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            sent = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        return on, idle, sent

    async def look() -> set[tuple[int, ...]]:
        async with Proxy(dsn) as proxy:
            conn = await pools.connect(proxy.dsn, application_name="x")
            pool = await pools.connect_pool(proxy.dsn, 2)
            async with pools.acquire(pool) as lent:
                found = {await options(conn), await options(lent)}
            await conn.close()
            await pool.close()
        return found

    assert in_thread(look()) == {(1, 10, 15_000)}
    with ThreadPoolExecutor(1) as thread:  # the program's loop has sockets of its own kind
        assert thread.submit(uvloop.run, look()).result() == {(1, 10, 15_000)}


async def test_waiting_for_a_free_connection_has_an_end(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "ACQUIRE_TIMEOUT", 0.05)
    pool = await pools.connect_pool(dsn, 1)
    async with pools.acquire(pool):
        with pytest.raises(Unavailable) as busy:
            async with pools.acquire(pool):
                pytest.fail("there is only one")

    assert busy.value.message == "Database connections are all in use"
    await pool.close()


async def test_a_connection_that_does_not_answer_is_the_last_of_its_age_to_be_tried(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "COMMAND_TIMEOUT", 0.3)
    async with Proxy(dsn) as proxy:
        pool = await pools.connect_pool(proxy.dsn, 5)
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(pools.acquire(pool))
        proxy.swallow_answers()
        proxy.pass_new()

        began = time.monotonic()
        with pytest.raises(Unavailable):
            async with pools.acquire(pool) as lent:
                await lent.fetchval("SELECT 1")
        given_up_s = time.monotonic() - began
        for _ in range(5):
            async with pools.acquire(pool) as lent:
                assert await lent.fetchval("SELECT 1") == 1

        assert given_up_s < 3  # and not for as long as it takes to be sure that it is gone
        pool.terminate()


async def test_a_fault_of_ours_stays_what_it_is(conn: Connection) -> None:
    with pytest.raises(asyncpg.UndefinedTableError), pools.translating():
        await conn.fetch("SELECT * FROM nowhere")
    with pytest.raises(asyncpg.DataError), pools.translating():
        await conn.fetch("SELECT $1::int", "no number")
    with pytest.raises(asyncpg.InterfaceError), pools.translating():
        await conn.fetch("SELECT $1::int")
    with pytest.raises(asyncpg.UniqueViolationError), pools.translating():
        await conn.execute("INSERT INTO deployment DEFAULT VALUES")


async def test_a_statement_that_takes_too_long_is_unavailable(conn: Connection) -> None:
    await conn.execute("SET statement_timeout = '20ms'")

    with pytest.raises(Unavailable, match="statement timeout"), pools.translating():
        await conn.fetchval("SELECT pg_sleep(30)")


async def test_a_block_left_by_an_error_leaves_no_transaction_behind(
    pool: Pool, conn: Connection
) -> None:
    async def interrupted() -> None:
        async with pools.acquire(pool) as lent:
            await lent.execute("BEGIN")
            await lent.execute("DELETE FROM deployment")
            raise LookupError

    with pytest.raises(LookupError):
        await interrupted()

    async with pools.acquire(pool) as lent:
        assert not lent.is_in_transaction()
    assert await conn.fetchval("SELECT count(*) FROM deployment") == 1


async def test_a_cancellation_stays_one_on_a_line_that_is_silent(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "ACQUIRE_TIMEOUT", 0.2)
    async with Proxy(dsn) as proxy:
        pool = await pools.connect_pool(proxy.dsn, 2)
        asked = asyncio.Event()

        async def ask() -> None:
            async with pools.acquire(pool) as conn:
                await conn.fetchval("SELECT 1")
                proxy.swallow_requests()
                asked.set()
                await conn.fetchval("SELECT 2")

        asking = asyncio.create_task(ask())
        await asked.wait()
        await proxy.swallowed.wait()
        asking.cancel()
        await asyncio.wait([asking], timeout=5)

        assert asking.cancelled()
        pool.terminate()
