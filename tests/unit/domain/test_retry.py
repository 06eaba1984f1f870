"""The retry policy: how often, and the bounds of every wait."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.retry import RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 10),
    initial_delay_ms=st.integers(100, 10**7) | st.just(10**30),
    max_delay_ms=st.integers(1000, 10**9) | st.just(10**30),
    backoff_multiplier=st.floats(1.0, 10.0) | st.just(1e308),
)
attempts = st.integers(1, 11)
jitters = st.floats(0.0, 1.0, exclude_max=True)


@given(policies)
def test_at_most_max_retries_plus_one_attempts(policy: RetryPolicy) -> None:
    made = 1
    while policy.allows(made):
        made += 1

    assert made == policy.max_retries + 1


@given(policies, attempts, jitters, st.none() | st.timedeltas(timedelta(days=-1)))
def test_no_wait_is_negative_or_longer_than_the_cap(
    policy: RetryPolicy, attempt: int, jitter: float, retry_after: timedelta | None
) -> None:
    delay = policy.delay(attempt, jitter, retry_after)

    assert timedelta(0) <= delay
    assert delay / timedelta(milliseconds=1) <= policy.max_delay_ms
    assert delay <= timedelta(days=366)


@given(policies, attempts)
def test_waits_grow_until_the_cap(policy: RetryPolicy, attempt: int) -> None:
    assert policy.delay(attempt, 0.0) <= policy.delay(attempt + 1, 0.0)


@given(policies, attempts, jitters)
def test_jitter_takes_off_up_to_a_half(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    full = policy.delay(attempt, 0.0)

    delay = policy.delay(attempt, jitter)

    assert full / 2 - timedelta(microseconds=1) <= delay <= full
    assert delay < full or jitter < 1e-6


@given(policies, attempts, jitters, st.timedeltas(timedelta(0), timedelta(days=1)))
def test_retry_after_is_waited_for_up_to_the_cap(
    policy: RetryPolicy, attempt: int, jitter: float, retry_after: timedelta
) -> None:
    cap = policy.delay(10**6, 0.0, timedelta.max)

    delay = policy.delay(attempt, jitter, retry_after)

    assert delay >= min(retry_after, cap)
    assert delay >= policy.delay(attempt, jitter)


@pytest.mark.parametrize(("attempt", "expected_ms"), [(1, 1000), (2, 2000), (3, 4000), (6, 30_000)])
def test_the_default_policy_doubles_from_a_second_to_half_a_minute(
    attempt: int, expected_ms: int
) -> None:
    assert RetryPolicy().delay(attempt, 0.0) == timedelta(milliseconds=expected_ms)
