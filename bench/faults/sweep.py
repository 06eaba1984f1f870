"""Acts that drive runs of their own: cancels at every moment of a run, a backlog of many."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from bench.faults.load import ask, execute_one
from bench.faults.stage import STEPS, Stage

_AT_ONCE = 8
_FIRST_TURN = 1_000_000
_WON = {"cancel": 200, "retry": 202}


async def cancel_sweep(
    stage: Stage, rng: random.Random, *, every_ms: int, up_to_ms: int, clients: int
) -> None:
    """Cancel runs at every moment of their lives, several clients at once, retries in between.

    Without a retry one client wins at most; with retries, each win is an event of its own, which
    the judge counts.
    """
    moments = list(range(0, up_to_ms, every_ms))
    rng.shuffle(moments)
    drawn = [(moment, rng.choice(("message", "task")), rng.random() < 1 / 2) for moment in moments]

    async def work() -> None:
        while drawn:
            moment, mode, with_retry = drawn.pop()
            await _race(stage, moment, mode, clients, with_retry=with_retry)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(work())


async def _race(stage: Stage, moment_ms: int, mode: str, clients: int, *, with_retry: bool) -> None:
    value = {"behave": {step: [] for step in STEPS}, "delay_ms": 60, "mode": mode}
    turn = _FIRST_TURN + 2 * moment_ms + with_retry
    run_id = await execute_one(stage, value, turn)
    if run_id is None:
        return
    await asyncio.sleep(moment_ms / 1000)
    asked = ["cancel"] * clients + ["retry"] * (clients if with_retry else 0)
    async with asyncio.TaskGroup() as group:
        answers = [
            (what, group.create_task(ask(stage, run_id, what, number)))
            for number, what in enumerate(asked)
        ]
    wins = sum(task.result() == _WON[what] for what, task in answers if what == "cancel")
    if not with_retry and wins > 1:
        stage.ledger.wrong.append(f"{run_id}: {wins} clients were told that they cancelled it")


ACTS: Mapping[str, Callable[..., Coroutine[Any, Any, None]]] = {"cancel_sweep": cancel_sweep}
