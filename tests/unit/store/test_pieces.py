"""Windows of time cut into days, hours and edges: together they are the window, without a gap."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.run import RunStatus
from orchestrator.store.pieces import DAY_HOURS, HOUR_MS, Piece, Window, stretch, window

MOMENTS = st.none() | st.datetimes(timezones=st.just(UTC))
NEAR = st.integers(0, 5 * DAY_HOURS * HOUR_MS)
LAST_ID = UUID(int=(1 << 128) - 1)
PENDING, FAILED = RunStatus.PENDING, RunStatus.FAILED


@given(NEAR, NEAR)
def test_days_hours_and_edges_make_up_the_window(one: int, other: int) -> None:
    whole = Window(min(one, other), max(one, other))
    first, end = whole.hours
    day, after = whole.days
    parts = list(whole.edges)
    if first < end:
        hours = [*range(first, day), *range(after, end)]
        parts += [Window(hour * HOUR_MS, (hour + 1) * HOUR_MS) for hour in hours]
        parts += [
            Window(hour * HOUR_MS, (hour + DAY_HOURS) * HOUR_MS)
            for hour in range(day, after, DAY_HOURS)
        ]

    at = whole.first
    for part in sorted(parts, key=lambda part: part.first):
        assert part.first == at
        at = part.end
    assert at == whole.end
    assert all(edge.end - edge.first < HOUR_MS or first > end for edge in whole.edges)
    assert sum(edge.end - edge.first for edge in whole.edges) < 2 * HOUR_MS


@given(MOMENTS, MOMENTS, st.integers(0, 253_402_300_799_999))
def test_a_window_holds_what_was_created_between_two_moments(
    after: datetime | None, before: datetime | None, ms: int
) -> None:
    created = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    between = (after is None or created > after) and (before is None or created < before)

    found = window(after, before)

    assert (found.first <= ms < found.end) is between


def test_everything_has_every_id_and_no_edge() -> None:
    everything = window(None, None)

    assert everything.ids == (UUID(int=0), LAST_ID)
    assert list(everything.edges) == []
    assert everything.days == everything.hours
    assert everything.moment == datetime(1970, 1, 1, tzinfo=UTC)
    assert Window(1 << 48).moment is None  # a year that no date has


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8),
    st.integers(0, 20),
    st.integers(1, 6),
)
def test_a_stretch_holds_what_is_wanted_and_begins_with_it(
    counts: list[tuple[int, int]], skip: int, take: int
) -> None:
    some = [Piece(Window(n, n + 1), {PENDING: p, FAILED: f}) for n, (p, f) in enumerate(counts)]
    items = [n for n, (pending, _) in enumerate(counts) for _ in range(pending)]
    wanted = items[skip : skip + take]

    found = stretch(some, (PENDING,), skip, take)

    held = _items(found.pieces)
    assert held[found.skip : found.skip + take] == wanted
    if wanted:
        assert found.count == len(held)
        assert found.pieces[0].window.first == wanted[0]


def _items(some: Sequence[Piece]) -> list[int]:
    return [piece.window.first for piece in some for _ in range(piece.counts[PENDING])]
