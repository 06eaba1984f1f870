"""Dropping a day: how long it takes, what it leaves, and what others notice of it."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from bench.history.failure import HistoryFailed
from bench.history.measure import Deployed
from bench.load.samples import percentile
from orchestrator.store import parts

_WATCH_S = 3.0
_PAUSE_S = 0.005
_SIZE = "SELECT pg_database_size(current_database())"
_DAY = """SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
  WHERE c.relname IN ('run_' || $1, 'step_execution_' || $1, 'run_event_' || $1)"""
_LEFT = "SELECT (SELECT count(*) FROM run), (SELECT count(*) FROM run_total WHERE hour < $1::int)"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A day that went. Milliseconds of requests made meanwhile, and of the same ones before."""

    runs: int
    seconds: float
    locked_s: float  # until the commit: then others go on, and the files are removed
    day_bytes: int
    freed_bytes: int
    attempts: int
    before_p99_ms: float
    longest_before_ms: float
    meanwhile: int
    longest_meanwhile_ms: float


async def drop(each: Deployed) -> Dropped:
    """Drop the oldest day while lists and runs are asked for; the total must be right then."""
    conn = await asyncpg.connect(each.dsn)
    try:
        first = (await conn.fetch(parts.SQL["days_before"], each.asked.history.first.date()))[:1]
        if first:
            raise HistoryFailed("there are older days than those made here")
        day = each.asked.history.first.date()
        size, day_bytes = await conn.fetchval(_SIZE), await conn.fetchval(_DAY, f"{day:%Y%m%d}")
        runs = int(await conn.fetchval("SELECT count(*) FROM run"))
        before = await _requests(each, asyncio.create_task(asyncio.sleep(_WATCH_S)))
        dropping = asyncio.create_task(_drop(conn, day))
        meanwhile = await _requests(each, dropping)
        seconds, locked_s, attempts = dropping.result()
        left, totals = await conn.fetchrow(_LEFT, (day.toordinal() - 719_163 + 1) * 24)  # type: ignore[misc]
        said = (await each.asked.get("/api/v1/runs?page_size=1"))["total"]
        if (said, totals) != (left, 0):
            raise HistoryFailed(f"{left} runs are left, the total says {said}, {totals} day totals")
        freed = size - await conn.fetchval(_SIZE)
    finally:
        await conn.close()
    return Dropped(
        runs=runs - left,
        seconds=seconds,
        locked_s=locked_s,
        day_bytes=day_bytes,
        freed_bytes=freed,
        attempts=attempts,
        before_p99_ms=percentile(sorted(before), 99),
        longest_before_ms=max(before),
        meanwhile=len(meanwhile),
        longest_meanwhile_ms=max(meanwhile),
    )


async def _drop(conn: asyncpg.Connection, day: object) -> tuple[float, float, int]:
    """Drop the day as the chores do; return the seconds in all, those with locks, the attempts."""
    for attempt in range(1, 20):
        began = time.perf_counter()
        try:
            async with conn.transaction():
                dropped = await conn.fetchval(parts.SQL["drop_day"], day)
                locked = time.perf_counter() - began
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            continue
        if dropped:
            return time.perf_counter() - began, locked, attempt
        raise HistoryFailed(f"{day} has unfinished runs")
    raise HistoryFailed(f"the locks for dropping {day} were never to be had")


async def _requests(each: Deployed, until: "asyncio.Task[object]") -> Sequence[float]:
    """Make requests of several kinds until a task is done; return how long each took, in ms."""
    paths = [
        "/api/v1/runs",
        "/api/v1/runs?sort_by=updated_at",
        "/api/v1/runs?status=FAILED",
        f"/api/v1/runs/run-{max(each.asked.history.runs)}/logs",  # of the last day: it stays
    ]
    taken: list[float] = []

    async def ask(path: str) -> None:
        while True:
            began = time.perf_counter()
            await each.asked.get(path)
            taken.append((time.perf_counter() - began) * 1000)
            if until.done():
                return
            await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(until, *(ask(path) for path in paths))
    return taken
