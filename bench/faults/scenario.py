"""Plays one scenario: set up, load, faults by schedule, quiet, evidence, judgement."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.faults import acts, collect, oracle
from bench.faults.checks import Check
from bench.faults.load import Load, loaded
from bench.faults.schedule import Act, Schedule
from bench.faults.stage import Services, Setup, Stage, set_up
from bench.faults.violation import Violation

_BEFORE_S = 1.0  # of load before the first fault
_AFTER_S = 2.0  # of load after the last one
_QUIET_S = 120.0
_SAMPLE = 400
_CRASHES = ("actor_crashed", "cancellation_crashed", "run_not_failed", "not_json")
_MEMORY = 600 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One row of the table. `schedule` draws its acts from the seed alone."""

    name: str
    fault: str
    schedule: Schedule
    setup: Setup = field(default_factory=Setup)
    load: Load = field(default_factory=Load)
    paused: bool = False
    check: Check | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it; times in seconds.

    `stall`: the longest that a run stood still in between two events; `full_speed`: how long after
    the last fault the last run that was there before had ended.
    """

    scenario: Scenario
    runs: int
    lost: int
    doubled: int
    violations: Sequence[Violation]
    stall: float
    full_speed: float
    seconds: float
    notes: Sequence[str]

    @property
    def wrong(self) -> int:
        return len(self.violations)


def drawn(scenario: Scenario, seed: str) -> list[Act]:
    """Return the schedule of a seed, always the same."""
    rng = random.Random(f"{seed}/{scenario.name}/acts")
    return sorted(scenario.schedule(rng), key=lambda each: each.at)


async def play(services: Services, scenario: Scenario, seed: str) -> Result:
    """Play it; what it cannot be played without raises `StackFailed`."""
    began = time.monotonic()
    rng = random.Random(f"{seed}/{scenario.name}/load")
    async with set_up(services, scenario.setup) as stage:
        async with loaded(stage, scenario.load, rng):
            await asyncio.sleep(_BEFORE_S)
            await _perform(stage, drawn(scenario, seed), seed)
            calm = time.monotonic(), time.time()
            await _heal(stage)
            await asyncio.sleep(_AFTER_S)
        _note_kills(stage)
        await collect.quiet(stage, _QUIET_S)
        found = await collect.evidence(
            stage, may_fail=scenario.load.may_fail, paused=scenario.paused, sample=_SAMPLE
        )
        violations = oracle.judge(found) + _crashes(stage)
        if scenario.check is not None:
            violations += [Violation(7, "", text) for text in await scenario.check(stage, found)]
        return Result(
            scenario,
            runs=len(found.runs),
            lost=oracle.lost(found),
            doubled=oracle.doubled(found),
            violations=violations,
            stall=oracle.longest_stall(found),
            full_speed=oracle.caught_up(found, *calm),
            seconds=time.monotonic() - began,
            notes=stage.notes,
        )


async def _perform(stage: Stage, schedule: Sequence[Act], seed: str) -> None:
    """Do what the schedule says, each at its time, whatever else is still being done."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for each in schedule:
            await asyncio.sleep(max(0.0, began + each.at - time.monotonic()))
            perform = acts.ACTS[each.what]
            rng = random.Random(f"{seed}/{each}")
            group.create_task(perform(stage, rng, **each.with_))


async def _heal(stage: Stage) -> None:
    """Bring back whatever the schedule left behind."""
    for process in stage.processes:
        process.proxy.accept()
        process.proxy.pass_new()
    await stage.all_ready()


def _note_kills(stage: Stage) -> None:
    kills = sum((process.kills for process in stage.processes), Counter[str]())
    if kills:
        told = ", ".join(f"{point} {count}" for point, count in sorted(kills.items()))
        stage.notes.append(f"{kills.total()} ends at named points: {told}")


def _crashes(stage: Stage) -> list[Violation]:
    found = []
    for process in stage.processes:
        process.look()
        found += [Violation(7, "", text) for text in process.died]
        if process.most_memory > _MEMORY:
            found.append(Violation(7, "", f"{process.name} took {process.most_memory >> 20} MB"))
        lines = process.logged(*_CRASHES)
        found += [Violation(7, "", f"{process.name} logged {line}") for line in lines]
    return found
