"""One orchestrator of the bench: a process that is started, killed, paused, and started again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from bench.stack import child
from bench.stack.failure import StackFailed
from bench.stack.proxy import Proxy
from orchestrator import failpoints

READY_S = 60.0
STOP_S = 45.0
_TICK = 0.05
_OK = 200
_UNUSABLE = 2  # the exit code for a wrong setting or a database that is not there
_NO_DATABASE = "orchestrator: no connection to the database"
_DYING_S = 10.0
_AGAIN_S = 0.5
_FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


class Process:
    """It keeps its port and its way to the database through all of its lives."""

    def __init__(
        self, number: int, folder: Path, proxy: Proxy, settings: Mapping[str, str]
    ) -> None:
        self.name = f"orchestrator-{number}"
        self.port = child.free_port()
        self.log = folder / f"{self.name}.log"
        self.proxy = proxy
        self.died: list[str] = []  # by itself, with how
        self.failpoint: str | None = None
        self.kills: Counter[str] = Counter()  # by failpoint
        self.lives = 0
        self.most_memory = 0
        self._settings = {
            "PORT": str(self.port),
            "DATA_DIR": str(folder / self.name),
            "DATABASE_URL": proxy.dsn,
            "LOG_FORMAT": "json",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._ending = False
        self._killed = False
        self._served = False
        self._environment: dict[str, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None  # noqa: S101 - it was started
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(
        self, failpoint: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it, without waiting; in the main thread (see `child`)."""
        if self._process is not None:  # a dead one, some of whose threads may still be ending
            self._process.wait(_DYING_S)
            self.look()
        self.failpoint = failpoint
        self._ending = self._killed = self._served = False
        self._environment = dict(environment or {})
        self.lives += 1
        ours = {f"ORCHESTRATOR_{name}": value for name, value in self._settings.items()}
        if failpoint is not None:
            ours[failpoints.VARIABLE] = failpoint
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
        command = [sys.executable, "-m", "orchestrator"]
        self._process = child.spawn(
            command, self.log, inherited | ours | self._environment, folder=Path.cwd()
        )

    async def ready(self, session: aiohttp.ClientSession, within: float = READY_S) -> None:
        """Return once it serves; raise `StackFailed` if it does not in time.

        Where there is no database it ends, as documented; it is then started again, as whoever
        runs it would.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{self.url}/health/ready") as answer:
                    if answer.status == _OK:
                        self._served = True
                        return
            except (aiohttp.ClientError, TimeoutError):
                if not self.is_up and self.failpoint is not None:
                    return  # it came to its failpoint before
                if self._found_no_database():
                    await asyncio.sleep(_AGAIN_S)
                    self.start(environment=self._environment)
            await asyncio.sleep(_TICK)
        raise StackFailed(f"{self.name} was not ready after {within:.0f} s\n{child.tail(self.log)}")

    def look(self) -> bool:
        """Note what it needs and whether it has died; return whether it is up."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            self.most_memory = max(self.most_memory, _peak(self.pid))
            return True
        if not self._ending and not self._found_no_database():
            self._ending = True
            if self.failpoint is not None and code == -signal.SIGKILL:
                self.kills[self.failpoint.partition(":")[0]] += 1
            else:
                self.died.append(
                    f"{self.name} ended by itself, with {code}\n{child.tail(self.log)}"
                )
        return False

    def _found_no_database(self) -> bool:
        """Whether it ended with 2 before it served."""
        ended = None if self._process is None else self._process.poll()
        return ended == _UNUSABLE and not self._served

    def signal(self, number: signal.Signals) -> None:
        if self.is_up:
            assert self._process is not None  # noqa: S101 - it is up
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.look()
        self._ending = self._killed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self) -> None:
        """End it with SIGTERM; it is noted if it does not end well."""
        self.look()
        if self._process is None or self._ending:
            return
        self._ending = True
        process = self._process
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                while process.poll() is None:  # noqa: ASYNC110 - a process tells nobody
                    await asyncio.sleep(_TICK)
        except TimeoutError:
            process.kill()
            process.wait()
        # A kill of ours may come in between; before it serves, it has no handler for SIGTERM.
        fine = {0, -signal.SIGKILL if self._killed else 0, 0 if self._served else -signal.SIGTERM}
        if process.returncode not in fine:
            self.died.append(
                f"{self.name} ended with {process.returncode} after SIGTERM\n{child.tail(self.log)}"
            )

    def logged(self, *events: str) -> list[dict[str, Any]]:
        """Return the lines of its log with one of these events, and those that are no JSON.

        The one line of a start without a database is as documented, and is left out.
        """
        found = []
        for line in self.log.read_text(errors="replace").splitlines() if self.log.exists() else ():
            try:
                said = json.loads(line)
            except ValueError:
                said = {"event": "not_json", "line": line}
                if line.startswith(_NO_DATABASE):
                    continue
            if said.get("event") in events:
                found.append(said)
        return found


def shifted_clock(seconds: int) -> Mapping[str, str]:
    """Return the environment in which a process's wall clock is off (libfaketime is needed)."""
    found = sorted(Path("/").glob(_FAKETIME.removeprefix("/")))
    if not found:
        raise StackFailed("a shifted clock needs libfaketime (Debian: apt-get install libfaketime)")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _peak(pid: int) -> int:
    """Return the most memory that a process has had, in bytes; 0 where nobody says."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
