"""A schedule: what is done to a stage, and when, drawn from a seed alone."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Act:
    """At so many seconds of the schedule, do `what` (a function of `acts`) with `with_`."""

    at: float
    what: str
    with_: Mapping[str, Any] = field(default_factory=dict)


def act(at: float, what: str, **with_: Any) -> Act:
    return Act(at, what, with_)


Schedule = Callable[[random.Random], Sequence[Act]]
