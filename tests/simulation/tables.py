"""What the simulated database holds, and what a session of it holds."""

import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from tests.simulation.rows import CancellationRow, EventRow, RunRow, TermRow

Rows = list[Any]
# Told of each decision that took effect: the run, and what was written to its history.
Observer = Callable[[RunRow, EventRow], None]


class Session:
    """What the database knows of a connection: the advisory locks that it holds."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.locks: set[tuple[str, UUID | None]] = set()


Statement = Callable[[Sequence[Any], Session], Rows]


class Tables:
    """The rows; `time` is the database's clock, in seconds."""

    def __init__(self, time: Callable[[], float], chance: random.Random) -> None:
        self.runs: dict[UUID, RunRow] = {}
        self.unfinished: dict[UUID, RunRow] = {}  # an index
        self.terms: dict[int, TermRow] = {}
        self.cancellations: dict[tuple[UUID, str], CancellationRow] = {}
        self.agents: dict[str, dict[str, Any]] = {}
        self.definitions: dict[tuple[UUID, int], dict[str, Any]] = {}
        self.sessions: dict[int, Session] = {}
        self.writer = ""  # whose statement is under way
        self.observe: Observer = lambda _run, _event: None
        self.now = time
        self._chance = chance
        self._made = 0
