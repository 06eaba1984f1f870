"""What can be done to PostgreSQL, and to the way there."""

import asyncio
import random
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from bench.faults.stage import Stage

_CHUNK = 4096
_BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND application_name LIKE 'orchestrator%' ORDER BY application_name, pid"""
_END_BACKEND = "SELECT pg_terminate_backend($1)"
# As a process would that believes that a partition is its own: it is dead, and has claimed.
_STEAL = """
UPDATE partition_term SET epoch = epoch + 1, owner = gen_random_uuid(), owner_name = 'thief:0',
  released = false, claimed_at = clock_timestamp() WHERE partition = ANY($1::int[])"""


async def postgres_killed(stage: Stage, _: random.Random, *, down_for: float) -> None:
    """End the server with SIGKILL; what comes up recovers from its log."""
    stage.services.postgres.kill()
    await asyncio.sleep(down_for)
    await stage.services.postgres.start()


async def postgres_stopped(stage: Stage, _: random.Random, *, down_for: float, how: str) -> None:
    """Stop the server, `fast` or at once."""
    number = signal.SIGINT if how == "fast" else signal.SIGQUIT
    await stage.services.postgres.stop(number)
    await asyncio.sleep(down_for)
    await stage.services.postgres.start()


async def backends_ended(stage: Stage, rng: random.Random, *, count: int) -> None:
    """End some of the orchestrators' sessions."""
    pids = [row["pid"] for row in await stage.sql(_BACKENDS)]
    for pid in rng.sample(pids, min(count, len(pids))):
        await stage.sql(_END_BACKEND, pid)


async def half_open(stage: Stage, _: random.Random, *, process: int, for_s: float) -> None:
    """Let a process's connections stand, and nothing pass on them; new ones work."""
    proxy = stage.processes[process].proxy
    proxy.swallow_requests()
    proxy.swallow_answers()
    proxy.pass_new()
    await asyncio.sleep(for_s)


async def cut_off(stage: Stage, _: random.Random, *, process: int, for_s: float) -> None:
    """Let a process not reach the database at all."""
    proxy = stage.processes[process].proxy
    proxy.refuse()
    await asyncio.sleep(for_s)
    proxy.accept()


async def answers_lost(stage: Stage, _: random.Random, *, process: int, for_s: float) -> None:
    """Pass on what is sent and not what is answered, and then cut."""
    proxy = stage.processes[process].proxy
    proxy.swallow_answers()
    await asyncio.sleep(for_s)
    proxy.cut()


async def stolen(stage: Stage, rng: random.Random, *, count: int) -> None:
    """Take partitions over as somebody who is gone at once."""
    partitions = rng.sample(range(16), count)
    await stage.sql(_STEAL, partitions)


async def disk_full(stage: Stage, _: random.Random, *, for_s: float) -> None:
    """Leave PostgreSQL no room to write for a while; who sees to it then starts it, if need be."""
    ballast = stage.services.postgres.folder.parent / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(_CHUNK))
    await asyncio.sleep(for_s)
    ballast.unlink()
    if not stage.services.postgres.is_up:
        stage.notes.append("PostgreSQL ended when the disk was full")
        await stage.services.postgres.start()


ACTS: Mapping[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "postgres_killed": postgres_killed,
    "postgres_stopped": postgres_stopped,
    "backends_ended": backends_ended,
    "half_open": half_open,
    "cut_off": cut_off,
    "answers_lost": answers_lost,
    "stolen": stolen,
    "disk_full": disk_full,
}
