"""The load generator's arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.samples import PERCENTILES, Latencies, Window, milliseconds, percentile


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (0.1, 1), (0.2, 2), (50, 500), (99, 990), (99.9, 999)]
)
def test_a_percentile_is_the_sample_of_that_rank(percent: float, expected: int) -> None:
    assert percentile(range(1, 1001), percent) == expected


@given(
    samples=st.lists(st.integers(0, 50), min_size=1).map(sorted),
    percent=st.sampled_from([*PERCENTILES, 1.0, 100.0]),
)
def test_a_percentile_is_the_smallest_sample_that_so_many_do_not_exceed(
    samples: list[int], percent: float
) -> None:
    found = percentile(samples, percent)

    def share(limit: float) -> float:
        return 100 * sum(each <= limit for each in samples) / len(samples)

    assert found in samples
    assert share(found) >= percent - 1e-6
    assert all(share(each) < percent for each in samples if each < found)


def test_no_samples_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)
    assert milliseconds([]) == {}


def test_figures_are_in_milliseconds() -> None:
    figures = milliseconds([0.001, 0.002, 0.006])

    assert figures == {"p50": 2, "p90": 6, "p99": 6, "p99.9": 6, "max": 6, "mean": 3}


def test_throughput_goes_by_the_end_of_a_sample_and_latency_by_its_start() -> None:
    latencies = Latencies()
    for started, ended in [(0.0, 0.5), (0.9, 1.5), (1.5, 1.75), (1.75, 7.0), (2.0, 2.5)]:
        latencies.add(started, ended)
    window = Window(1.0, 2.0)

    assert latencies.ended_in(window) == 2
    found = latencies.sorted_in(window)
    assert [round(each, 9) for each in found] == [0.25, 5.25]
    assert math.isclose(window.seconds, 1.0)
    assert len(latencies) == 5


def test_a_window_has_its_begin_and_not_its_end() -> None:
    window = Window(1.0, 2.0)

    assert [at in window for at in (0.999, 1.0, 1.999, 2.0)] == [False, True, True, False]
