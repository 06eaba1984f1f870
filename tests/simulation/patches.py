"""Gives the engine's modules the simulated clock, chance and log, for as long as a block runs.

The modules name `time`, `random` and `log` as globals, so that each of them can be given another
without a seam in the engine.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from orchestrator.domain import machine
from orchestrator.domain.messages import Command, Decision
from orchestrator.domain.run import Run

_MAX_CRASHES = 3  # then the run is failed

Decide = Callable[[Run, Command], Decision]


class Log:
    """Takes what the engine logs; what it says of itself as unexpected is told."""

    def __init__(self) -> None:
        self.told: Callable[[str, str, dict[str, Any]], None] | None = None
        self.unexpected: Callable[[str], None] = lambda _: None

    def _take(self, level: str, event: str, values: dict[str, Any]) -> None:
        if self.told is not None:
            self.told(level, event, values)

    def debug(self, event: str, **values: Any) -> None:
        self._take("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        self._take("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._take("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._take("error", event, values)

    def exception(self, event: str, **values: Any) -> None:
        self._take("exception", event, values)
        error = sys.exc_info()[1]
        simulated = isinstance(error, ValueError) and str(error).startswith("simulated fault")
        if not simulated or values.get("crashes", 0) > _MAX_CRASHES:
            self.unexpected(f"{event} {values}: {error!r}")


class Ground:
    """What the engine's modules stand on at the moment; a world sets it."""

    def __init__(self) -> None:
        self.log = Log()
        self.now: Callable[[], float] = lambda: 0.0
        self.chance = random.Random(0)
        self.decide: Decide = machine.decide


GROUND = Ground()


def _now() -> float:
    return GROUND.now()


class _Chance:
    """What the engine uses of `random`."""

    def random(self) -> float:
        return GROUND.chance.random()

    def getrandbits(self, bits: int) -> int:
        return GROUND.chance.getrandbits(bits)

    def uniform(self, low: float, high: float) -> float:
        return GROUND.chance.uniform(low, high)


_TIME = SimpleNamespace(monotonic=_now, perf_counter=_now, time=_now)
_RANDOM = _Chance()


def _decide(run: Run, command: Command) -> Decision:
    return GROUND.decide(run, command)


@contextmanager
def simulated() -> Iterator[Ground]:
    """Let the engine live in virtual time."""
    before: list[tuple[ModuleType, str, Any]] = []

    def give(module: ModuleType, name: str, value: Any) -> None:
        before.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    for name, module in list(sys.modules.items()):
        if not name.startswith("orchestrator.") or name.startswith("orchestrator.demo"):
            continue
        if getattr(module, "time", None) is time:
            give(module, "time", _TIME)
        if getattr(module, "random", None) is random:
            give(module, "random", _RANDOM)
        if hasattr(module, "log") and not isinstance(module.log, ModuleType):
            give(module, "log", GROUND.log)
    give(machine, "decide", _decide)
    try:
        yield GROUND
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)
