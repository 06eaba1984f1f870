"""Processes that are started here: each has a log, and ends when this process does.

On Linux the kernel kills a child when the *thread* that started it ends, however that happens:
start children from the main thread. Elsewhere only an orderly end takes them along.
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.stack.failure import StackFailed

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork
_PORTS = range(20_000, 30_000)  # below those that the system gives to outgoing connections


def spawn(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    piped: bool = False,
    folder: Path = Path("/"),
    death: signal.Signals = signal.SIGKILL,
    account: Mapping[str, Any] | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a program whose output is appended to `log`; it gets `death` when this thread ends.

    It works in `folder`. With `piped`, its standard input and output are pipes instead. It leads a
    session of its own, so that a Ctrl-C reaches this process only. `account` is who it runs as, in
    the words of `Popen`.
    """
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own commands
            [str(part) for part in command],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output,
            stderr=output,
            start_new_session=True,
            **(account or {}),
            preexec_fn=_dies_with_us(death),  # noqa: PLW1509 - two system calls, no lock taken
        )


def _dies_with_us(death: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    libc, us = _LIBC, os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(death))
        if os.getppid() != us:
            os._exit(1)  # we died in between

    return prepare


def end(process: "subprocess.Popen[bytes]", within: float) -> int:
    """End a process with SIGTERM, and with SIGKILL if it takes too long; return its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def free_port(preferred: int = 0) -> int:
    """Return a port of 127.0.0.1 that nobody uses: the preferred one if it is free.

    It lies where no outgoing connection is given it before its server listens, or restarts.
    """
    if preferred and _is_free(preferred):
        return preferred
    for port in random.sample(_PORTS, 200):
        if _is_free(port):
            return port
    raise StackFailed("there is no free port on 127.0.0.1")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def tail(log: Path, lines: int = 12) -> str:
    """Return a log's last lines but Java's stack frames, and where it is."""
    text = log.read_text(errors="replace") if log.exists() else ""
    told = [line for line in text.splitlines() if not line.startswith("\tat ")]
    return "\n".join(f"  | {line}" for line in [*told[-lines:], f"({log})"])
