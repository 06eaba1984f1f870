"""The demo's processes: each is started alone, watched, and ended by its own id."""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from orchestrator.demo.failure import DemoFailed

_START_S = 60
_STOP_S = 15
_TAIL_LINES = 6
_PR_SET_PDEATHSIG = 1


@asynccontextmanager
async def server(home: Path, port: int) -> AsyncIterator[Process]:
    """Start the orchestrator on its embedded database in `home`; stop it at the end."""
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": str(home / "data")}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    environment = inherited | {f"ORCHESTRATOR_{k}": v for k, v in settings.items()}
    log = home / "orchestrator.log"
    async with _process(["orchestrator"], environment, log, announces=False) as process:
        yield process


@asynccontextmanager
async def agent(name: str, home: Path) -> AsyncIterator[str]:
    """Start a demo agent and give its url; raise `DemoFailed` when it does not come up."""
    log = home / f"agent-{name}.log"
    command = ["orchestrator.demo.agents", name]
    async with _process(command, os.environ, log, announces=True) as process:
        assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
        try:
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line.startswith(b"http"):
            raise DemoFailed(f"the agent '{name}' did not start\n{tail(log)}")
        yield line.decode().strip()


@asynccontextmanager
async def _process(
    command: Sequence[str], environment: Mapping[str, str], log: Path, *, announces: bool
) -> AsyncIterator[Process]:
    """Run a module; its output goes to `log`, but to a pipe if its first line announces it."""
    # A session of its own: Ctrl-C reaches the demo alone, which then stops things in order.
    # The pipe on stdin ends when the demo does, which is how the agents notice.
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            env=environment,
            stdin=PIPE,
            stdout=PIPE if announces else errors,
            stderr=errors,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
    try:
        yield process
    finally:
        await _stop(process)


def _die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the demo is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _stop(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port(preferred: int = 0) -> int:
    """Return a port of 127.0.0.1 that nobody listens on: the preferred one if it is free."""
    for port in (preferred, 0):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as listener:
            return int(listener.getsockname()[1])
    raise DemoFailed("there is no free port on 127.0.0.1")


def tail(log: Path) -> str:
    """Return a log's last lines, and where it is."""
    lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join(f"  | {line}" for line in [*lines, f"({log})"])
