"""A real PostgreSQL for the session, and a fresh migrated database for each test that asks.

The wheel's 18 unless TEST_PG_BIN names another folder of programs; `dsn_15` is on Debian's 15. The
server and the databases are made outside any event loop, so that tests of any scope can use them.
"""

import asyncio
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from asyncpg import Connection, Pool

from orchestrator.store import migrate, parts, programs
from orchestrator.store import pool as pools

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "",
    "max_wal_size": "4GB",
    "autovacuum_naptime": "10s",
}


def in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in an event loop of its own, whatever loop is current here."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG, after the change of user


class Server:
    """A throwaway PostgreSQL that dies with this process."""

    def __init__(self, pg_bin: Path | None) -> None:
        # Not pytest's tmp_path: as root it cannot be reached by the server's user.
        self.folder = Path(tempfile.mkdtemp(prefix="orch-pg-"))
        self._numbers = itertools.count()
        become: Mapping[str, Any] = {}
        if account := programs.account_for(self.folder / "data"):
            become = account.popen
            os.chown(self.folder, account.uid, account.gid)
        found = in_thread(programs.provide(pg_bin, self.folder, account)).bin
        data = self.folder / "data"
        make = [found / "initdb", "-D", data, "-U", "postgres", "--auth=trust"]
        make += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        subprocess.run([*map(str, make)], **become, cwd="/", check=True, stdout=subprocess.DEVNULL)
        options = {**SETTINGS, "unix_socket_directories": str(self.folder)}
        serve = [found / "postgres", "-D", data]
        with (self.folder / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*map(str, serve), *(f"--{name}={value}" for name, value in options.items())],
                **become,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads yet
                cwd="/",
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        self._wait()
        in_thread(self._make_template())

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            try:
                if "ready" in (self.folder / "data" / "postmaster.pid").read_text():
                    return
            except FileNotFoundError:
                pass
            time.sleep(0.01)
        raise TimeoutError((self.folder / "server.log").read_text())

    def dsn(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    async def _make_template(self) -> None:
        await self._admin("CREATE DATABASE migrated")
        await migrate.migrate(self.dsn("migrated"))
        conn = await asyncpg.connect(self.dsn("migrated"))
        await parts.ensure(conn, days_ahead=1)
        await conn.close()

    async def _admin(self, statement: str) -> None:
        conn = await asyncpg.connect(self.dsn("postgres"))
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    def create(self, template: str = "migrated") -> str:
        """Make a database; return its name."""
        name = f"test_{next(self._numbers)}"
        in_thread(self._admin(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
        return name

    def drop(self, database: str) -> None:
        in_thread(self._admin(f"DROP DATABASE {database} WITH (FORCE)"))

    def close(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(10)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Start the session's PostgreSQL."""
    chosen = os.environ.get("TEST_PG_BIN")
    server = Server(Path(chosen) if chosen else None)
    yield server
    server.close()


@pytest.fixture(scope="session")
def server_15() -> Iterator[Server]:
    """Start the oldest PostgreSQL that is supported."""
    if not (DEBIAN_15 / "postgres").exists() and not os.environ.get("CI"):
        pytest.skip("no PostgreSQL 15: apt-get install postgresql-15")
    server = Server(DEBIAN_15)
    yield server
    server.close()


@pytest.fixture
def dsn(server: Server) -> Iterator[str]:
    """Make a fresh migrated database, with the parts of today and tomorrow."""
    name = server.create()
    yield server.dsn(name)
    server.drop(name)


@pytest.fixture
def dsn_15(server_15: Server) -> Iterator[str]:
    """Make the same on PostgreSQL 15."""
    name = server_15.create()
    yield server_15.dsn(name)
    server_15.drop(name)


@pytest.fixture(params=["dsn", "dsn_15"])
def each_dsn(request: pytest.FixtureRequest) -> str:
    """Make the same on each supported server in turn."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def empty_dsn(server: Server) -> Iterator[str]:
    """Make a fresh database with nothing in it."""
    name = server.create("template0")
    yield server.dsn(name)
    server.drop(name)


@pytest.fixture(scope="module")
def module_dsn(server: Server) -> Iterator[str]:
    """Make a migrated database that the tests of a module share."""
    name = server.create()
    yield server.dsn(name)
    server.drop(name)


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    """Open a session on `dsn`, as the program's own."""
    conn = await pools.connect(dsn, application_name="test")
    yield conn
    await conn.close()


@pytest.fixture
async def connect(dsn: str) -> AsyncIterator[Callable[[], Coroutine[Any, Any, Connection]]]:
    """Open any number of sessions on `dsn`; they are closed in the end."""
    opened: list[Connection] = []

    async def another() -> Connection:
        opened.append(await pools.connect(dsn, application_name="test"))
        return opened[-1]

    yield another
    for conn in opened:
        await conn.close(timeout=5)


@pytest.fixture
async def pool(dsn: str) -> AsyncIterator[Pool]:
    """Open a pool on `dsn`, as the API's."""
    pool = await pools.connect_pool(dsn, 5)
    yield pool
    pool.terminate()
