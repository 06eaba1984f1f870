"""What the judge keeps of a run: plain, and told by its history alone."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.setting import Expected


@dataclass(slots=True)
class Step:
    status: str = "PENDING"
    attempt: int = 0
    number: int = 0  # of the message
    task: str | None = None
    due: float | None = None
    deadline: float = 0.0
    # How often a call of (attempt, message number) may still arrive.
    licences: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def in_call(self) -> bool:
        return self.status == "RUNNING" and self.due is None

    @property
    def at_work(self) -> bool:
        return self.in_call or (self.status == "RUNNING" and self.task is not None)


@dataclass(slots=True)
class Life:
    """A run as the judge sees it."""

    chain: Mapping[str, Expected]
    status: str = "PENDING"
    seq: int = 0
    epoch: int = 0  # of the last write of an owner
    steps: dict[str, Step] = field(default_factory=dict)
