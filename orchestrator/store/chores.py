"""What has to be done from time to time: parts ahead of time, retention, forgotten keys.

Any process may do it, at any time, also several at once: the functions take turns by themselves.
"""

from datetime import UTC, date, datetime, timedelta

from orchestrator.store import parts, queries
from orchestrator.store.pool import Conn

SQL = queries.load("chores")


async def do(conn: Conn, retention_days: int | None) -> None:
    """Do all chores once. Runs older than `retention_days` whole days go; None keeps them."""
    await parts.ensure(conn)
    await parts.forget_keys(conn)
    if retention_days is not None:
        now: datetime = await conn.fetchval(SQL["now"])
        await parts.drop_before(conn, oldest_kept(now, retention_days))


def oldest_kept(now: datetime, retention_days: int) -> date:
    """Return the first day (UTC) that is kept: runs live at least `retention_days` days."""
    return now.astimezone(UTC).date() - timedelta(days=retention_days)
