"""One PostgreSQL server process: started, watched for readiness, stopped.

It is the leader of a session of its own (a Ctrl-C is for us, not for it), and on Linux it gets
SIGQUIT when the *thread* that started it ends, however that happens: start it from the thread that
lives as long as the program. Elsewhere a successor stops what a killed process left behind.
"""

import asyncio
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.domain.errors import Misconfigured
from orchestrator.domain.record import record
from orchestrator.store.programs import ENVIRONMENT, Account, Programs

CLUSTER = "orchestrator"
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork
_TICK = 0.01
_READY_WITHIN = 300.0  # recovery after a crash may have much to replay
_STOP_WITHIN = 20.0
# What a predecessor that is still dying causes.
_STILL_DYING = re.compile(
    r'lock file ".*" already exists|pre-existing shared memory block|is still in use'
)


class StillDying(Misconfigured):
    """The server did not start since its predecessor has not quite ended."""


@record
class Place:
    """Where a server keeps its things, and who it runs as."""

    programs: Programs
    account: Account | None
    data: Path
    sockets: Path
    log: Path


def spawn(
    args: Sequence[str | Path], place: Place, death: signal.Signals
) -> "subprocess.Popen[bytes]":
    """Start a program of PostgreSQL; it gets the signal `death` when the calling thread ends."""
    with place.log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own programs and arguments
            [str(arg) for arg in args],
            **(place.account.popen if place.account else {}),
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            preexec_fn=_dies_with_us(death),  # noqa: PLW1509 - two system calls, no lock taken
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


async def ended(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process; return its exit code."""
    while (code := process.poll()) is None:  # noqa: ASYNC110 - a thread would outlive us
        await asyncio.sleep(_TICK)
    return code


def _dies_with_us(death: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    libc, us = _LIBC, os.getpid()

    def prepare() -> None:
        # After the change of user, which clears it.
        libc.prctl(_PR_SET_PDEATHSIG, int(death))
        if os.getppid() != us:
            os._exit(1)  # we died in between

    return prepare


class Postmaster:
    """The server of one data folder; `settings` are PostgreSQL's own."""

    def __init__(self, place: Place, settings: Mapping[str, str]) -> None:
        self._place = place
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def died(self) -> int | None:
        """Return the exit code of a server that has ended, None while it runs."""
        return self._process.poll() if self._process else None

    async def start(self) -> None:
        """Start the server; return when it accepts connections.

        Raise `StillDying` if its predecessor has not quite ended, else `Misconfigured` with the
        server's own reason.
        """
        place, log_from = self._place, _size(self._place.log)
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = spawn(
            [place.programs.bin / "postgres", "-D", place.data, *options], place, signal.SIGQUIT
        )
        try:
            async with asyncio.timeout(_READY_WITHIN):
                while not self._ready():
                    if self._process.poll() is not None:
                        raise _explained(place, log_from)
                    await asyncio.sleep(_TICK)
        except TimeoutError:
            await self.stop()
            raise Misconfigured(
                f"PostgreSQL was not ready after {_READY_WITHIN:.0f} s: see {place.log}"
            ) from None

    def _ready(self) -> bool:
        # A stale file says ready too: compare the pid.
        state = pid_file(self._place.data)
        return state is not None and state == (self.pid, "ready")

    async def stop(self) -> None:
        """Stop the server: fast, with a checkpoint; at once if that takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(_STOP_WITHIN):
                await ended(self._process)
        except TimeoutError:
            pass
        finally:  # also when we are cancelled
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(10)


async def end_predecessor(data: Path, within: float) -> None:
    """Wait for a server that a killed process of ours left on `data`; stop it if it stays.

    Raise `Misconfigured` for a server that is not ours, or that does not end. The caller holds the
    folder's lock: no living process of ours owns that server.
    """
    steps = int(within / _TICK)
    for step in range(steps):
        state = pid_file(data)
        if state is None or not _alive(state[0]) or not _serves(state[0], data):
            return  # a pid used anew by another program is no server of this data
        if not _is_ours(state[0]):
            raise Misconfigured(
                f"the data folder {data} is in use by another PostgreSQL server (pid {state[0]}):"
                " stop it, or set ORCHESTRATOR_DATA_DIR"
            )
        if step == steps // 5:  # on Linux it was told so when its parent died
            os.kill(state[0], signal.SIGINT)
        await asyncio.sleep(_TICK)
    raise Misconfigured(f"the PostgreSQL server on {data} does not end: stop it (pid in {data})")


def pid_file(data: Path) -> tuple[int, str] | None:
    """Read pid and status from `postmaster.pid`; None if there is none or it is being written."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return int(lines[0]), lines[7].strip() if len(lines) > 7 else ""  # noqa: PLR2004
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _serves(pid: int, data: Path) -> bool:
    return str(data) in _command(pid)


def _is_ours(pid: int) -> bool:
    return f"--cluster_name={CLUSTER}" in _command(pid)


def _command(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        if Path("/proc/self/cmdline").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        ask = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(ask, capture_output=True, text=True, check=False).stdout  # noqa: S603
    except OSError:
        return ""


def _explained(place: Place, log_from: int) -> Misconfigured:
    """Why the server did not start, from what it wrote."""
    with place.log.open("rb") as file:
        file.seek(log_from)
        lines = file.read().decode(errors="replace").splitlines()
    text = next((line for line in lines if "FATAL" in line), lines[-1] if lines else "no message")
    reason = text.partition("FATAL:")[2].strip() or text.strip()
    kind = StillDying if _STILL_DYING.search(reason) else Misconfigured
    return kind(f"PostgreSQL did not start: {reason} (see {place.log})")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0
