"""A session: one connection that is given up when it does not answer, and opened anew."""

import asyncio

import asyncpg
import pytest
from asyncpg import Connection

from bench.stack.proxy import Proxy
from orchestrator.domain.errors import Unavailable
from orchestrator.store import pool as pools
from orchestrator.store.session import Session, once, patiently, using
from tests.integration.store.stage import Stage

pytestmark = pytest.mark.integration

ONE = "SELECT 1"
BACKEND = "SELECT pg_backend_pid()"


async def backend(conn: Connection) -> int:
    return int(await conn.fetchval(BACKEND))


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_connection_that_does_not_answer_is_given_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch, *, prepared: bool
) -> None:
    monkeypatch.setattr(pools, "COMMAND_TIMEOUT", 0.2)
    async with Proxy(dsn) as proxy:
        session = Session(Stage(proxy.dsn).connect)
        await once(session, ONE)
        proxy.swallow_requests()

        with pytest.raises(Unavailable):
            await (once(session, ONE) if prepared else using(session, backend))
        proxy.pass_new()

        async with asyncio.timeout(5):
            assert await using(session, backend) > 0  # not on the one that is silent
        await session.close()


async def test_a_statement_that_was_rolled_back_for_others_keeps_its_connection(
    stage: Stage,
) -> None:
    session = Session(stage.connect)
    before = await using(session, backend)

    async def wait_for_a_lock(conn: Connection) -> None:
        async with conn.transaction():
            await conn.execute("SET LOCAL lock_timeout = '20ms'")
            await conn.execute("SELECT FROM deployment FOR UPDATE")

    async with stage.conn.transaction():
        await stage.conn.execute("SELECT FROM deployment FOR UPDATE")
        with pytest.raises(Unavailable):
            await using(session, wait_for_a_lock)

    assert await using(session, backend) == before
    await session.close()


async def test_statements_are_prepared_anew_on_a_new_connection(stage: Stage) -> None:
    session = Session(stage.connect)
    (first,) = await once(session, BACKEND)
    await stage.conn.execute("SELECT pg_terminate_backend($1)", first[0])

    (second,) = await patiently(session, BACKEND)

    assert second[0] != first[0]
    await session.close()


async def test_a_server_that_has_said_farewell_is_gone_before_it_hangs_up(dsn: str) -> None:
    async with Proxy(dsn) as proxy:
        session = Session(Stage(proxy.dsn).connect)
        before = await using(session, backend)
        proxy.say_farewell()
        for _ in range(20):  # the loop looks at its sockets, and the words are read
            await asyncio.sleep(0)

        with pytest.raises(Unavailable):
            await once(session, ONE)

        assert await using(session, backend) != before
        await session.close()


async def test_a_fault_of_ours_is_raised_as_it_is(stage: Stage) -> None:
    session = Session(stage.connect)

    with pytest.raises(asyncpg.UndefinedColumnError):
        await patiently(session, "SELECT no_such_column")

    await session.close()
