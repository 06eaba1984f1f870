"""What the judge keeps of a run: plain, and told by its history alone."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.setting import Expected

_KNOWN_ENDS = re.compile(
    r"final \d+|transient \d+|unknown \d+|timed out after \d+ ms|the outcome of its call is unknown"
    r"|there is nothing behind \$\{first\.output\.nothing\}|Agent '\w+' not found or inactive"
)


@dataclass(slots=True)
class Step:
    status: str = "PENDING"
    attempt: int = 0
    number: int = 0  # of the message
    task: str | None = None
    due: float | None = None
    waiting_for: str | None = None
    asked: str | None = None  # the last question
    answering: bool = False  # somebody answered, and the agent may not have it
    deadline: float = 0.0
    # How often a call of (attempt, message number) may still arrive.
    licences: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def in_call(self) -> bool:
        return self.status == "RUNNING" and self.due is None and self.waiting_for is None

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

    def has_reached(self, path: str) -> bool:
        """Whether the steps before are completed, and no other is at work."""
        for before in self.chain:
            if before == path:
                break
            if before not in self.steps or self.steps[before].status != "COMPLETED":
                return False
        others = (step for name, step in self.steps.items() if name != path)
        return all(step.status != "RUNNING" for step in others)


def may_fail(crashes: bool, cause: str) -> bool:  # noqa: FBT001
    """Whether agents or rows give a reason for this; a fault of the surroundings is none."""
    cause = re.sub(r"^Step '\w+' failed: ", "", cause)
    if cause.startswith(("the run crashed its actor", "a value cannot be stored")):
        return crashes
    return cause.startswith("the run's rows cannot be used") or bool(_KNOWN_ENDS.match(cause))
