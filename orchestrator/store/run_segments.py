"""Parts of lists of runs: what is wanted of them is read from an index, near its own place.

The totals tell when the runs of a segment were created, day by day. So what lies before a page is
left out by the day and by the hour, and the rest is read from whichever end is nearer.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from orchestrator.domain.record import record
from orchestrator.domain.run import RunId, RunStatus
from orchestrator.store import pieces, queries, totals
from orchestrator.store.pieces import DAY_HOURS, Piece, Stretch
from orchestrator.store.pool import Conn
from orchestrator.store.runs import RunRow, run_row
from orchestrator.store.totals import Counted

SQL = queries.load("run_segments")

_WALK = 2000  # items that are rather left out one by one than looked for by the hour
_LAST_ID = RunId(UUID(int=(1 << 128) - 1))


@record
class Order:
    """The statements that read in an order: oldest first, newest first.

    None: `late` that of the creation. Else that of the end, and `late` counts how they differ.
    """

    oldest_first: str
    newest_first: str
    late: str | None = None


BY_ID = Order(SQL["by_id_asc"], SQL["by_id_desc"])
NOT_COMPLETED = Order(SQL["not_completed_by_id_asc"], SQL["not_completed_by_id_desc"])
BY_COMPLETED_AT = Order(
    SQL["by_completed_at_asc"], SQL["by_completed_at_desc"], SQL["late_completed"]
)
BY_UPDATED_AT = Order(SQL["by_updated_at_asc"], SQL["by_updated_at_desc"], SQL["late_updated"])


@record
class Place:
    """Where a run stands in any list: `at` is what a list by the end sorts it by."""

    status: RunStatus
    at: datetime | None
    id: RunId


@record
class Segment:
    """Runs of some statuses in an order."""

    order: Order
    statuses: Sequence[RunStatus]


class Reader:
    """Reads pieces of segments, in one transaction."""

    def __init__(
        self, conn: Conn, counted: Counted, known: Sequence[Piece], *, descending: bool
    ) -> None:
        self._conn = conn
        self._counted = counted
        self._descending = descending
        self._pieces = list(reversed(known)) if descending else list(known)

    def count(self, statuses: Collection[RunStatus]) -> int:
        return sum(piece.count(statuses) for piece in self._pieces)

    async def page(self, segments: Sequence[Segment], skip: int, take: int) -> list[RunRow]:
        """Return `take` runs behind the first `skip`."""
        rows: list[RunRow] = []
        for segment in segments:
            count = self.count(segment.statuses)
            here = min(count - skip, take - len(rows))
            if here > 0:
                rows += await self._some(segment, skip, here)
            skip = max(skip - count, 0)
        return rows

    async def behind(self, place: Place, segments: Sequence[Segment], take: int) -> list[RunRow]:
        """Return the first `take` runs behind a place."""
        for number, segment in enumerate(segments):
            if place.status in segment.statuses:
                rows = await self._behind(place, segment, take)
                return rows + await self.page(segments[number + 1 :], 0, take - len(rows))
        return []

    async def _behind(self, place: Place, segment: Segment, take: int) -> list[RunRow]:
        """Return the first `take` runs of a segment behind a place in it."""
        if segment.order.late:
            return await self._read(segment, self._all(segment), take, place)
        ms = pieces.millisecond(place.id)
        ahead = [piece for piece in self._pieces if self._reaches(piece, ms)]
        # How much of the first piece lies behind the place is not known: it may be nothing.
        rest = pieces.stretch(ahead[1:], segment.statuses, 0, take)
        found = replace(rest, pieces=[*ahead[:1], *rest.pieces])
        return await self._read(segment, found, take, place)

    def _reaches(self, piece: Piece, ms: int) -> bool:
        """Whether some of a piece lies at a millisecond or behind it."""
        return piece.window.first <= ms if self._descending else piece.window.end > ms

    def _all(self, segment: Segment) -> Stretch:
        return pieces.stretch(self._pieces, segment.statuses, 0, self.count(segment.statuses))

    async def _some(self, segment: Segment, skip: int, take: int) -> list[RunRow]:
        """Return `take` runs of a segment behind its first `skip`; it has them."""
        if not segment.order.late:
            found = await self._near(self._pieces, segment, skip, take)
        else:
            found = replace(self._all(segment), skip=skip)
        from_the_end = max(found.count - found.skip - take, 0)
        if segment.order.late and min(skip, from_the_end) > _WALK:
            before = from_the_end if self._descending else skip
            rows = await self._around(segment, segment.order.late, before, take)
            return rows[::-1] if self._descending else rows
        if from_the_end >= found.skip:
            return await self._read(segment, found, take)
        rows = await self._read(segment, replace(found, skip=from_the_end), take, backwards=True)
        return rows[::-1]

    async def _near(
        self, known: Sequence[Piece], segment: Segment, skip: int, take: int
    ) -> Stretch:
        """Find a few days that hold what is wanted; hours, where days would be too much."""
        found = pieces.stretch(known, segment.statuses, skip, take)
        first, *later = found.pieces
        walk = min(found.skip, found.count - found.skip - take)
        if walk <= _WALK or first.hours != DAY_HOURS:
            return found
        some = await totals.hours(self._conn, self._counted, first)
        if known[0].window.first > known[-1].window.first:
            some.reverse()
        return pieces.stretch([*some, *later], segment.statuses, found.skip, take)

    async def _around(self, segment: Segment, late: str, before: int, take: int) -> list[RunRow]:
        """Return `take` runs by their end, oldest first, behind the first `before`.

        Most runs end soon: about as many ended before a moment as were created before it, and by
        how many that is wrong can be counted.
        """
        everything = self._all(segment)
        oldest_first = self._pieces[::-1] if self._descending else self._pieces
        near = await self._near(oldest_first, segment, before, take)
        first, moment = near.pieces[0].window.ids[0], near.pieces[0].window.moment
        found, place = replace(everything, skip=before), None
        if moment is not None:
            filters = (self._status(segment), self._counted.workflow_id)
            wrong: int = await self._conn.fetchval(late, *filters, *everything.ids, first, moment)
            if near.skip + wrong >= 0:
                found = replace(everything, skip=near.skip + wrong)
                place = Place(segment.statuses[0], moment - timedelta(microseconds=1), _LAST_ID)
        return await self._read(segment, found, take, place, backwards=self._descending)

    async def _read(
        self,
        segment: Segment,
        found: Stretch,
        take: int,
        place: Place | None = None,
        *,
        backwards: bool = False,
    ) -> list[RunRow]:
        if not found.pieces or take <= 0:
            return []
        lowest, highest = (each.int for each in found.ids)
        behind: list[object] = []
        if segment.order.late:
            behind = [place.at, place.id] if place else [None, None]
        elif place and self._descending:
            highest = min(highest, place.id.int - 1)
        elif place:
            lowest = max(lowest, place.id.int + 1)
        if lowest > highest:
            return []
        newest_first = self._descending is not backwards
        rows = await self._conn.fetch(
            segment.order.newest_first if newest_first else segment.order.oldest_first,
            self._status(segment),
            self._counted.workflow_id,
            UUID(int=lowest),
            UUID(int=highest),
            found.skip,
            take,
            *behind,
        )
        return [run_row(row) for row in rows]

    def _status(self, segment: Segment) -> RunStatus | None:
        """Return the one that a segment's statement is to look for."""
        return segment.statuses[0] if len(segment.statuses) == 1 else self._counted.status
