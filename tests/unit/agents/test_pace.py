"""How often is asked, and how many at a time."""

import asyncio
from datetime import timedelta

import pytest

from orchestrator.agents.failures import Fault
from orchestrator.agents.gate import Gate
from orchestrator.agents.tasks import Rhythm
from orchestrator.domain.agent import Outcome


def test_polls_become_rarer_up_to_fifteen_seconds() -> None:
    rhythm = Rhythm()
    waits = []
    for _ in range(40):
        waits.append(rhythm.next_wait())
        rhythm.answered()

    assert 0.016 <= waits[0] <= 0.024
    assert 0.024 <= waits[1] <= 0.036
    assert 12 <= waits[-1] <= 18


def test_polls_that_fail_become_rarer_and_are_counted_in_a_row() -> None:
    rhythm = Rhythm()
    gone = Fault("gone", Outcome.TRANSIENT)

    rhythm.failed(gone)
    assert 0.2 <= rhythm.next_wait() <= 0.3
    rhythm.failed(gone)
    assert rhythm.errors == 2
    assert 0.4 <= rhythm.next_wait() <= 0.6
    rhythm.answered()
    assert rhythm.errors == 0


@pytest.mark.parametrize(("wish", "wait"), [(7, 7), (3600, 60)])
def test_an_agents_wish_to_be_asked_later_is_kept_once_and_bounded(wish: int, wait: int) -> None:
    rhythm = Rhythm()

    rhythm.failed(Fault("busy", Outcome.TRANSIENT, retry_after=timedelta(seconds=wish)))

    assert rhythm.next_wait() == wait
    assert rhythm.next_wait() < 1


async def test_the_gate_lets_so_many_in_for_an_agent_and_in_all() -> None:
    gate = Gate(per_agent=2, in_all=3)
    inside: dict[str, int] = {"a": 0, "b": 0}
    seen: list[tuple[int, int]] = []

    async def visit(agent: str) -> None:
        async with gate.place(agent):
            inside[agent] += 1
            seen.append((inside["a"], inside["b"]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            inside[agent] -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for agent in "aaaaaabbbbbb":
            group.create_task(visit(agent))

    assert max(a for a, _ in seen) == 2
    assert max(b for _, b in seen) <= 2
    assert max(a + b for a, b in seen) == 3


async def test_the_gate_forgets_agents_that_nobody_calls() -> None:
    gate = Gate(per_agent=1, in_all=5)
    async with gate.place("a"):
        waiting = asyncio.ensure_future(gate.place("a").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert not gate._doors
