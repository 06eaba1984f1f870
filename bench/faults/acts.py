"""What can be done to a stage: each act by its name in a schedule."""

import asyncio
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from bench.faults import backlog, kafka_acts, postgres_acts, sweep
from bench.faults.process import shifted_clock
from bench.faults.stage import Stage, owned

Perform = Callable[..., Coroutine[Any, Any, None]]
_TICK = 0.05
_REPLACED_S = 60.0
_COME_TO_S = 1.0  # for a process that goes on, to do what it was about to do
_OWNED = "SELECT count(*) FROM partition_term WHERE owner_name LIKE $1"
_LIFE_S = 60.0  # in which a process should come to its failpoint


async def kill(stage: Stage, _: random.Random, *, process: int, down_for: float) -> None:
    """End a process with SIGKILL, and start it again later."""
    stage.processes[process].kill()
    await asyncio.sleep(down_for)
    await _start(stage, process)


async def stop(stage: Stage, _: random.Random, *, process: int, down_for: float) -> None:
    """End a process with SIGTERM, and start it again later."""
    await stage.processes[process].stop()
    await asyncio.sleep(down_for)
    await _start(stage, process)


async def roll(stage: Stage, _: random.Random) -> None:
    """Restart all processes, one after another."""
    for process in stage.processes:
        await process.stop()
        process.start()
        await process.ready(stage.session)
        if stage.setup.kafka:
            await owned(stage)


async def pause(stage: Stage, _: random.Random, *, process: int, for_s: float) -> None:
    """Let a process stand still for a while."""
    stage.processes[process].signal(signal.SIGSTOP)
    await asyncio.sleep(for_s)
    stage.processes[process].signal(signal.SIGCONT)


async def clock(stage: Stage, _: random.Random, *, process: int, seconds: int) -> None:
    """Start a process anew with its wall clock off by so many seconds."""
    await stage.processes[process].stop()
    stage.processes[process].start(environment=shifted_clock(seconds))
    await stage.processes[process].ready(stage.session)


async def failpoints(stage: Stage, _: random.Random, *, process: int, lives: Sequence[str]) -> None:
    """Give a process one life after another, each up to its failpoint.

    Where it stands still, it goes on when others have all its partitions. A life that does not come
    to its point in time is ended; that is told, and is no failure.
    """
    target = stage.processes[process]
    await target.stop()
    for point in lives:
        target.start(point)
        deadline = time.monotonic() + _LIFE_S
        while _goes_on(target.pid) and time.monotonic() < deadline:
            target.look()
            await asyncio.sleep(_TICK)
        if _goes_on(target.pid):
            stage.notes.append(f"{target.name} did not come to {point} in {_LIFE_S:.0f} s")
            await target.stop()
        elif point.endswith(":stop"):
            target.kills[point.partition(":")[0]] += 1
            await _replaced(stage, target.port)
            target.signal(signal.SIGCONT)
            await asyncio.sleep(_COME_TO_S)
            await target.stop()
        else:
            target.look()
    target.start()
    await target.ready(stage.session)


async def few_files(stage: Stage, _: random.Random, *, process: int, for_s: float) -> None:
    """Let a process open hardly any file or connection more than it has."""
    pid = stage.processes[process].pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    there = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - at once
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (there + 1, before[1]))
    await asyncio.sleep(for_s)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


async def sleep(_: Stage, __: random.Random, *, for_s: float) -> None:
    """Let time pass: the schedule lasts at least so long."""
    await asyncio.sleep(for_s)


async def _start(stage: Stage, number: int) -> None:
    process = stage.processes[number]
    if not process.look():
        process.start()
    await process.ready(stage.session)


async def _replaced(stage: Stage, port: int) -> None:
    """Return when others have the partitions of the process with this port."""
    async with asyncio.timeout(_REPLACED_S):
        while (await stage.sql(_OWNED, f"%:{port}"))[0]["count"]:  # noqa: ASYNC110
            await asyncio.sleep(_TICK)


def _goes_on(pid: int) -> bool:
    """Whether a process is neither dead nor stopped."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - read in one go
            return file.read().rpartition(")")[2].split()[0] not in {"T", "Z", "X"}
    except OSError:
        return False


ACTS: Mapping[str, Perform] = {
    "kill": kill,
    "stop": stop,
    "roll": roll,
    "pause": pause,
    "clock": clock,
    "failpoints": failpoints,
    "few_files": few_files,
    "sleep": sleep,
    "backlog": backlog.backlog,
    **sweep.ACTS,
    **postgres_acts.ACTS,
    **kafka_acts.ACTS,
}
