"""Whether a series of figures creeps: its second half against its first, and its slope."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, median


@dataclass(frozen=True, slots=True)
class Bound:
    """How much later figures may exceed earlier ones: by a share of them, or by so much."""

    share: float
    slack: float


@dataclass(frozen=True, slots=True)
class Trend:
    """A figure over time. Of the settled part, which begins after the first quarter."""

    early: float  # the median of the settled part's first half
    late: float  # and of its second
    per_hour: float  # the slope of a line through it
    flat: bool


def of(at_s: Sequence[float], values: Sequence[float], bound: Bound) -> Trend:
    """Judge a series of at least eight figures, in the order of their times (seconds)."""
    if len(values) < 8:  # noqa: PLR2004 - two quarters of two each remain
        raise ValueError("there are too few figures to see a trend in")
    settled = len(values) // 4
    times, rest = at_s[settled:], values[settled:]
    middle = len(rest) // 2
    early, late = median(rest[:middle]), median(rest[middle:])
    slope = linear_regression(times, rest).slope * 3600
    flat = late <= early + max(bound.share * early, bound.slack)
    return Trend(early, late, slope, flat)
