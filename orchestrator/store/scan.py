"""The owners' look at their rows: one statement a tick for all partitions of a process."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from orchestrator.domain.record import record
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store import queries
from orchestrator.store.pool import Conn

SQL = queries.load("scan")

_NO_ID = UUID(int=0)


@record
class Scan:
    """What one look showed."""

    moved: tuple[RunId, ...]  # active runs whose `seq` is no longer the one given
    ready: tuple[
        RunId, ...
    ]  # want an actor: due and RUNNING ones first, then PENDING, oldest first
    next_due: timedelta | None  # until the next waiting run is due; None: none waits
    pending_left: bool  # more want an actor than `ready` holds


async def scan(
    conn: Conn, partitions: Sequence[Partition], active: Mapping[RunId, int], limit: int
) -> Scan:
    """Look at the unfinished runs of `partitions`; `active` ones are looked at for `seq` only.

    The statement is long to plan and quick to run: give it a session of its own
    (`pool.connect`), where the plan is kept.
    """
    lowest, highest = (min(active), max(active)) if active else (_NO_ID, _NO_ID)
    row = await conn.fetchrow(
        SQL["scan"], partitions, list(active), list(active.values()), lowest, highest, limit
    )
    assert row is not None  # noqa: S101 - it selects exactly one row
    ready = row["ready"]
    return Scan(tuple(row["moved"]), tuple(ready[:limit]), row["next_due"], len(ready) > limit)
