"""The PostgreSQL that is brought along: nothing to install, nothing to configure.

It listens on a unix socket in a private folder only, dies with its parent, and is started again
if it dies alone. `docs/adr/0003-embedded-postgresql.md` says why it is built like this.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

import structlog

from orchestrator.domain.errors import Misconfigured
from orchestrator.store import postmaster, programs
from orchestrator.store.folder import make
from orchestrator.store.postmaster import Place, Postmaster, StillDying
from orchestrator.store.programs import Account

# A killed predecessor may still be dying.
WAIT = 10.0
_TICK = 0.05
_PORT = 5432  # names the socket; nobody listens on it
_LONGEST_SOCKET = 107
_LOG_LIMIT = 4 * 2**20
_MAJOR_WITH_IO_METHOD = 18

log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(folder) as pg`: a server on `folder`, at `pg.dsn`.

    Enter it from the program's main thread (see `postmaster`). Entering raises `Misconfigured`, in
    one line: the folder cannot be used or is in use, its data is of another PostgreSQL, there are
    no programs, the server does not start. `fsync=False` is for tests.
    """

    def __init__(self, folder: Path, pg_bin: Path | None = None, *, fsync: bool = True) -> None:
        self._folder = folder.absolute()
        self._pg_bin = pg_bin
        self._fsync = fsync
        self._open = AsyncExitStack()
        self.dsn = ""
        self.pid: int | None = None

    async def __aenter__(self) -> Self:
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            with _usable(self._folder):
                home, account = _prepare(self._folder)
                await stack.enter_async_context(_locked(self._folder / "orchestrator.lock"))
                place = await self._place(home, account)
                server = Postmaster(place, _settings(place, fsync=self._fsync))
                stack.push_async_callback(server.stop)
                await _start(server, place)
            group = await asyncio.TaskGroup().__aenter__()
            # Not as a context of the stack: it would wrap what the caller's block raises.
            stack.push_async_callback(group.__aexit__, None, None, None)
            watch = group.create_task(self._watch(server, place))
            stack.callback(watch.cancel)
            self.pid = server.pid
            self.dsn = f"postgresql://postgres@/postgres?host={quote(str(place.sockets))}"
            log.info(
                "embedded_postgresql_started",
                folder=str(self._folder),
                version=place.programs.major,
                seconds=round(time.monotonic() - began, 3),
            )
            self._open = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.__aexit__(kind, error, trace)
        log.info("embedded_postgresql_stopped")

    async def _place(self, home: Path, account: Account | None) -> Place:
        """Find or make everything that a server needs."""
        found = await programs.provide(self._pg_bin, home, account)
        place = Place(found, account, home / "data", _sockets(home, account), home / "server.log")
        await postmaster.end_predecessor(place.data, WAIT)
        if not place.data.exists():
            await _make_data(place, fsync=self._fsync)
        made_by = (place.data / "PG_VERSION").read_text().strip()
        if made_by != str(found.major):
            raise Misconfigured(
                f"the data folder {self._folder} holds data of PostgreSQL {made_by}, the program"
                f" brings {found.major}: set ORCHESTRATOR_PG_BIN to the programs of {made_by}, or"
                " ORCHESTRATOR_DATA_DIR to another folder"
            )
        return place

    async def _watch(self, server: Postmaster, place: Place) -> None:
        """Start the server again when it dies; keep its log bounded."""
        while True:
            await asyncio.sleep(5 * _TICK)
            if (code := server.died()) is not None:
                log.error("embedded_postgresql_died", exit_code=code, see=str(place.log))
                await _start_again(server)
                self.pid = server.pid
                log.info("embedded_postgresql_restarted")
            if place.log.stat().st_size > _LOG_LIMIT:
                os.truncate(place.log, 0)  # the server appends: it goes on at the new end


async def _start(server: Postmaster, place: Place) -> None:
    if place.log.exists() and place.log.stat().st_size > _LOG_LIMIT // 4:
        place.log.rename(place.log.with_suffix(".log.1"))
    give_up = time.monotonic() + WAIT
    while True:
        try:
            return await server.start()
        except StillDying:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(_TICK)


async def _start_again(server: Postmaster) -> None:
    pause = _TICK
    while True:
        try:
            return await server.start()
        except Misconfigured as error:  # e.g. a full disk: it may be mended
            log.error("embedded_postgresql_not_restarted", reason=error.message)  # noqa: TRY400
            await asyncio.sleep(pause)
            pause = min(2 * pause, 5.0)


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    """Say what to do about a folder that refuses."""
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"the data folder {folder} cannot be used ({error.strerror}: {error.filename}):"
            " set ORCHESTRATOR_DATA_DIR to one that may be written"
        ) from error


def _prepare(folder: Path) -> tuple[Path, Account | None]:
    """Make the folders: ours, and in it the server's, which is its account's alone."""
    home = folder / "postgres"
    account = programs.account_for(home / "data")
    make(folder)
    home.mkdir(exist_ok=True)
    if account and home.stat().st_uid != account.uid:
        os.chown(home, account.uid, account.gid)
    home.chmod(0o700)
    if account and (barrier := _barrier(home, account)):
        raise Misconfigured(
            f"as root the database runs as the user {account.name}, who cannot get through"
            f" {barrier} to the data folder {folder}: set ORCHESTRATOR_DATA_DIR to a folder"
            " outside, e.g. /var/lib/orchestrator"
        )
    return home, account


def _barrier(home: Path, account: Account) -> Path | None:
    """Return the topmost folder above `home` that `account` may not pass."""
    for path in reversed(home.resolve().parents):
        state = path.stat()
        if state.st_uid == account.uid:
            passes = state.st_mode & stat.S_IXUSR
        elif state.st_gid == account.gid:
            passes = state.st_mode & stat.S_IXGRP
        else:
            passes = state.st_mode & stat.S_IXOTH
        if not passes:
            return path
    return None


@asynccontextmanager
async def _locked(file: Path) -> AsyncIterator[None]:
    """Hold the folder's lock; a process that dies loses it at once."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+") as lock:
        await _take(lock, file.parent)
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


async def _take(lock: IO[str], folder: Path) -> None:
    give_up = time.monotonic() + WAIT
    waiting = False
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
        if not waiting:
            waiting = True
            log.info("data_folder_in_use_waiting", folder=str(folder), pid=pid, seconds=WAIT)
        if time.monotonic() > give_up:
            raise Misconfigured(
                f"the data folder {folder} is in use by another orchestrator (pid {pid}):"
                " stop it, or set ORCHESTRATOR_DATA_DIR"
            )
        await asyncio.sleep(_TICK)


def _sockets(home: Path, account: Account | None) -> Path:
    """Return the private folder of the socket: `home`, unless the socket's path is too long."""
    if len(os.fsencode(home / f".s.PGSQL.{_PORT}")) <= _LONGEST_SOCKET:
        return home
    owner = account.uid if account else os.geteuid()
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"orchestrator-{owner}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if account and folder.lstat().st_uid == os.geteuid():
        os.chown(folder, account.uid, account.gid)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != owner or state.st_mode & 0o077:
        raise Misconfigured(
            f"{folder} belongs to someone else: remove it, or set ORCHESTRATOR_DATA_DIR to a"
            " shorter path"
        )
    return folder


async def _make_data(place: Place, *, fsync: bool) -> None:
    """Make the database's files; a folder `data` is always a whole one."""
    unfinished = place.data.with_name("data.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    args = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    args += ["--no-instructions", *([] if fsync else ["--no-sync"])]
    making = postmaster.spawn(
        [place.programs.bin / "initdb", f"--pgdata={unfinished}", *args],
        place,
        signal.SIGKILL,
    )
    try:
        failed = await postmaster.ended(making)
    finally:
        making.kill()  # does nothing unless we were cancelled
        making.wait()
    if failed:
        raise Misconfigured(f"the database could not be made in {place.data}: see {place.log}")
    unfinished.rename(place.data)


def _settings(place: Place, *, fsync: bool) -> Mapping[str, str]:
    settings = {
        "cluster_name": postmaster.CLUSTER,
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": str(place.sockets),
        "unix_socket_permissions": "0700",
        "fsync": "on" if fsync else "off",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "wal_level": "minimal",  # nobody replicates it
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",
        "max_wal_size": "1GB",
        # No parallel plans: they need /dev/shm, which containers keep small.
        "max_parallel_workers_per_gather": "0",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # Starts, stops and crashes; failed statements are reported by whoever sent them.
        "log_min_messages": "log",
        "log_checkpoints": "off",
        "logging_collector": "off",
    }
    if place.programs.major >= _MAJOR_WITH_IO_METHOD:
        settings["io_method"] = "sync"  # no extra processes
    return settings
