"""When an agent that cannot be reached is left alone, and who tries again."""

import asyncio
from typing import Any

import pytest

from orchestrator.agents.breaker import Breaker
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent, Outcome
from orchestrator.domain.retry import RetryPolicy
from tests.agents_under_test.registered import agent_at


def _agent(max_delay_ms: int = 5_000) -> Agent:
    return agent_at("http://a/", retry=RetryPolicy(3, 100, max_delay_ms))


def _opened(agent: Agent) -> Breaker:
    made = Breaker()
    for _ in range(5):
        made.missed(agent)
    made._circuits[agent.id].open_until = made._now() + 0.05
    return made


async def _through(made: Breaker, agent: Agent) -> bool:
    async with made.closed(agent):
        return True


async def test_some_failures_in_a_row_open_the_circuit_and_an_answer_closes_it() -> None:
    made, agent = Breaker(), _agent()
    for _ in range(4):
        made.missed(agent)
    assert await asyncio.wait_for(_through(made, agent), 0.5)
    made.reached(agent)
    for _ in range(4):
        made.missed(agent)
    assert await asyncio.wait_for(_through(made, agent), 0.5)

    made.missed(agent)

    waiting = asyncio.ensure_future(_through(made, agent))
    await asyncio.sleep(0)
    assert not waiting.done()
    made.reached(agent)
    assert await asyncio.wait_for(waiting, 0.5)


async def test_others_are_not_concerned() -> None:
    made = _opened(_agent())

    assert await asyncio.wait_for(_through(made, _agent()), 0.5)


async def test_one_call_tries_and_the_others_wait_for_what_it_finds() -> None:
    agent = _agent()
    made = _opened(agent)
    inside: list[int] = []
    go_on = asyncio.Event()

    async def call(number: int) -> None:
        async with made.closed(agent):
            inside.append(number)
            await go_on.wait()
            made.reached(agent)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(call(number))
        await asyncio.sleep(0.15)
        assert len(inside) == 1
        go_on.set()

    assert len(inside) == 4


@pytest.mark.parametrize("error", [Fault("gone", Outcome.TRANSIENT), asyncio.CancelledError()])
async def test_a_trial_that_fails_leaves_the_next_one_to_another(error: Any) -> None:
    agent = _agent()
    made = _opened(agent)

    async def trial() -> None:
        async with made.closed(agent):
            made.missed(agent)
            made._circuits[agent.id].open_until = made._now() + 0.05
            raise error

    with pytest.raises(type(error)):
        await trial()

    assert await asyncio.wait_for(_through(made, agent), 5)


async def test_nobody_waits_longer_than_between_two_attempts() -> None:
    agent = _agent(max_delay_ms=20)
    made = _opened(agent)
    made._circuits[agent.id].open_until = made._now() + 60

    with pytest.raises(Fault, match="could not be reached 5 times in a row") as failed:
        await _through(made, agent)

    assert failed.value.outcome is Outcome.TRANSIENT


async def test_the_circuit_opens_for_longer_each_time_up_to_a_bound() -> None:
    now = 0.0
    made, agent = Breaker(lambda: now), _agent()
    pauses = []
    for _ in range(4):
        made.missed(agent)
    for _ in range(8):
        made.missed(agent)
        pauses.append(made._circuits[agent.id].open_until - now)
        now = made._circuits[agent.id].open_until

    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
