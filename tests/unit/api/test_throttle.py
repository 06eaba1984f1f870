"""How many executes are let in, by the time that they take."""

from contextlib import ExitStack

import pytest

from orchestrator.api.throttle import Throttle
from orchestrator.domain.errors import Overloaded, Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def work(throttle: Throttle, clock: Clock, took: float, at_once: int = 1) -> None:
    """Have some executes under way at once, each for so long."""
    with ExitStack() as stack:
        for _ in range(at_once):
            stack.enter_context(throttle.enter())
        clock.now += took


def test_as_many_as_the_limit_are_let_in_and_no_more(throttle: Throttle, clock: Clock) -> None:
    with ExitStack() as stack:
        for _ in range(throttle.limit):
            stack.enter_context(throttle.enter())
        with pytest.raises(Overloaded, match="Too many executions at once"):
            throttle.enter().__enter__()
    assert throttle.under_way == 0
    work(throttle, clock, 0.001)


def test_slow_executes_lower_the_limit_down_to_a_least(throttle: Throttle, clock: Clock) -> None:
    first = throttle.limit

    work(throttle, clock, 1.0)

    assert throttle.limit < first
    for _ in range(100):
        work(throttle, clock, 1.0)
    least = throttle.limit
    work(throttle, clock, 1.0)
    assert 50 <= throttle.limit == least


def test_fast_ones_raise_it_only_where_it_is_used_up(throttle: Throttle, clock: Clock) -> None:
    for _ in range(50):
        work(throttle, clock, 0.2)
    low = throttle.limit

    for _ in range(50):
        work(throttle, clock, 0.01)
    assert throttle.limit == low
    for _ in range(50):
        work(throttle, clock, 0.01, at_once=throttle.limit)
    assert throttle.limit > low


def test_what_was_refused_counts_as_use(throttle: Throttle, clock: Clock) -> None:
    limit = throttle.limit
    with ExitStack() as stack:
        for _ in range(limit):
            stack.enter_context(throttle.enter())
        with pytest.raises(Overloaded):
            throttle.enter().__enter__()

    clock.now += 1.0  # a window passes
    work(throttle, clock, 0.001)

    assert throttle.limit > limit


def test_a_slow_disk_is_given_more_time(throttle: Throttle, clock: Clock) -> None:
    usual = throttle.target
    for seconds in (0.05, 0.04, 0.5):  # one commit of three was held up by something else
        throttle.committed(seconds)
    limit = throttle.limit

    work(throttle, clock, 0.15)

    assert throttle.target == pytest.approx(0.2)
    assert throttle.target > usual
    assert throttle.limit == limit


def test_what_failed_says_nothing_of_the_time(throttle: Throttle, clock: Clock) -> None:
    limit = throttle.limit

    def fail() -> None:
        with throttle.enter():
            clock.now += 7.0
            raise Unavailable("away")

    with pytest.raises(Unavailable):
        fail()

    assert (throttle.limit, throttle.under_way) == (limit, 0)
