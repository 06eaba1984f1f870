"""Daily parts of the run tables: made ahead of time, dropped by retention.

One run lies in one day's part of `run`, `step_execution` and `run_event`; the three are made and
dropped together. The SQL functions do the work and take turns under an advisory lock, so that any
number of processes may call these at any time.
"""

from datetime import date

import asyncpg
import structlog

from orchestrator.store import queries
from orchestrator.store.pool import Conn

SQL = queries.load("parts")
DAYS_AHEAD = 14

log = structlog.get_logger(__name__)


async def ensure(conn: Conn, days_ahead: int = DAYS_AHEAD) -> int:
    """Make the missing parts of today (in the database's time) and the days ahead; their number."""
    made: int = await conn.fetchval(SQL["ensure"], days_ahead)
    if made:
        log.info("parts_made", days=made)
    return made


async def ensure_soon(conn: Conn) -> None:
    """Make what an INSERT needs that found no part: today's, and tomorrow's for one at midnight.

    Such an INSERT (SQLSTATE 23514) calls this outside its failed transaction, and is repeated.
    """
    await ensure(conn, days_ahead=1)


async def drop_before(conn: Conn, day: date) -> list[date]:
    """Drop the parts of whole days before `day`; return the days that went.

    A day with an unfinished run stays, and so does one whose lock is not to be had at once: it is
    dropped another time. Not to be called inside a transaction: each day is one of its own.
    """
    dropped = []
    for row in await conn.fetch(SQL["days_before"], day):
        try:
            if await conn.fetchval(SQL["drop_day"], row["day"]):
                dropped.append(row["day"])
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as busy:
            log.info("part_drop_postponed", day=str(row["day"]), reason=str(busy))
    if dropped:
        log.info("parts_dropped", first=str(dropped[0]), last=str(dropped[-1]), days=len(dropped))
    return dropped


async def forget_keys(conn: Conn) -> None:
    """Delete idempotency keys that are older than promised."""
    await conn.execute(SQL["forget_keys"])
