"""Large payloads: a megabyte in, and one out of each step; how late the loop is meanwhile."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.engine.failure import EngineFailed
from bench.engine.processes import Variant, running
from bench.load import stub_agents
from bench.load.deployment import Deployment
from bench.load.failure import LoadFailed
from bench.load.plan import Plan

SIZE = 2**20
_SECONDS = 10.0
_USERS = 2
_LAG = re.compile(r'^orchestrator_loop_lag_seconds_bucket\{le="(\S+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Large:
    """Runs a second, the loop's lag, and whether what is beyond the cap is refused as it should."""

    per_s: float
    lag_p99_ms: float  # the upper bound of its bucket
    refused: bool


async def measure(folder: Path) -> Large:
    """Execute runs of a megabyte for some seconds, two at a time."""
    async with (
        stub_agents.running(Plan((), 1.0, agent_echo=True)) as agents,
        running(Variant("payloads"), folder) as deployed,
        aiohttp.ClientSession() as session,
    ):
        deployment = Deployment(session, deployed.urls[0])
        async with deployment.three_steps(agents.urls) as workflow:
            path = f"/api/v1/workflows/{workflow}/execute"
            body = {"input_data": {"source": "x" * (SIZE - 100)}}
            await _one(deployment, path, body)
            before = await _lags(session, deployed.urls[0])
            began, done = time.monotonic(), 0

            async def user() -> None:
                nonlocal done
                while time.monotonic() - began < _SECONDS:
                    await _one(deployment, path, body)
                    done += 1

            await asyncio.gather(*(user() for _ in range(_USERS)))
            took = time.monotonic() - began
            after = await _lags(session, deployed.urls[0])
            refused = await _refused(deployment, path)
    return Large(done / took, _p99(before, after) * 1000, refused)


async def _one(deployment: Deployment, path: str, body: object) -> None:
    run = (await deployment.call("POST", path, body))["run_id"]
    if (status := await deployment.ended(run, 30.0)) != "COMPLETED":
        raise EngineFailed(f"a run of a megabyte ended {status}")


async def _refused(deployment: Deployment, path: str) -> bool:
    try:
        await deployment.call("POST", path, {"input_data": {"source": "x" * 5 * SIZE}})
    except LoadFailed as failed:
        return ": 413 " in str(failed)
    return False


async def _lags(session: aiohttp.ClientSession, url: str) -> Sequence[tuple[float, float]]:
    async with session.get(f"{url}/metrics") as answer:
        found = _LAG.findall(await answer.text())
    return [(float(bound), float(count)) for bound, count in found]


def _p99(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]) -> float:
    """Return the bound of the bucket below which 99 of 100 lags lie."""
    counts = [(bound, b - a) for (_, a), (bound, b) in zip(before, after, strict=True)]
    total = counts[-1][1]
    return next(bound for bound, count in counts if count >= 0.99 * total)
