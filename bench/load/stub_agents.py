"""The stub agents' processes, and what they tell: which run has ended, and when."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from bench.load.deployment import STEPS
from bench.load.failure import LoadFailed
from bench.load.plan import Plan
from bench.stack import child

_START_S = 30.0
_STOP_S = 5.0
_TOP = Path(__file__).parents[2]

Told = Callable[[str, float], None]


class StubAgents:
    """The running agents of a load."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.pids: list[int] = []
        self._told: Told | None = None
        self._listening: list[asyncio.Task[None]] = []

    def add(self, url: str, pid: int, lines: asyncio.StreamReader) -> None:
        """Listen to an agent from now on: one that nobody reads stands still at a full pipe."""
        self.urls.append(url)
        self.pids.append(pid)
        self._listening.append(asyncio.create_task(self._listen(lines)))

    def tell(self, told: Told) -> None:
        """Call `told` with each run that ends from now on, and when."""
        self._told = told

    def fall_silent(self) -> None:
        """Tell nobody any more."""
        self._told = None

    async def close(self) -> None:
        for task in self._listening:
            task.cancel()
        if self._listening:
            await asyncio.wait(self._listening)

    async def _listen(self, lines: asyncio.StreamReader) -> None:
        while line := await lines.readline():
            if self._told is not None:
                run, at = line.split()
                self._told(run.decode(), float(at))

    async def report(self, session: aiohttp.ClientSession) -> dict[str, dict[str, int]]:
        """Return, for each step, how many calls there were, and of how many runs."""
        found: dict[str, dict[str, int]] = {step: {"calls": 0, "runs": 0} for step in STEPS}
        for url in self.urls:
            async with session.get(f"{url}/report") as answer:
                found |= await answer.json()
        return found


@asynccontextmanager
async def running(plan: Plan) -> AsyncIterator[StubAgents]:
    """Start the agents, from the main thread; raise `LoadFailed` if one does not start."""
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="bench-load-")))
        agents = StubAgents()
        for number in range(plan.agents):
            log = folder / f"agent-{number}.log"
            process = _spawn(plan, log)
            exits.callback(_end, process)
            lines = await _reader(process)
            port = await _port(lines, log)
            agents.add(f"http://{plan.agent_host}:{port}", process.pid, lines)
        exits.push_async_callback(agents.close)
        yield agents


def _spawn(plan: Plan, log: Path) -> "subprocess.Popen[bytes]":
    options = ["--host", plan.agent_host, "--last", STEPS[-1]]
    options += ["--delay-ms", str(plan.agent_delay_ms)]
    options += ["--echo"] if plan.agent_echo else []
    command = [sys.executable, "-m", "bench.load.agent", *options]
    return child.spawn(command, log, piped=True, folder=_TOP)


def _end(process: "subprocess.Popen[bytes]") -> None:
    child.end(process, _STOP_S)
    if process.stdin is not None:
        process.stdin.close()


async def _reader(process: "subprocess.Popen[bytes]") -> asyncio.StreamReader:
    assert process.stdout is not None  # noqa: S101 - it was started with pipes
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), process.stdout
    )
    return reader


async def _port(lines: asyncio.StreamReader, log: Path) -> int:
    try:
        async with asyncio.timeout(_START_S):
            line = await lines.readline()
    except TimeoutError:
        line = b""
    if not line:
        raise LoadFailed(f"the stub agent did not start\n{child.tail(log)}")
    return int(line)
