"""Pieces of time, and how many runs were created in each: where in a list a page begins.

A run's id begins with the millisecond of its creation, so a piece is a range of ids.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from orchestrator.domain.record import record
from orchestrator.domain.run import RunStatus

HOUR_MS = 3_600_000
DAY_HOURS = 24

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ID_BITS = 128
_RANDOM_BITS = 80  # of an id, below its milliseconds
# The first hour of a day behind all ids.
_END_HOUR = -(-(1 << (_ID_BITS - _RANDOM_BITS)) // (HOUR_MS * DAY_HOURS)) * DAY_HOURS


@record
class Window:
    """The milliseconds from `first` up to, and without, `end`; empty if they are not in order."""

    first: int = 0
    end: int = _END_HOUR * HOUR_MS

    @property
    def hours(self) -> tuple[int, int]:
        """The whole hours in it, the second exclusive; not in order when no hour's end is in it."""
        return -(-self.first // HOUR_MS), self.end // HOUR_MS

    @property
    def days(self) -> tuple[int, int]:
        """The hours of the whole days in it, the second exclusive; equal if there are none."""
        first, end = self.hours
        day, after = -(-first // DAY_HOURS) * DAY_HOURS, end // DAY_HOURS * DAY_HOURS
        return (day, after) if day < after else (end, end)

    @property
    def edges(self) -> Iterator["Window"]:
        """What is in it beside the whole hours."""
        first, end = (hour * HOUR_MS for hour in self.hours)
        if first > end:
            yield self
            return
        if self.first < first:
            yield Window(self.first, first)
        if end < self.end:
            yield Window(end, self.end)

    @property
    def moment(self) -> datetime | None:
        """When it begins; None beyond the years that have a date."""
        try:
            return _EPOCH + timedelta(milliseconds=self.first)
        except OverflowError:
            return None

    @property
    def ids(self) -> tuple[UUID, UUID]:
        """The lowest and the highest id in it; it is not empty."""
        last = min(self.end << _RANDOM_BITS, 1 << _ID_BITS) - 1
        return UUID(int=min(self.first << _RANDOM_BITS, last)), UUID(int=last)


@record
class Piece:
    """How many runs of each status were created in a window."""

    window: Window
    counts: Mapping[RunStatus, int]

    def count(self, statuses: Collection[RunStatus]) -> int:
        return sum(n for status, n in self.counts.items() if status in statuses)

    @property
    def hours(self) -> int:
        """How long it is; 0: less than an hour."""
        return (self.window.end - self.window.first) // HOUR_MS


@record
class Stretch:
    """Pieces that hold the items wanted of a list, behind `skip` others; `count` items in all."""

    pieces: Sequence[Piece]
    skip: int
    count: int

    @property
    def ids(self) -> tuple[UUID, UUID]:
        windows = [piece.window for piece in self.pieces]
        return Window(min(w.first for w in windows), max(w.end for w in windows)).ids


def window(after: datetime | None, before: datetime | None) -> Window:
    """Return the milliseconds between two moments, both exclusive; None: any."""
    everything = Window()
    first = everything.first if after is None else max(_milliseconds(after) + 1, 0)
    end = everything.end if before is None else max(-_milliseconds(before, sign=-1), 0)
    return Window(first, end)


def millisecond(run_id: UUID) -> int:
    """Return the one in which a run was created."""
    return run_id.int >> _RANDOM_BITS


def stretch(
    pieces: Sequence[Piece], statuses: Collection[RunStatus], skip: int, take: int
) -> Stretch:
    """Find the pieces (in the list's order) that hold `take` items behind the first `skip`."""
    found: list[Piece] = []
    count = 0
    for piece in pieces:
        here = piece.count(statuses)
        if not found and skip >= here:
            skip -= here
            continue
        if here:
            found.append(piece)
            count += here
        if count >= skip + take:
            break
    return Stretch(found, skip, count)


def _milliseconds(moment: datetime, sign: int = 1) -> int:
    """Return the whole milliseconds since 1970, rounded down; of the negative with `sign` -1."""
    return sign * (moment - _EPOCH) // timedelta(milliseconds=1)
