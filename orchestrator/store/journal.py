"""The journal: the decisions of many actors in one fenced statement.

A decision is written once or not at all, under its term and on the `seq` that its actor knew. What
had no effect is explained in a new statement: by our token it was written after all (the answer
was lost), by another epoch the term is over, else the run's rows moved.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from uuid import UUID

import asyncpg

from orchestrator import failpoints
from orchestrator.domain.errors import Fenced, Poisoned, Stale
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.run import external_id
from orchestrator.domain.term import Term
from orchestrator.store import queries
from orchestrator.store.journal_rows import Columns, size
from orchestrator.store.lanes import Bounds, Lanes
from orchestrator.store.session import Connect, Session, patiently, refuses_value

SQL = queries.load("journal")

_TOKEN_BITS = 63


class _Write:
    """One decision on its way."""

    __slots__ = ("done", "entry", "key", "size", "term", "token")

    def __init__(self, entry: Entry, term: Term, done: asyncio.Future[None]) -> None:
        self.entry = entry
        self.term = term
        self.token = random.getrandbits(_TOKEN_BITS)
        self.done = done
        self.key = entry.run.id
        self.size = size(entry)


class Journal:
    """`async with Journal(…)`: group commit on `lanes` connections, a partition always on the same.

    `on_commit` is told each batch's rows and seconds. Should a lane die, the body is cancelled and
    the lane's error comes out.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        lanes: int = 1,
        max_rows: int = 500,
        max_bytes: int = 4 * 2**20,
        on_commit: Callable[[int, float], None] = lambda _rows, _seconds: None,
        close_within: float = 10.0,
    ) -> None:
        self.refused = 0
        self._on_commit = on_commit
        self._lanes: Lanes[_Write] = Lanes(
            connect,
            self._commit,
            lanes=lanes,
            bounds=Bounds(max_rows, max_bytes),
            close_within=close_within,
        )

    @property
    def depth(self) -> int:
        """How many decisions wait or are being written."""
        return self._lanes.depth

    def write(self, entry: Entry, term: Term) -> asyncio.Future[None]:
        """Write a decision; the future is done when it is committed. To be awaited.

        It waits while the database is away. It raises `Fenced` when the term is over, `Stale` when
        the run's rows moved, and `Poisoned` when PostgreSQL refuses a value.
        """
        done: asyncio.Future[None] = self._lanes.loop.create_future()
        self._lanes.put(_Write(entry, term, done), term.partition)
        return done

    async def __aenter__(self) -> Self:
        await self._lanes.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._lanes.__aexit__(kind, error, trace)

    async def _commit(self, session: Session, batch: Sequence[_Write]) -> None:
        """Write a batch and tell everybody; halve it until a refused value stands alone."""
        try:
            await self._write(session, batch)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, UnicodeError) as error:
            if not refuses_value(error):
                raise
            if len(batch) == 1:
                _refuse(batch[0], Poisoned(_reason(error)))
                return
            middle = len(batch) // 2
            await self._commit(session, batch[:middle])
            await self._commit(session, batch[middle:])

    async def _write(self, session: Session, batch: Sequence[_Write]) -> None:
        columns = Columns()
        for write in batch:
            columns.add(write.entry, write.term, write.token)
        started = time.perf_counter()
        failpoints.reached("commit.before")
        rows = await patiently(session, SQL["write"], *columns.arguments())
        failpoints.reached("commit.after")
        self._on_commit(len(rows), time.perf_counter() - started)
        written = {row[0] for row in rows}
        if absent := [write for write in batch if write.key not in written]:
            await self._explain(session, absent)
        for write in batch:
            if not write.done.done():
                write.done.set_result(None)

    async def _explain(self, session: Session, absent: Sequence[_Write]) -> None:
        run_ids = [write.key for write in absent]
        partitions = [write.term.partition for write in absent]
        rows = await patiently(
            session, SQL["explain"], run_ids, partitions, min(run_ids), max(run_ids)
        )
        found: dict[UUID, asyncpg.Record] = {row["run_id"]: row for row in rows}
        for write in absent:
            row = found[write.key]
            if (row["seq"], row["token"]) == (write.entry.after.seq, write.token):
                continue  # ours: the first answer was lost
            self.refused += 1
            if row["epoch"] != write.term.epoch:
                _refuse(write, Fenced(f"term {write.term.epoch} is over"))
            else:
                _refuse(write, Stale(f"{external_id(write.key)} moved to seq {row['seq']}"))


def _refuse(write: _Write, error: Exception) -> None:
    if not write.done.done():
        write.done.set_exception(error)


def _reason(error: Exception) -> str:
    # PostgreSQL's own sentence, without the details, which may show the value.
    return str(error) if isinstance(error, UnicodeError) else str(error.args[0])
