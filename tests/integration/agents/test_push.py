"""Real agents push, and the follower looks at once; a wrong secret wakes nobody."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from orchestrator.agents import tasks
from orchestrator.agents.client import A2AClient
from orchestrator.agents.push import PATH, Push, task_ids
from orchestrator.domain.agent import CallMode, Options, TaskRef
from tests.agents_under_test import launch
from tests.agents_under_test.registered import value_of
from tests.integration.agents.conftest import MAX_ANSWER, agent_at, call_with

pytestmark = pytest.mark.integration

NEVER_S = 600.0  # a poll by itself


@pytest.mark.parametrize("start", [launch.sdk1, launch.sdk03, launch.sdkjs1])
async def test_a_push_brings_the_result_without_polls(
    start: Any, aiohttp_server: AiohttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_FIRST_S", NEVER_S)
    believed: list[bool] = []

    async def receive(request: web.Request) -> web.Response:
        headers = request.headers
        token, given = headers.get("X-A2A-Notification-Token"), headers.get("Authorization")
        believed.append(push.accepts(request.match_info["name"], token, given))
        for task_id in task_ids(json.loads(await request.text())):
            client.pushed(task_id)
        return web.json_response({})

    app = web.Application()
    app.router.add_post(PATH + "/{name}", receive)
    server = await aiohttp_server(app)
    push = Push(str(server.make_url("/")))
    options = Options(call_mode=CallMode.POLL, push=True)
    with await asyncio.to_thread(start) as process:
        async with A2AClient(
            max_answer_bytes=MAX_ANSWER, max_calls=8, target=push.target
        ) as client:
            agent = agent_at(process.url, options=options)
            task = await client.send(agent, call_with({"cmd": "slow", "seconds": 0.5}))
            assert isinstance(task, TaskRef)
            async with asyncio.timeout(15):
                output = await client.follow(agent, task)

    assert value_of(output) == {"slept": 0.5}
    assert believed
    assert all(believed)
