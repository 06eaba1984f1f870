"""A broken promise, with what it was seen by."""

from dataclasses import dataclass

INVARIANTS = {
    1: "every accepted run ends in one final state, which stays",
    2: "no step starts before the one before it completed, or after an answered cancel",
    3: "no completed step is called again; a result is applied once, and none of an old owner",
    4: "a call is repeated only where its outcome is unknown, under the same messageId",
    5: "attempts keep to the agent's policy and waits are not shortened",
    6: "the history has no gap and is in order; totals match the rows",
    7: "answers are those documented; no process and no actor crashes; bounds hold",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """`invariant` is a key of INVARIANTS; `run` may be empty."""

    invariant: int
    run: str
    text: str
