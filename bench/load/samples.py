"""What a load measured, and the arithmetic on it: exact, from all samples, sorted when asked.

Times are seconds since the load's start. A sample belongs to the moment at which its request was
*meant* to start, and lasts from there: a server that stalls is charged with every request that it
kept from starting (no coordinated omission).
"""

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a load that counts: after the warm-up, before the end."""

    begin: float
    end: float

    def __contains__(self, at: float) -> bool:
        return self.begin <= at < self.end

    @property
    def seconds(self) -> float:
        return self.end - self.begin


class Latencies:
    """Samples of one kind."""

    def __init__(self) -> None:
        self.started = array("d")
        self.took = array("d")

    def __len__(self) -> int:
        return len(self.took)

    def add(self, started: float, ended: float) -> None:
        self.started.append(started)
        self.took.append(ended - started)

    def ended_in(self, window: Window) -> int:
        """Count those that ended in the window, whenever they started: the throughput."""
        pairs = zip(self.started, self.took, strict=True)
        return sum(started + took in window for started, took in pairs)

    def sorted_in(self, window: Window) -> "array[float]":
        """Return the latencies of those that were meant to start in the window, shortest first."""
        pairs = zip(self.started, self.took, strict=True)
        return array("d", sorted(took for started, took in pairs if started in window))


@dataclass(slots=True)
class Samples:
    """All that a load measured."""

    executes: Latencies = field(default_factory=Latencies)
    runs: Latencies = field(default_factory=Latencies)
    lateness: Latencies = field(default_factory=Latencies)  # of the generator itself
    errors: Counter[str] = field(default_factory=Counter)
    throttled: Latencies = field(default_factory=Latencies)
    retry_after: "array[float]" = field(default_factory=lambda: array("d"))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of all do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("there are no samples")
    rank = math.ceil(percent / 100 * len(ordered) - 1e-9)  # 99.9 / 100 * 1000 is a little too much
    return ordered[max(rank, 1) - 1]


def milliseconds(ordered: Sequence[float]) -> dict[str, float]:
    """Return the figures that are shown, in milliseconds; none where there are no samples."""
    if not ordered:
        return {}
    figures = {f"p{percent:g}": percentile(ordered, percent) for percent in PERCENTILES}
    figures |= {"max": ordered[-1], "mean": math.fsum(ordered) / len(ordered)}
    return {name: round(value * 1000, 3) for name, value in figures.items()}
