"""The bench's clients: an open load of executes, cancels and retries, and a prober of answers."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.faults.evidence import Accepted, Asked
from bench.faults.inputs import Draw, plain
from bench.faults.stage import Stage

_PATIENCE_S = 90.0  # how long a client that has a key goes on asking
_AGAIN_S = 0.2
_PROBE_S = 0.5
_ACCEPTED = 202
_COME_LATER = {429, 503}
_ENVELOPE = {"error", "detail", "status_code", "timestamp", "path", "request_id"}
# What a client of ours sees when a process dies, stands still or is not there.
NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`rate` executes a second; of the runs, the shares are cancelled, and then retried."""

    rate: float = 15.0
    draw: Draw = plain
    may_fail: bool = False  # whether `draw` has agents do what no retry makes good
    cancelled: float = 0.0
    retried: float = 0.0


@dataclass(frozen=True, slots=True)
class _Client:
    stage: Stage
    load: Load
    rng: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Execute at the rate until `over`, whatever becomes of the requests."""
        async with asyncio.TaskGroup() as group:
            began, number = time.monotonic(), 0
            while not self.over.is_set():
                plan = _draw(self.load, self.rng, number)
                group.create_task(_live(self.stage, plan))
                number += 1
                due = began + number / self.load.rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one client does: with a key or without; cancel and retry after so many seconds."""

    number: int
    input: Mapping[str, Any]
    key: str | None
    cancel_after: float | None
    retry_after: float | None


def _draw(load: Load, rng: random.Random, number: int) -> _Plan:
    value = load.draw(rng)
    key = f"key-{number}" if rng.random() < 1 / 2 else None
    cancel = rng.random() < load.cancelled
    retry = rng.random() < load.retried
    after = rng.uniform(0.0, 0.2), rng.uniform(0.0, 0.5)
    return _Plan(number, value, key, after[0] if cancel else None, after[1] if retry else None)


@asynccontextmanager
async def loaded(stage: Stage, load: Load, rng: random.Random) -> AsyncIterator[None]:
    """Load the stage, and probe it, while the block runs."""
    client = _Client(stage, load, rng)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(client.run())
        probing = group.create_task(_probe(stage))
        try:
            yield
        finally:
            client.over.set()
            probing.cancel()
            await asyncio.wait([running])


async def _live(stage: Stage, plan: _Plan) -> None:
    run_id = await _execute(stage, plan)
    if run_id is None or plan.cancel_after is None:
        return
    await asyncio.sleep(plan.cancel_after)
    await ask(stage, run_id, "cancel", plan.number)
    if plan.retry_after is not None:
        await asyncio.sleep(plan.retry_after)
        await ask(stage, run_id, "retry", plan.number)


async def _execute(stage: Stage, plan: _Plan) -> str | None:
    """Execute until it is accepted; without a key, only as long as it is known not to be."""
    ledger = stage.ledger
    give_up = time.monotonic() + _PATIENCE_S
    headers = {} if plan.key is None else {"Idempotency-Key": plan.key}
    turn = plan.number
    while time.monotonic() < give_up:
        turn += 1
        url = stage.processes[turn % len(stage.processes)].url
        sent = time.monotonic()
        try:
            async with stage.session.post(
                f"{url}/api/v1/workflows/{stage.workflow}/execute",
                json={"input_data": plan.input},
                headers=headers,
            ) as answer:
                said = await answer.json()
        except aiohttp.ClientConnectorError:
            await asyncio.sleep(_AGAIN_S)  # it did not reach anybody
            continue
        except (*NO_ANSWER, ValueError):
            if plan.key is None:
                ledger.unanswered += 1
                return None
            await asyncio.sleep(_AGAIN_S)
            continue
        if answer.status == _ACCEPTED:
            run_id = str(said["run_id"])
            ledger.accepted.append(Accepted(run_id, sent, time.monotonic(), plan.key))
            return run_id
        _check_answer(stage, "execute", answer.status, said)
        if plan.key is None:  # a 503 may come of a connection that broke under the INSERT
            ledger.unanswered += 1
            return None
        await asyncio.sleep(_AGAIN_S)
    ledger.refused += 1
    return None


async def ask(stage: Stage, run_id: str, what: str, turn: int) -> int | None:
    """Cancel or retry a run, once; return the status, None if there was no answer."""
    url = stage.processes[turn % len(stage.processes)].url
    status: int | None = None
    said: object = None
    try:
        async with stage.session.post(f"{url}/api/v1/runs/{run_id}/{what}") as answer:
            said = await answer.json()
            status = answer.status
    except (*NO_ANSWER, ValueError):
        pass
    # A 503 may have come after the deed, when the connection broke under it.
    stage.ledger.asked.append(Asked(run_id, what, None if status in _COME_LATER else status))
    if status is not None and status not in {200, 202, 400}:
        _check_answer(stage, what, status, said)
    return status


async def _probe(stage: Stage) -> None:
    """Read at every process, again and again; whoever answers has to answer as documented."""
    while True:
        async with asyncio.TaskGroup() as group:
            for process in stage.processes:
                group.create_task(_read(stage, process.url))
        await asyncio.sleep(_PROBE_S)


async def _read(stage: Stage, url: str) -> None:
    try:
        async with stage.session.get(f"{url}/api/v1/runs?page_size=1") as answer:
            said = await answer.json()
    except NO_ANSWER:
        return
    except ValueError as wrong:
        stage.ledger.wrong.append(f"a read was answered with no JSON: {wrong}")
        return
    if not answer.ok:
        _check_answer(stage, "a read", answer.status, said)


def _check_answer(stage: Stage, what: str, status: int, said: Any) -> None:
    """Note an answer that is neither success nor "come later" in the one envelope."""
    enveloped = isinstance(said, dict) and said.keys() >= _ENVELOPE
    if status not in _COME_LATER or not enveloped:
        stage.ledger.wrong.append(f"{what} was answered with {status}: {said}")


async def execute_one(stage: Stage, value: Mapping[str, Any], turn: int) -> str | None:
    """Execute one run under a key; return its id."""
    return await _execute(stage, _Plan(turn, value, f"one-{turn}", None, None))
