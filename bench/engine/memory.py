"""Memory that runs take, each measured on a process of its own: a used one has room left over."""

import asyncio
import time
from pathlib import Path

import aiohttp
import asyncpg

from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, Variant, rss, running
from bench.load import stub_agents
from bench.load.deployment import Deployment
from bench.load.plan import Plan

ACTIVE = 1_000
WAITING = 100_000
_WARM = 200  # runs, after which a process has all that it needs for the next ones
_AGENT_DELAY_MS = 120_000.0
_FILLED_S = 60.0
_LOOKS_S = 5.0  # a few looks at the rows
_EXECUTE = "/api/v1/workflows/{}/execute"
_BODY = {"input_data": {"source": "bench"}}
# Half of them back off, half wait for an answer.
_SEED = """
WITH made AS MATERIALIZED (
  SELECT new_run_id() AS id, n % 2 = 0 AS asks FROM generate_series(1, $1::int) AS n
), runs AS (
  INSERT INTO run (id, partition, workflow_id, workflow_version, workflow_key, workflow_name,
    status, seq, input, created_at, updated_at, wake_at)
  SELECT m.id, partition_of(m.id, 16), w.id, w.version, w.key, w.name, 'RUNNING', 3,
    '{"source":"bench"}', run_id_time(m.id), run_id_time(m.id), now() + interval '1 day'
  FROM made m, workflow w WHERE w.id = $2::uuid
)
INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt, message_no,
  input, started_at, due_at, deadline_at, waiting_for, question, asked_at, asked_seq, task_id)
SELECT id, 'extract', 0, $3, 'RUNNING', 1, 1, '{}', run_id_time(id),
  CASE WHEN NOT asks THEN now() + interval '1 day' END, now() + interval '2 days',
  CASE WHEN asks THEN 'input' END, CASE WHEN asks THEN '{"text":"which one?","parts":[]}'::json END,
  CASE WHEN asks THEN now() END, CASE WHEN asks THEN 3 END,
  CASE WHEN asks THEN 'task-' || id END
FROM made"""


async def active(folder: Path) -> float:
    """Return the bytes that an active run adds, from a thousand that wait for their agent."""
    async with (
        stub_agents.running(Plan((), 1.0, agent_delay_ms=_AGENT_DELAY_MS)) as slow,
        stub_agents.running(Plan((), 1.0)) as fast,
        running(Variant("memory"), folder) as deployed,
        aiohttp.ClientSession() as session,
    ):
        deployment = Deployment(session, deployed.urls[0])
        before = await _warm(deployed, deployment, fast.urls)
        async with deployment.three_steps(slow.urls) as workflow:
            made = [await deployment.call("POST", _EXECUTE.format(workflow), _BODY)]
            for _ in range(ACTIVE - 1):
                made.append(await deployment.call("POST", _EXECUTE.format(workflow), _BODY))  # noqa: PERF401 - one after the other
            await _until_active(session, deployed.urls[0])
            added = rss(*deployed.orchestrators) - before
            for run in made:
                await deployment.call("POST", f"/api/v1/runs/{run['run_id']}/cancel")
    return added / ACTIVE


async def waiting(folder: Path) -> float:
    """Return the bytes that a hundred thousand runs add which back off or wait for an answer."""
    async with (
        stub_agents.running(Plan((), 1.0)) as fast,
        running(Variant("memory"), folder) as deployed,
        aiohttp.ClientSession() as session,
    ):
        deployment = Deployment(session, deployed.urls[0])
        before = await _warm(deployed, deployment, fast.urls)
        async with deployment.three_steps(fast.urls) as workflow:
            conn = await asyncpg.connect(deployed.dsn)
            agent = await conn.fetchval("SELECT name FROM agent LIMIT 1")
            await conn.execute(_SEED, WAITING, workflow, agent)
            await asyncio.sleep(_LOOKS_S)
            page = await deployment.call("GET", "/api/v1/inbox?page_size=1")
            added = rss(*deployed.orchestrators) - before
            left = await conn.fetchval("SELECT count(*) FROM run WHERE wake_at IS NOT NULL")
            await conn.close()
    if left != WAITING or not page["items"]:
        raise EngineFailed(f"only {left} of {WAITING} runs wait")
    return added


async def _warm(deployed: Deployed, deployment: Deployment, agents: list[str]) -> int:
    """Have some runs executed, and return the bytes that the process holds then."""
    async with deployment.three_steps(agents) as workflow:
        for _ in range(_WARM):
            run = await deployment.call("POST", _EXECUTE.format(workflow), _BODY)
            if await deployment.ended(run["run_id"], _FILLED_S) != "COMPLETED":
                raise EngineFailed("the first runs do not end")
    return rss(*deployed.orchestrators)


async def _until_active(session: aiohttp.ClientSession, url: str) -> None:
    deadline = time.monotonic() + _FILLED_S
    while time.monotonic() < deadline:
        async with session.get(f"{url}/metrics") as answer:
            if f"orchestrator_active_actors {ACTIVE:.1f}" in await answer.text():
                return
        await asyncio.sleep(0.1)
    raise EngineFailed(f"there were not {ACTIVE} active runs within {_FILLED_S:.0f} s")
