"""What a load reports: as it goes, and in the end."""

import io
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import pytest

from bench.load import summary
from bench.load.executes import Executes
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.progress import Progress

STEPS = ("extract", "transform", "load")
GOOD = {step: {"calls": 2, "runs": 2} for step in STEPS}
ENDED = {"PENDING": 0, "RUNNING": 0, "COMPLETED": 2, "FAILED": 0, "CANCELLED": 0}


def a_load(*, completed: int = 2) -> tuple[Plan, Load]:
    """Return a load of two seconds in which two runs were accepted, one each second."""
    plan = Plan(("http://127.0.0.1:1",), duration=2.0)
    nobody = cast("aiohttp.ClientSession", None)
    load = Load(plan, cast("Executes", None), nobody, "w", told_by_agents=True)
    for number in range(2):
        load.samples.executes.add(number, number + 0.010)
        load.accepted += 1
        load._waiting[f"run-{number}"] = number
    for number in range(completed):
        load.tell(f"run-{number}", load.began + number + 0.050)
    return plan, load


def made(report: Any = GOOD, statuses: Any = ENDED) -> summary.Made:
    return summary.Made(datetime.now(UTC), 0.1, report, statuses)


def test_a_good_load_is_ok_and_its_figures_are_of_its_window() -> None:
    plan, load = a_load()

    result = summary.summarise(plan, load, made())

    assert result["ok"] is True
    assert result["execute"]["per_s"] == result["runs"]["per_s"] == 1.0
    assert result["execute"]["latency_ms"]["p99"] == pytest.approx(10)
    assert result["runs"]["latency_ms"]["max"] == pytest.approx(50)
    assert [each["runs"]["count"] for each in result["series"]] == [1, 1]
    assert "Each run made exactly three calls" in "\n".join(summary.lines(result))


@pytest.mark.parametrize(
    ("report", "statuses", "problem"),
    [
        ({**GOOD, "load": {"calls": 3, "runs": 2}}, ENDED, "step 'load': 3 calls for 2 runs"),
        ({**GOOD, "load": {"calls": 1, "runs": 1}}, ENDED, "step 'load': called for 1 of 2 runs"),
        (GOOD, ENDED | {"PENDING": 1}, "1 runs are PENDING"),
        (GOOD, ENDED | {"COMPLETED": 1, "FAILED": 1}, "1 runs are FAILED"),
        (GOOD, ENDED | {"COMPLETED": 1}, "1 of 2 accepted runs are COMPLETED"),
    ],
)
def test_what_is_not_as_it_must_be_is_named(report: Any, statuses: Any, problem: str) -> None:
    plan, load = a_load()

    result = summary.summarise(plan, load, made(report, statuses))

    assert result["ok"] is False
    assert problem in result["checks"]["problems"]
    assert f"Wrong: {problem}" in summary.lines(result)


def test_a_run_that_has_not_ended_is_a_problem_unless_it_failed() -> None:
    _, load = a_load(completed=1)

    left = "1 accepted runs had not ended when the load gave up"
    assert left in summary.problems(load, GOOD, ENDED)
    assert left not in summary.problems(load, GOOD, ENDED | {"FAILED": 1})


def test_throttled_requests_are_no_errors_but_shown() -> None:
    plan, load = a_load()
    load.samples.throttled.add(0.5, 0.6)
    load.samples.retry_after.append(2.0)

    result = summary.summarise(plan, load, made())

    assert result["ok"] is True
    assert result["throttled"] == {"count": 1, "retry_after_s": [2.0]}
    assert "1 requests got 429, Retry-After 2 s." in summary.lines(result)


def test_an_error_spoils_a_load() -> None:
    plan, load = a_load()
    load.samples.errors["HTTP 500"] += 2

    result = summary.summarise(plan, load, made())

    assert result["ok"] is False
    assert "2 x HTTP 500" in summary.lines(result)


def test_progress_tells_of_the_time_since_its_last_line() -> None:
    plan, load = a_load(completed=1)
    progress = Progress(plan, load, io.StringIO())

    first, second = progress.line(), progress.line()

    assert "execute 10.0/10.0  run 50.0/50.0  1 open" in first
    assert "    0 runs/s  execute -  run -  1 open" in second
