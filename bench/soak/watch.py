"""Looks at a deployment and its load now and then."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import psutil

from bench.engine.processes import Deployed, cpu_s, rss
from bench.load.generator import Load
from bench.load.samples import Window, percentile

_TASKS = re.compile(r"^orchestrator_tasks ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at a time (seconds since the load's start), of the slice before it."""

    at: float
    runs_per_s: float
    memory_mb: float
    files: int
    tasks: int
    cpu: float  # of the orchestrator, as a share of a core
    database_mb: float  # its processes' own memory
    execute_p50_ms: float | None  # None: there was none in the slice
    execute_p99_ms: float | None
    run_p50_ms: float | None
    run_p99_ms: float | None


class Watch:
    """Looks every `every` seconds until cancelled; `looks` has what was seen."""

    def __init__(self, deployed: Deployed, load: Load, every: float) -> None:
        self.looks: list[Look] = []
        self._deployed = deployed
        self._load = load
        self._every = every
        self._cpu_s = 0.0

    async def watch(self, session: aiohttp.ClientSession) -> None:
        """Look on until cancelled."""
        self._cpu_s = cpu_s(*self._deployed.orchestrators)
        number = 0
        while True:
            number += 1
            await asyncio.sleep(max(0.0, number * self._every - self._load.now()))
            self.looks.append(await self._look(session, number))

    async def _look(self, session: aiohttp.ClientSession, number: int) -> Look:
        ours = self._deployed.orchestrators
        window = Window((number - 1) * self._every, number * self._every)
        executes = self._load.samples.executes.sorted_in(window)
        runs = self._load.samples.runs.sorted_in(window)
        used = cpu_s(*ours)
        cpu, self._cpu_s = (used - self._cpu_s) / self._every, used
        return Look(
            at=window.end,
            runs_per_s=self._load.samples.runs.ended_in(window) / self._every,
            memory_mb=rss(*ours) / 1e6,
            files=sum(psutil.Process(pid).num_fds() for pid in ours),
            tasks=await self._tasks(session),
            cpu=cpu,
            database_mb=_own_memory(self._deployed.postgres) / 1e6,
            execute_p50_ms=_ms(executes, 50),
            execute_p99_ms=_ms(executes, 99),
            run_p50_ms=_ms(runs, 50),
            run_p99_ms=_ms(runs, 99),
        )

    async def _tasks(self, session: aiohttp.ClientSession) -> int:
        found = 0
        for url in self._deployed.urls:
            async with session.get(f"{url}/metrics") as answer:
                told = _TASKS.search(await answer.text())
            found += round(float(told.group(1))) if told else 0
        return found


def _own_memory(postmaster: int) -> int:
    """Return the bytes that a PostgreSQL and its processes hold, shared ones counted once."""
    top = psutil.Process(postmaster)
    held = 0
    for process in (top, *top.children(recursive=True)):
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        held += memory.rss - memory.shared
    return held


def _ms(ordered: Sequence[float], percent: float) -> float | None:
    return percentile(ordered, percent) * 1000 if ordered else None
