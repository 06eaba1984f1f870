"""What a soak says of figures over time."""

import re
from dataclasses import replace

import pytest

from bench.soak import command, trend
from bench.soak.trend import Bound
from bench.soak.watch import Look

TIMES = [60.0 * minute for minute in range(1, 21)]
LOOK = Look(60.0, 100.0, 80.0, 50, 40, 0.3, 120.0, 2.0, 9.0, 6.0, 20.0)


def looks(**creeping: float) -> list[Look]:
    """Return an hour's looks, in which some figures rise by so much each minute."""
    found = []
    for minute in range(60):
        more = {name: getattr(LOOK, name) + step * minute for name, step in creeping.items()}
        found.append(replace(LOOK, at=60.0 * (minute + 1), **more))
    return found


def test_what_rises_only_while_it_settles_is_flat() -> None:
    values = [10.0, 20.0, 30.0, 40.0, 50.0] + [50.0, 51.0, 49.0] * 5

    seen = trend.of(TIMES, values, Bound(0.05, 0.0))

    assert (seen.early, seen.late, seen.flat) == (50.0, 50.0, True)
    assert abs(seen.per_hour) < 5


def test_what_keeps_rising_creeps_and_its_slope_is_an_hours() -> None:
    seen = trend.of(TIMES, [100.0 + 2 * at / 60 for at in TIMES], Bound(0.05, 3.0))

    assert not seen.flat
    assert seen.per_hour == pytest.approx(120.0)
    assert seen.late > seen.early


@pytest.mark.parametrize(("bound", "flat"), [(Bound(0.2, 0.0), True), (Bound(0.0, 15.0), True)])
def test_a_share_or_a_slack_is_allowed(bound: Bound, flat: bool) -> None:  # noqa: FBT001
    values = [100.0] * 12 + [115.0] * 8

    assert trend.of(TIMES, values, bound).flat is flat
    assert not trend.of(TIMES, values, Bound(0.05, 10.0)).flat


def test_a_short_series_shows_no_trend() -> None:
    with pytest.raises(ValueError, match="too few"):
        trend.of(TIMES[:7], TIMES[:7], Bound(1.0, 1.0))


@pytest.mark.parametrize("name", command.BOUNDS)
def test_whatever_creeps_is_named(name: str) -> None:
    step = 2.0 * max(command.BOUNDS[name].share * getattr(LOOK, name), command.BOUNDS[name].slack)

    trends = command.judged(looks(**{name: step / 10}))

    assert [each for each, seen in trends.items() if not seen.flat] == [name]
    assert "CREEPS" in "\n".join(command.lines({"minutes": 60}, trends))


def test_a_slice_without_runs_is_left_out() -> None:
    silent = replace(LOOK, at=3660.0, execute_p50_ms=None, execute_p99_ms=None, run_p99_ms=None)

    trends = command.judged([*looks(), silent])

    assert trends["run_p99_ms"].late == LOOK.run_p99_ms
    assert command.page("now", "", [*looks(), silent]).count("<svg") == 5


def test_the_report_needs_nothing_from_elsewhere() -> None:
    text = command.page("now", "figures & <more>", looks())

    assert text.count("<svg") == 5
    assert text.count("figures &amp; &lt;more&gt;") == 1
    assert re.findall(r"<script[^>]+src|<link|@import|<img", text) == []
