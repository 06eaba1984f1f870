"""An agent's limits, seen from the agent: how many are at work, and who waits while it is away."""

import asyncio
from typing import Any

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Options, Output, TaskRef
from orchestrator.domain.errors import CallFailed
from orchestrator.domain.retry import RetryPolicy
from tests.agents_under_test import launch
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.agents_under_test.registered import value_of
from tests.integration.agents.conftest import agent_at, call_with

pytestmark = pytest.mark.integration


async def _result(client: A2AClient, agent: Any, value: Any) -> Any:
    answer = await client.send(agent, call_with(value))
    if isinstance(answer, TaskRef):
        answer = await client.follow(agent, answer)
    return value_of(answer)


@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_no_more_steps_are_at_work_than_the_operator_allows(
    share: float, client: A2AClient
) -> None:
    working, most = 0, 0

    async def post(request: Received, _peer: Peer) -> bytes:
        nonlocal working, most
        if request.json["method"] == "message/send":
            working += 1
            most = max(most, working)
            return raw.ok(request, raw.task("working", task_id=request.json["id"]))
        working -= 1
        done = raw.task("completed", task_id=request.json["params"]["id"])
        return raw.ok(request, done)

    client.share_with_others(lambda: share)
    async with RawAgent(post) as server:
        agent = agent_at(server.url, options=Options(max_concurrency=4))
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(_result(client, agent, {}))

    assert most == 4 * share


async def test_steps_of_an_agent_that_is_away_wait_for_it_to_come_back(client: A2AClient) -> None:
    with launch.sdk03() as process:
        port = process.port
    agent = agent_at(f"http://127.0.0.1:{port}", retry=RetryPolicy(3, 100, 20_000))
    failed = await asyncio.gather(
        *(client.send(agent, call_with({})) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(failure, CallFailed) for failure in failed)

    waiting = [asyncio.ensure_future(_result(client, agent, {"cmd": "message"})) for _ in range(4)]
    await asyncio.sleep(0.1)
    assert not any(call.done() for call in waiting)
    with await asyncio.to_thread(launch.sdk03, "--port", str(port)):
        results = await asyncio.gather(*waiting, return_exceptions=True)

    # One may have tried while the agent was starting; the others waited for what it found.
    assert sum(isinstance(result, CallFailed) for result in results) <= 3
    assert sum(isinstance(result, dict) for result in results) >= 1


async def test_a_wish_for_a_pause_holds_back_everybodys_next_call(client: A2AClient) -> None:
    loop = asyncio.get_running_loop()

    async def post(request: Received, _peer: Peer) -> bytes:
        if len(server.posts) == 1:
            return raw.http(429, Retry_After="1")
        return raw.ok(request, raw.data({}))

    async with RawAgent(post) as server:
        agent = agent_at(server.url)
        with pytest.raises(CallFailed):
            await client.send(agent, call_with({}))
        began = loop.time()

        assert isinstance(await client.send(agent, call_with({})), Output)

    assert loop.time() - began > 0.9
