"""The floor: a run's calls made by a plain client, with nothing recorded and nothing decided.

aiohttp's client, as most services use it; JSON read and written by orjson; three calls one after
the other make a run. Nothing that makes the same calls durably can be much faster here.
"""

import asyncio
import time
from dataclasses import dataclass

import aiohttp
import orjson

from bench.load.deployment import STEPS

_HEADERS = {"Content-Type": "application/json", "A2A-Version": "1.0"}


@dataclass(frozen=True, slots=True)
class Floor:
    runs: int
    seconds: float
    cpu_s: float  # of the client: this process

    @property
    def per_s(self) -> float:
        return self.runs / self.seconds


async def measure(agent: str, seconds: float, concurrency: int) -> Floor:
    """Make runs for so long, so many at a time; return how many were made."""
    done = 0
    began, cpu = time.monotonic(), time.process_time()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def work(worker: int) -> None:
            nonlocal done
            number = 0
            while time.monotonic() - began < seconds:
                await _run(session, agent, f"floor-{worker}-{number}")
                number += 1
                done += 1

        async with asyncio.TaskGroup() as group:
            for worker in range(concurrency):
                group.create_task(work(worker))
    return Floor(done, time.monotonic() - began, time.process_time() - cpu)


async def _run(session: aiohttp.ClientSession, agent: str, run: str) -> None:
    data: dict[str, object] = {"source": "bench"}
    for step in STEPS:
        message = {
            "messageId": f"{run}.{step}.1",
            "role": "ROLE_USER",
            "parts": [{"data": data}],
            "metadata": {"runId": run, "stepId": step},
        }
        call = {
            "jsonrpc": "2.0",
            "id": run,
            "method": "SendMessage",
            "params": {"message": message},
        }
        async with session.post(agent, data=orjson.dumps(call), headers=_HEADERS) as answer:
            result = orjson.loads(await answer.read())["result"]
        data = {"source": "bench", "before": result["message"]["parts"][0]["data"]["call"]}
