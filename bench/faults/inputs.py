"""What the runs of a load are given, and so how their agents behave."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from bench.faults.stage import STEPS

Draw = Callable[[random.Random], dict[str, Any]]

_PASSING = ("busy", "throttled", "internal", "lost", "reset", "hang", "drip")
_USELESS = ("redirect", "huge", "not_utf8", "wrong_id", "endless")
_OFTEN = 2  # of four attempts


def plain(rng: random.Random) -> dict[str, Any]:
    """Draw the input of a run whose agents do well, as message or as task."""
    return {
        "behave": {step: [] for step in STEPS},
        "delay_ms": rng.choice((0, 20, 200)),
        "mode": rng.choice(("message", "message", "task")),
    }


def passing(rng: random.Random) -> dict[str, Any]:
    """Draw the input of a run whose agents fail at first, in ways that pass."""
    behave = {step: _spread(_PASSING, rng, 0.25) for step in STEPS}
    return plain(rng) | {"behave": behave}


def useless(rng: random.Random) -> dict[str, Any]:
    """Draw the input of a run whose agents may answer what is of no use to anybody."""
    behave: dict[str, list[str]] = {step: [] for step in STEPS}
    behave[rng.choice(STEPS)] = _spread(_USELESS, rng, 0.6)[:1]
    return plain(rng) | {"behave": behave}


def _spread(values: Sequence[str], rng: random.Random, share: float) -> list[str]:
    """Return what the calls of a step meet: at first, with this chance each, one of `values`."""
    met: list[str] = []
    while rng.random() < share and len(met) < _OFTEN:
        met.append(rng.choice(values))
    return met
