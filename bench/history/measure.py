"""Histories of several lengths side by side, asked in turn: a slow moment hits all alike."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
from cryptography.fernet import Fernet

from bench.engine import processes
from bench.history import seed
from bench.history.cases import Asked, Case, cases
from bench.history.failure import HistoryFailed
from bench.load.samples import percentile
from orchestrator.store import migrate
from orchestrator.store.embedded import EmbeddedPostgres

# The program's own conditions for a list, by hand.
_COUNT = """SELECT count(*) FROM run r WHERE ($1::text IS NULL OR r.status = $1)
  AND ($2::text IS NULL OR r.workflow_key = $2)
  AND ($3::text IS NULL OR r.created_at > $3::timestamptz)
  AND ($4::text IS NULL OR r.created_at < $4::timestamptz)"""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A program with a history behind it."""

    runs: int
    asked: Asked
    dsn: str
    seeded_s: float


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds of each case's requests, by the length of the history."""

    case: Case
    ms: Mapping[int, Sequence[float]]


@asynccontextmanager
async def deployed(
    runs: int, days: int, folder: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Deployed]:
    """Run a program on a database with so many runs; from the main thread."""
    await asyncio.to_thread(folder.mkdir, parents=True)
    async with AsyncExitStack() as exits:
        server = await exits.enter_async_context(EmbeddedPostgres(folder / "postgresql"))
        await migrate.migrate(server.dsn)
        began = time.monotonic()
        history = await seed.fill(server.dsn, runs, days)
        took = time.monotonic() - began
        settings = {
            "database_url": server.dsn,
            "secret_keys": Fernet.generate_key().decode(),
            "log_level": "warning",
        }
        url, _, _ = await processes.start(exits, session, folder, 0, settings)
        asked = await Asked(url, history, session).open()
        yield Deployed(runs, asked, server.dsn, took)


async def take(
    several: Sequence[Deployed], samples: int, say: Callable[[str], None]
) -> list[Taken]:
    """Ask each deployment for each case, in turn, so many times."""
    chance = random.Random(2)  # noqa: S311 - the same requests each time
    taken: list[tuple[Case, defaultdict[int, list[float]]]] = [
        (case, defaultdict(list)) for case in cases(several[0].asked.filters)
    ]
    for number in range(-1, samples * 4):  # -1: to warm up
        if number % samples == 0:
            say(f"  {number * 100 // (samples * 4)} %")
        for case, ms in taken:
            # A group with a larger share is asked oftener.
            share = case.group.share / 4
            if number > 0 and int(number * share) == int((number - 1) * share):
                continue
            for each in several:
                path = await each.asked.path(case, chance)
                began = time.perf_counter()
                await each.asked.get(path)
                if number >= 0:
                    ms[each.runs].append((time.perf_counter() - began) * 1000)
    return [Taken(case, ms) for case, ms in taken]


async def check_totals(each: Deployed) -> int:
    """Return how many filters were checked; raise if a total is not what counting gives."""
    conn = await asyncpg.connect(each.dsn)
    try:
        for name, given in each.asked.filters.items():
            names = ("status", "workflow_id", "created_after", "created_before")
            counted = await conn.fetchval(_COUNT, *(given.get(each) for each in names))
            if counted != each.asked.totals[name]:
                found = each.asked.totals[name]
                raise HistoryFailed(f"'{name}' has {counted} runs, and its total says {found}")
    finally:
        await conn.close()
    return len(each.asked.filters)


def p(percent: float, taken: Sequence[Taken], runs: int) -> float:
    """Return a percentile over some cases, in milliseconds."""
    return percentile(sorted(ms for each in taken for ms in each.ms[runs]), percent)
