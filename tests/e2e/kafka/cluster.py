"""Programs of one deployment, and what is asked of all of them."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.agents_under_test.launch import AgentProcess
from tests.e2e import engine
from tests.e2e.program import Program, refused

PARTITIONS = 16


class Cluster:
    """Starts programs that share a database and a topic."""

    def __init__(
        self, stack: contextlib.ExitStack, folder: Path, settings: dict[str, object]
    ) -> None:
        self.settings = settings
        self._stack = stack
        self._folder = folder
        self._started = 0

    def program(self, **settings: object) -> Program:
        """Start another program."""
        self._started += 1
        folder = self._folder / f"program-{self._started}"
        return self._stack.enter_context(Program(folder, **(self.settings | settings)))  # type: ignore[arg-type]

    def refused(self, **settings: object) -> str:
        """Start one that cannot run; return its one line."""
        return refused(self._folder / "refused", **(self.settings | settings))

    def programs(self, count: int, **settings: object) -> list[Program]:
        """Start so many, and return once each owns its share of the partitions."""
        started = [self.program(**settings) for _ in range(count)]
        share(*started)
        return started


def share(*programs: Program, within: float = 20.0) -> None:
    """Return once just these programs own all partitions, about the same number each."""
    least = PARTITIONS // len(programs)

    def shared() -> bool:
        owned = [len(owned_by(program, programs[0])) for program in programs]
        return sum(owned) == PARTITIONS and min(owned) >= least

    until("the partitions are shared", shared, within)


def owned_by(program: Program, asked: Program | None = None) -> set[int]:
    """Return the partitions that a program owns."""
    _, answer = (asked or program).call("GET", "/api/v1/system/partitions")
    return {
        item["partition"]
        for item in answer["items"]
        if item["owner"] is not None
        and item["owner"]["name"].endswith(f":{program.port}")
        and item["owner"]["alive"]
        and not item["released"]
    }


def until(what: str, condition: Callable[[], object], within: float = 30.0) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)


def ends(dsn: str, run_ids: Iterable[str], within: float) -> Counter[str]:
    """Return how the runs ended, as soon as all of them have."""
    wanted = [run_id.removeprefix("run-") for run_id in run_ids]
    query = "SELECT status FROM run WHERE id = ANY($1::uuid[])"
    found: Counter[str] = Counter()

    def ended() -> bool:
        nonlocal found
        found = Counter(row["status"] for row in engine.rows(dsn, query, wanted))
        return not found.keys() & {"PENDING", "RUNNING"} and found.total() == len(wanted)

    until(f"{len(wanted)} runs have ended: {found}", ended, within)
    return found


def metric(program: Program, name: str) -> float:
    """Return a metric's value, summed over its labels."""
    _, text = program.call_text("GET", "/metrics")
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return sum(float(value) for key, value in lines if key.partition("{")[0] == name)


def sent_twice(agent: AgentProcess) -> dict[tuple[str, str], Any]:
    """Return the steps that were sent more than once, with how often."""
    return {step: n for step, n in engine.calls_by_step(agent).items() if n > 1}
