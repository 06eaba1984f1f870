"""Named points at which a test has this process die, or stand still, at once.

Inert unless ORCHESTRATOR_FAILPOINT names one as `<point>:<nth>`, or `<point>:<nth>:stop`: the
process then gets SIGKILL, or SIGSTOP, when it comes to that point for the nth time. The fault bench
(`bench/faults`) uses it; nobody else should.
"""

import os
import re
import signal
from dataclasses import dataclass

VARIABLE = "ORCHESTRATOR_FAILPOINT"

# Before: nothing of it has happened. After: it has, and nobody here has heard of it yet.
POINTS = (
    "create.before",  # the INSERT of new runs
    "create.after",
    "commit.before",  # the journal's statement
    "commit.after",
    "claim.before",  # of a partition
    "claim.after",
    "publish.before",  # a hint is given to Kafka's producer
    "publish.after",
    "call.before",  # a message or a poll leaves for an agent
    "call.after",  # its request was handed to the connection, its answer is not there
    "answer.before",  # the agent's answer is there, nothing of it is recorded
    "answer.after",  # it is recorded, what follows from it has not happened
    "offsets.before",  # the commit of offsets
    "offsets.after",
)
_FORM = re.compile(r"(?P<point>[a-z.]+):(?P<nth>[1-9]\d{0,8})(?P<stop>:stop)?")


@dataclass(slots=True)
class _Armed:
    point: str
    left: int
    signal: int


def problem(text: str) -> str | None:
    """Return what is wrong with the variable's value; None: it names a point."""
    found = _FORM.fullmatch(text)
    if found is None:
        return "it has the form <point>:<nth> or <point>:<nth>:stop"
    return None if found["point"] in POINTS else f"there is no point {found['point']}"


def reached(point: str) -> None:
    """Note that the program is at this point; it may go no further."""
    if _ARMED is not None and _ARMED.point == point:
        _ARMED.left -= 1
        if _ARMED.left == 0:
            os.kill(os.getpid(), _ARMED.signal)


def _armed(text: str | None) -> _Armed | None:
    found = _FORM.fullmatch(text or "")
    if found is None or found["point"] not in POINTS:
        return None  # `settings.load` refuses it
    number = signal.SIGSTOP if found["stop"] else signal.SIGKILL
    return _Armed(found["point"], int(found["nth"]), number)


_ARMED = _armed(os.environ.get(VARIABLE))
