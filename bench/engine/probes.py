"""Single measurements: a commit, a run alone, an idle server, overload, start."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import orjson

from bench.engine import flood, processes
from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, cpu_s, rss
from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.samples import percentile
from bench.load.stub_agents import StubAgents

_COMMITS = 200
_FLOODS = 3  # the median one is kept
_FLOOD_WARMUP_S = 1.0
_FLOOD_CONNECTIONS = 1_000
_FLOOD_DRAIN_S = 60.0
_UNFINISHED = "SELECT EXISTS (SELECT FROM run WHERE status IN ('PENDING', 'RUNNING'))"
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


@dataclass(frozen=True, slots=True)
class Overload:
    """Runs a second at full load and in a flood of three times as many executes.

    `answered` executes a second came back from the flood, `unsent` found no connection free.
    """

    best: float
    goodput: float
    answered: float
    unsent: int


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
    url, body = deployed.urls[0], orjson.dumps({"input_data": {"source": "bench"}})
    async with (
        Executes(1) as client,
        aiohttp.ClientSession() as session,
        Deployment(session, url).three_steps(agents.urls) as workflow,
    ):
        for _ in range(runs):
            began = time.perf_counter()
            made = await client.post(f"{url}/api/v1/workflows/{workflow}/execute", body)
            run = orjson.loads(made.body)["run_id"]
            ended = orjson.loads((await client.get(f"{url}/api/v1/runs/{run}?wait=10")).body)
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


async def overload(
    deployed: Deployed, agents: StubAgents, seconds: float, concurrency: int
) -> Overload:
    """Ask for three times what can be done, right after seeing how much that is; a few times."""
    async with (
        Executes(concurrency) as executes,
        aiohttp.ClientSession() as other,
        Deployment(other, *deployed.urls).three_steps(agents.urls) as workflow,
    ):
        seen = []
        for _ in range(_FLOODS):
            plan = Plan(deployed.urls, seconds, warmup=1.0, concurrency=concurrency)
            load = Load(plan, executes, other, workflow, told_by_agents=True)
            agents.tell(load.tell)
            await load.run()
            best = load.samples.runs.ended_in(plan.window) / plan.window.seconds
            seen.append(await _flooded(deployed, agents, workflow, best, seconds))
            agents.fall_silent()
    return sorted(seen, key=lambda each: each.goodput / each.best)[len(seen) // 2]


async def _flooded(
    deployed: Deployed, agents: StubAgents, workflow: str, best: float, seconds: float
) -> Overload:
    ended = 0

    def tell(_run: str, _at: float) -> None:
        nonlocal ended
        ended += 1

    agents.tell(tell)
    url, rate = deployed.urls[0], 3 * best
    await flood.execute(url, workflow, rate, _FLOOD_WARMUP_S, _FLOOD_CONNECTIONS)
    ended = 0
    came = await flood.execute(url, workflow, rate, seconds, _FLOOD_CONNECTIONS)
    goodput = ended / seconds
    if set(came.answers) - {202, 429}:
        raise EngineFailed(f"a flood was answered {dict(came.answers)}")
    deadline = time.monotonic() + _FLOOD_DRAIN_S
    while await _unfinished(deployed):
        if time.monotonic() > deadline:
            raise EngineFailed("runs of a flood were left unfinished")
        await asyncio.sleep(0.1)
    return Overload(best, goodput, came.answers.total() / seconds, came.unsent)


async def _unfinished(deployed: Deployed) -> bool:
    conn = await asyncpg.connect(deployed.dsn)
    try:
        return bool(await conn.fetchval(_UNFINISHED))
    finally:
        await conn.close()


async def start(folder: Path) -> float:
    """Return the seconds from the program's start until it is ready, on its own warm database."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    ready_s = 0.0
    async with aiohttp.ClientSession() as session:
        for _ in range(2):  # the first makes the database
            async with AsyncExitStack() as exits:
                _, _, ready_s = await processes.start(exits, session, folder, 0, {})
    return ready_s
