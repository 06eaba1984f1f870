"""Runs worlds, one seed after the other, and makes a failing one small."""

import gc
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.simulation.coverage import Coverage
from tests.simulation.patches import simulated
from tests.simulation.world import Outcome, World


@dataclass(slots=True)
class Result:
    """What became of a row of worlds."""

    coverage: Coverage = field(default_factory=Coverage)
    failed: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def add(self, other: "Result") -> None:
        self.coverage.add(other.coverage)
        self.failed += other.failed
        self.cpu_seconds += other.cpu_seconds

    def summary(self) -> str:
        runs, worlds = self.coverage.runs, self.coverage.worlds
        ends = ", ".join(
            f"{count} {status}" for status, count in sorted(self.coverage.ends.items())
        )
        return (
            f"{runs} histories in {worlds} worlds, {self.seconds:.1f} s"
            f" ({runs / max(self.cpu_seconds, 0.001):.0f} a second of CPU); {ends}"
        )


def run(seeds: Iterable[int], *, seconds: float = 1e9, at_least: int = 0) -> Result:
    """Run worlds until the seeds, or seconds and `at_least` worlds, are over, or one has failed."""
    result = Result()
    began, cpu_began = time.perf_counter(), time.process_time()
    with simulated(), _little_garbage_collection():
        for seed in seeds:
            outcome = World(seed, result.coverage).live()
            if outcome.violations:
                result.failed.append(outcome)
                break
            late = time.perf_counter() - began > seconds
            if late and result.coverage.worlds >= at_least:
                break
    result.seconds = time.perf_counter() - began
    result.cpu_seconds = time.process_time() - cpu_began
    return result


def run_on_all_cores(seeds: range, *, seconds: float = 1e9, at_least: int = 0) -> Result:
    """Run worlds as `run` does, a share of the seeds on each core."""
    count = os.cpu_count() or 1
    began = time.perf_counter()
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as workers:
        shares = [
            workers.submit(
                run, seeds[number::count], seconds=seconds, at_least=math.ceil(at_least / count)
            )
            for number in range(count)
        ]
        result = Result()
        for share in shares:
            result.add(share.result())
    result.seconds = time.perf_counter() - began
    return result


def replay(seed: int, actions: int | None = None) -> Outcome:
    """Run one world, and keep a trace of it."""
    with simulated():
        return World(seed, Coverage(), traced=True).live(actions)


def shrink(seed: int) -> Outcome:
    """Return the failing world with the fewest first actions of its plan that still fails."""
    with simulated():
        whole = len(World(seed, Coverage()).setting.plan)
    for actions in range(whole + 1):
        outcome = replay(seed, actions)
        if outcome.violations:
            return outcome
    return replay(seed)


def report(outcome: Outcome) -> str:
    """Say what was wrong and how to see it again."""
    told = "\n  ".join(what[:2000] for what in outcome.violations[:5])
    return (
        f"seed {outcome.seed}, the first {outcome.actions} actions:\n  {told}\n"
        f"again, with a trace: make simulate SEED={outcome.seed}"
    )


@contextmanager
def _little_garbage_collection() -> Iterator[None]:
    """Let the collector look seldom: most of a world dies by reference count or as a whole."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
