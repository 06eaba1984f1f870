"""A made history, and the verdict on what was measured with it."""

import random
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from bench.history.cases import Case, Group, cases
from bench.history.command import _sizes
from bench.history.measure import Taken
from bench.history.seed import STEPS, Workflow, _Maker
from bench.history.targets import lines, table

DAY = date(2026, 3, 1)
GROUP = Group("lists", most_ms=50, ratio=2)


def taken(short: float, long: float) -> list[Taken]:
    return [Taken(Case(GROUP), {10_000: [short] * 100, 1_000_000: [long] * 100})]


@pytest.mark.parametrize(
    ("short", "long", "met"),
    [(10, 12, [True, True]), (10, 21, [True, False]), (40, 51, [False, True])],
)
def test_a_target_is_missed_by_the_time_or_by_its_growth(
    short: float, long: float, met: list[bool]
) -> None:
    found = lines(taken(short, long), [10_000, 1_000_000], None)

    assert [line.met for line in found] == met
    assert table(found).count("MISSED") == met.count(False)


@pytest.mark.parametrize(
    ("runs", "sizes"),
    [(1_000_000, [10_000, 100_000, 1_000_000]), (10_000, [10_000]), (500, [500])],
)
def test_a_short_history_is_measured_beside_the_long_one(runs: int, sizes: list[int]) -> None:
    assert _sizes(runs) == sizes


def test_a_made_day_has_its_runs_in_order_and_whole() -> None:
    flows = [Workflow(UUID(int=n), f"wf-{n}") for n in range(10)]
    maker = _Maker(random.Random(1), flows, DAY, 3000, waiting=10)

    lines = list(maker.chunks())

    runs = [line.rstrip("\n").split("\t") for chunk in lines for line in chunk["run"]]
    steps = [line.split("\t") for chunk in lines for line in chunk["step_execution"]]
    events = [line.split("\t") for chunk in lines for line in chunk["run_event"]]
    ids = [UUID(run[0]) for run in runs]
    assert ids == sorted(ids)
    assert len(set(ids)) == 3000
    midnight = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)
    assert all(0 <= (each.int >> 80) - midnight < 86_400_000 for each in ids)
    assert sum(run[6] == "RUNNING" for run in runs) == 10
    completed = {run[0] for run in runs if run[6] == "COMPLETED"}
    assert sum(step[0] in completed for step in steps) == len(completed) * len(STEPS)
    last = {event[0]: event[1] for event in events}  # the number of each run's last event
    assert all(last[run[0]] == run[7] for run in runs)


def test_every_list_is_asked_for_with_every_filter() -> None:
    asked = [case for case in cases({"all": {}, "failed": {}}) if case.place]

    assert len(asked) == 2 * 4 * (1 + 3)
    assert {case.filters for case in asked} == {"all", "failed"}
