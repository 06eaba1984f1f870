"""The feed's lock: one embedded process or many with Kafka, and a lost session is noticed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import pytest
from asyncpg import Connection

from orchestrator.domain.errors import Misconfigured
from orchestrator.store import lock as locks
from orchestrator.store import pool as pools
from orchestrator.store.lock import OwnerLock

pytestmark = pytest.mark.integration
Connect = Callable[[], Awaitable[Connection]]
HOLDERS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 3"


@pytest.fixture
def own(dsn: str) -> Connect:
    """Open sessions as the lock does."""
    return lambda: pools.connect(dsn, application_name="lock")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAIT", 0.2)


async def refusal(lock: OwnerLock) -> str:
    with pytest.raises(Misconfigured) as refused:
        async with lock:
            pytest.fail("it was not to be had")
    return refused.value.message


@asynccontextmanager
async def link(path: str) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Stand between a client and the server's socket; the event set, nothing passes any more."""
    cut = asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if cut.is_set():
                await asyncio.Event().wait()
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_unix_connection(path)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(pump(reader, there))
                group.create_task(pump(there_reader, writer))
        finally:
            writer.close()
            there.close()

    handlers: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        handlers.add(task)
        with suppress(asyncio.CancelledError):
            await serve(reader, writer)

    server = await asyncio.start_server(tracked, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], cut
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.wait(handlers)


@pytest.mark.usefixtures("impatient")
async def test_the_embedded_feed_serves_alone(own: Connect) -> None:
    async with OwnerLock(own, uuid4(), exclusive=True):
        exclusive = await refusal(OwnerLock(own, uuid4(), exclusive=True))
        shared = await refusal(OwnerLock(own, uuid4(), exclusive=False))

    assert exclusive == (
        "another orchestrator already serves this database; to share it among processes,"
        " configure Kafka (ORCHESTRATOR_KAFKA_BOOTSTRAP_SERVERS), else stop the other one"
    )
    assert "an orchestrator without Kafka already serves this database" in shared
    async with OwnerLock(own, uuid4(), exclusive=True):
        pass


@pytest.mark.usefixtures("impatient")
async def test_kafka_processes_share(own: Connect) -> None:
    async with OwnerLock(own, uuid4(), exclusive=False), OwnerLock(own, uuid4(), exclusive=False):
        assert "another orchestrator" in await refusal(OwnerLock(own, uuid4(), exclusive=True))


async def test_a_start_waits_for_a_predecessor_that_is_dying(own: Connect) -> None:
    lock = OwnerLock(own, uuid4(), exclusive=True)

    async def start() -> None:
        async with OwnerLock(own, uuid4(), exclusive=True):
            pass

    async with asyncio.timeout(8), asyncio.TaskGroup() as group, lock:
        successor = group.create_task(start())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(successor), 0.3)


async def test_a_session_that_ends_is_noticed_and_the_lock_taken_again(
    own: Connect, conn: Connection
) -> None:
    async with OwnerLock(own, uuid4(), exclusive=True) as lock:
        assert not lock.lost.is_set()
        first = await conn.fetchval(HOLDERS)
        await conn.fetchval("SELECT pg_terminate_backend($1)", first)

        await asyncio.wait_for(lock.lost.wait(), 5)
        await lock.retake()

        assert not lock.lost.is_set()
        second = await conn.fetchval(HOLDERS)
        assert second not in (None, first)
        await conn.fetchval("SELECT pg_terminate_backend($1)", second)
        await asyncio.wait_for(lock.lost.wait(), 5)  # the new session is watched too


@pytest.mark.usefixtures("impatient")
async def test_a_lock_that_another_took_meanwhile_is_refused(
    own: Connect, conn: Connection
) -> None:
    async with OwnerLock(own, uuid4(), exclusive=True) as lock:
        await conn.fetchval("SELECT pg_terminate_backend($1)", await conn.fetchval(HOLDERS))
        await asyncio.wait_for(lock.lost.wait(), 5)
        async with OwnerLock(own, uuid4(), exclusive=True):
            with pytest.raises(Misconfigured, match="another orchestrator"):
                await lock.retake()


async def test_a_line_cut_without_a_word_is_noticed_and_our_old_session_ended(
    dsn: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server still thinks that the old session lives, and that it holds the lock."""
    monkeypatch.setattr(locks, "_LOOK_EVERY", 0.1)
    monkeypatch.setattr(pools, "LOCK_TIMEOUT", 1)
    path = dsn.partition("host=")[2] + "/.s.PGSQL.5432"
    database = dsn.partition("@/")[2].partition("?")[0]
    async with link(path) as (port, cut):
        through = f"postgresql://postgres@127.0.0.1:{port}/{database}?sslmode=disable"
        places = iter([through])

        def connect() -> Awaitable[Connection]:
            return pools.connect(next(places, dsn), application_name="lock")

        async with OwnerLock(connect, uuid4(), exclusive=True) as lock:
            old = await conn.fetchval(HOLDERS)
            cut.set()
            await asyncio.wait_for(lock.lost.wait(), 5)
            assert await conn.fetchval(HOLDERS) == old

            async with asyncio.timeout(5):
                await lock.retake()

            assert await conn.fetchval(HOLDERS) not in (None, old)


async def test_a_retake_waits_for_the_database(
    own: Connect, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_LONGEST_PAUSE", 0.05)
    asked = asyncio.Event()
    away = [True]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"postgresql://x@127.0.0.1:{closed.getsockname()[1]}/x"

        def connect() -> Awaitable[Connection]:
            asked.set()
            return pools.connect(nobody, application_name="lock") if away[0] else own()

        away[0] = False
        async with OwnerLock(connect, uuid4(), exclusive=True) as lock:
            away[0] = True
            await conn.fetchval("SELECT pg_terminate_backend($1)", await conn.fetchval(HOLDERS))
            await asyncio.wait_for(lock.lost.wait(), 5)
            asked.clear()
            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                retaking = group.create_task(lock.retake())
                await asked.wait()
                assert not retaking.done()
                assert lock.lost.is_set()
                away[0] = False

            assert not lock.lost.is_set()
            assert await conn.fetchval(HOLDERS)


async def test_leaving_gives_the_lock_up_and_raises_what_the_block_raised(
    own: Connect, conn: Connection
) -> None:
    with pytest.raises(LookupError):
        async with OwnerLock(own, uuid4(), exclusive=True):
            raise LookupError

    async with asyncio.timeout(5):
        while await conn.fetchval(HOLDERS):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_deployment_is_known_by_an_id(conn: Connection) -> None:
    found = await locks.deployment_id(conn)

    assert isinstance(found, UUID)
    assert await locks.deployment_id(conn) == found
