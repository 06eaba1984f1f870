"""A PostgreSQL of our own that can be killed, stopped and started again on the same data.

It listens on a unix socket in its folder only; `proxy.Proxy` leads there over TCP.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.stack import child
from bench.stack.failure import StackFailed
from orchestrator.store import programs

START_S = 60.0
_STOP_S = 20.0
_TICK = 0.02
# The processes are killed, the machine is not: what the server wrote is there without fsync.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "",
    "max_wal_size": "2GB",
}


class Postgres:
    """`async with Postgres(settings) as server`: at `server.dsn`; its data goes with the block.

    Enter it in the main thread (see `child`).
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, parent: Path | None = None
    ) -> None:
        self._parent = parent
        self._settings = SETTINGS | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        # As root, where the server's own user can reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="bench-pg-", dir=self._parent))
        self._data = self.folder / "data"
        self.log = self.folder / "server.log"
        account = programs.account_for(self._data)
        self._become: Mapping[str, Any] = account.popen if account else {}
        if account:
            os.chown(self.folder, account.uid, account.gid)
        self._bin = (await programs.provide(None, self.folder, account)).bin
        make: list[str | Path] = [
            self._bin / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "--auth=trust",
        ]
        make += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        making = child.spawn(make, self.log, programs.ENVIRONMENT, account=self._become)
        if await asyncio.to_thread(making.wait, START_S):
            raise StackFailed(f"PostgreSQL could not be made\n{child.tail(self.log)}")
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    @property
    def dsn(self) -> str:
        """The address of its database, for whoever is not to be cut off."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    @property
    def is_up(self) -> bool:
        """Whether the server's first process is there."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start it, again if need be; return when it takes connections."""
        options = {**self._settings, "unix_socket_directories": str(self.folder)}
        serve: list[str | Path] = [self._bin / "postgres", "-D", self._data]
        command: list[str | Path] = [
            *serve,
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        deadline = time.monotonic() + START_S
        while True:
            # SIGQUIT: its children go with it.
            process = child.spawn(
                command,
                self.log,
                programs.ENVIRONMENT,
                death=signal.SIGQUIT,
                account=self._become,
            )
            self._process = process
            while process.poll() is None and time.monotonic() < deadline:
                if self._is_ready(process.pid):
                    return
                await asyncio.sleep(_TICK)
            # Children of a killed server may still hold its memory.
            if time.monotonic() > deadline:
                raise StackFailed(f"PostgreSQL did not start\n{child.tail(self.log)}")
            await asyncio.sleep(_TICK)

    def kill(self) -> None:
        """End it with SIGKILL; its children notice and end too."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT in order (clients are cut off), SIGQUIT at once."""
        assert self._process is not None  # noqa: S101 - it was started
        self._process.send_signal(how)
        await asyncio.to_thread(self._process.wait, _STOP_S)

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return bool(lines) and lines[0] == str(pid) and lines[-1].strip() == "ready"
