"""How many are at work at an agent, how often it is asked, and when again."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.agents import courtesy
from orchestrator.agents.courtesy import Courtesy
from orchestrator.domain.agent import Options
from tests.agents_under_test.registered import agent_at


def _agent(**options: Any) -> Any:
    return agent_at("http://a/", options=Options(**options))


async def test_so_many_are_at_work_and_the_others_wait_in_order() -> None:
    manners, agent = Courtesy(), _agent(max_concurrency=2)
    order: list[int] = []
    ends: list[Any] = []

    async def work(number: int) -> None:
        ends.append(await manners.begin(agent))
        order.append(number)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(work(number))
        await _idle()
        assert order == [0, 1]
        ends[0]()
        await _idle()
        assert order == [0, 1, 2]
        ends[1]()

    assert order == [0, 1, 2, 3]


async def test_a_process_takes_the_share_of_its_partitions_but_at_least_one() -> None:
    share = 0.5
    manners, agent = Courtesy(lambda: share), _agent(max_concurrency=4)
    places = [await manners.begin(agent) for _ in range(2)]
    third = asyncio.ensure_future(manners.begin(agent))
    await _idle()
    assert not third.done()

    share = 0.01
    places[0]()
    await _idle()
    assert not third.done()
    places[1]()
    await asyncio.wait_for(third, 5)


async def test_whoever_stops_waiting_takes_no_place_along() -> None:
    manners, agent = Courtesy(), _agent(max_concurrency=1)
    end = await manners.begin(agent)
    gone, admitted = (asyncio.ensure_future(manners.begin(agent)) for _ in range(2))
    await _idle()
    gone.cancel()
    end()
    admitted.cancel()  # it has the place, and does not know it yet
    await asyncio.wait((gone, admitted))

    await asyncio.wait_for(manners.begin(agent), 5)


async def test_work_that_is_resumed_waits_for_no_place_but_has_one() -> None:
    manners, agent = Courtesy(), _agent(max_concurrency=1)
    end = manners.resume(agent)
    waiting = asyncio.ensure_future(manners.begin(agent))
    await _idle()
    assert not waiting.done()

    end()

    await asyncio.wait_for(waiting, 5)


async def test_requests_are_spread_by_the_rate_and_the_share() -> None:
    loop = asyncio.get_running_loop()
    manners, agent = Courtesy(lambda: 0.5), _agent(rate_limit=200.0)
    started = loop.time()

    for _ in range(11):
        await manners.turn(agent)

    assert 0.09 < loop.time() - started < 1


async def test_an_agent_that_asked_for_a_pause_has_it_up_to_a_minute() -> None:
    loop = asyncio.get_running_loop()
    manners, agent, other = Courtesy(), _agent(), _agent()
    manners.hold(agent, timedelta(seconds=0.1))
    started = loop.time()

    await manners.turn(other)
    assert loop.time() - started < 0.05
    await manners.turn(agent)

    assert 0.09 < loop.time() - started < 1


async def test_agents_without_news_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courtesy, "_MANY", 10)
    manners = Courtesy()
    kept = _agent(max_concurrency=1)
    await manners.begin(kept)

    for _ in range(50):
        manners.hold(_agent(), timedelta(0))

    assert len(manners._states) <= 11
    assert kept.id in manners._states


async def _idle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
