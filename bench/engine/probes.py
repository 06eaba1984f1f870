"""Single measurements: a commit, a run alone, an idle server, overload, start."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from bench.engine import processes
from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, cpu_s, rss
from bench.load.deployment import Deployment
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.samples import percentile
from bench.load.stub_agents import StubAgents

_COMMITS = 200
_STATEMENTS = """
SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database
WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Alone:
    """Runs one after the other: milliseconds from execute until it is seen COMPLETED."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Idle:
    """An empty server: share of a core, statements a second, bytes of memory."""

    cpu: float
    statements_per_s: float
    rss: int


async def commit(deployed: Deployed) -> float:
    """Return the median milliseconds of a small commit of one session, which waits for the disk."""
    conn = await asyncpg.connect(deployed.dsn)
    try:
        await conn.execute("CREATE TABLE bench_commit (n int)")
        took = []
        for number in range(_COMMITS):
            began = time.perf_counter()
            await conn.execute("INSERT INTO bench_commit VALUES ($1)", number)
            took.append((time.perf_counter() - began) * 1000)
        await conn.execute("DROP TABLE bench_commit")
    finally:
        await conn.close()
    return percentile(sorted(took), 50)


async def alone(deployed: Deployed, agents: StubAgents, runs: int) -> Alone:
    """Execute one run at a time and wait for its end through the API."""
    took = []
    async with aiohttp.ClientSession() as session:
        deployment = Deployment(session, deployed.urls[0])
        async with deployment.three_steps(agents.urls) as workflow:
            for _ in range(runs):
                began = time.perf_counter()
                path = f"/api/v1/workflows/{workflow}/execute"
                run = await deployment.call("POST", path, {"input_data": {"source": "bench"}})
                ended = await deployment.call("GET", f"/api/v1/runs/{run['run_id']}?wait=10")
                took.append((time.perf_counter() - began) * 1000)
                if ended["status"] != "COMPLETED":
                    raise EngineFailed(f"a run alone ended {ended['status']}")
    took.sort()
    return Alone(percentile(took, 50), percentile(took, 99))


async def idle(deployed: Deployed, seconds: float) -> Idle:
    """Watch a server that nobody uses."""
    conn = await asyncpg.connect(deployed.dsn)
    try:
        statements, cpu = await conn.fetchval(_STATEMENTS), cpu_s(*deployed.orchestrators)
        await asyncio.sleep(seconds)
        used = cpu_s(*deployed.orchestrators) - cpu
        counted = await conn.fetchval(_STATEMENTS) - statements - 1  # the look itself
    finally:
        await conn.close()
    return Idle(used / seconds, counted / seconds, rss(*deployed.orchestrators))


async def overload(deployed: Deployed, agents: StubAgents, rate: float, seconds: float) -> float:
    """Ask for more than can be done; return the runs completed a second meanwhile."""
    plan = Plan(deployed.urls, seconds, warmup=1.0, rate=rate, drain=120.0)
    connector = aiohttp.TCPConnector(limit=plan.connections)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        aiohttp.ClientSession() as other,
        Deployment(other, *deployed.urls).three_steps(agents.urls) as workflow,
    ):
        load = Load(plan, session, other, workflow, told_by_agents=True)
        agents.tell(load.tell)
        await load.run()
        deadline = time.monotonic() + plan.drain
        while load.unfinished and time.monotonic() < deadline:  # noqa: ASYNC110 - its own count
            await asyncio.sleep(0.1)
        agents.fall_silent()
    return load.samples.runs.ended_in(plan.window) / plan.window.seconds


async def start(folder: Path) -> float:
    """Return the seconds from the program's start until it is ready, on its own warm database."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    ready_s = 0.0
    async with aiohttp.ClientSession() as session:
        for _ in range(2):  # the first makes the database
            async with AsyncExitStack() as exits:
                _, _, ready_s = await processes.start(exits, session, folder, 0, {})
    return ready_s
