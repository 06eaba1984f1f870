"""A database with sixty daily parts on each supported server, shared by the tests that need one."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from orchestrator.store import parts
from tests.integration.conftest import Server, in_thread
from tests.integration.store.stage import Stage

DAYS = 60


@pytest.fixture(scope="session", params=["server", "server_15"])
def wide_dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make a migrated database with many parts; its tests use runs of their own."""
    server: Server = request.getfixturevalue(request.param)
    name = server.create()
    in_thread(_make_parts(server.dsn(name)))
    yield server.dsn(name)
    server.drop(name)


async def _make_parts(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await parts.ensure(conn, days_ahead=DAYS)
    await conn.close()


@pytest.fixture
async def wide(wide_dsn: str) -> AsyncIterator[Stage]:
    """Set the stage on the database with many parts."""
    stage = await Stage(wide_dsn).open()
    yield stage
    await stage.close()


@pytest.fixture
async def stage(each_dsn: str) -> AsyncIterator[Stage]:
    """Set the stage on a database of its own."""
    stage = await Stage(each_dsn).open()
    yield stage
    await stage.close()
