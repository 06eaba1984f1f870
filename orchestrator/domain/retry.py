"""The retry policy of an agent: how often, and how long between two attempts."""

from datetime import timedelta

from orchestrator.domain.record import record

_LONGEST_MS = 366 * 86_400_000  # beyond it durations and timestamps overflow sooner or later


@record
class RetryPolicy:
    """At most `max_retries + 1` attempts, with exponential backoff between them."""

    max_retries: int = 3
    initial_delay_ms: int = 1_000
    max_delay_ms: int = 30_000
    backoff_multiplier: float = 2.0

    def allows(self, attempt: int) -> bool:
        """Whether another attempt may follow the given one (counted from 1)."""
        return attempt <= self.max_retries

    def delay(self, attempt: int, jitter: float, retry_after: timedelta | None = None) -> timedelta:
        """Return the wait after the given attempt (from 1), at most `max_delay_ms` (and a year).

        `jitter` in [0, 1) takes up to a half off the exponential delay, so that many runs that
        failed together do not come back together. An agent's `Retry-After` is a lower bound.
        """
        cap = timedelta(milliseconds=min(self.max_delay_ms, _LONGEST_MS))
        try:
            factor = self.backoff_multiplier ** (attempt - 1)
            backoff = timedelta(milliseconds=self.initial_delay_ms * factor)
        except OverflowError:
            backoff = cap
        backoff = min(backoff, cap) * (1 - jitter / 2)
        return min(max(backoff, retry_after or timedelta(0)), cap)
