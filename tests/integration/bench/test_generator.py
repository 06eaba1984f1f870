"""The load generator against servers that stall, refuse, fail and vanish."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.failure import LoadFailed
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.samples import Window, percentile

pytestmark = pytest.mark.integration

Handler = Callable[[int], Awaitable[web.Response]]


class Server:
    """Answers executes as told, and says of each run how it ended."""

    def __init__(self, answer: Handler, status: str = "COMPLETED") -> None:
        self.executes = 0
        self._answer = answer
        self._status = status

    async def execute(self, _: web.Request) -> web.Response:
        self.executes += 1
        return await self._answer(self.executes)

    async def get(self, _: web.Request) -> web.Response:
        return web.json_response({"status": self._status})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/v1/workflows/w/execute", self.execute)
        app.router.add_get("/api/v1/runs/{run_id}", self.get)
        return app


async def accept(number: int) -> web.Response:
    return web.json_response({"run_id": f"run-{number}"}, status=202)


async def loaded(
    server: Server, *, told_by_agents: bool = False, down: bool = False, **plan: Any
) -> Load:
    """Load the server and return the load when it is over."""
    async with TestServer(server.app(), host="127.0.0.1") as listening:
        url = str(listening.make_url("")).rstrip("/")
        if down:
            await listening.close()
        chosen = Plan((url,), **plan)
        async with (
            Executes(chosen.connections) as executes,
            aiohttp.ClientSession() as waiting,
        ):
            load = Load(chosen, executes, waiting, "w", told_by_agents=told_by_agents)
            await load.run()
            return load


async def test_a_stall_is_charged_with_all_requests_that_were_due_meanwhile() -> None:
    async def stall_once(number: int) -> web.Response:
        if number == 1:
            await asyncio.sleep(1.0)
        return await accept(number)

    load = await loaded(Server(stall_once), rate=100.0, duration=2.0, connections=1)

    took = load.samples.executes.sorted_in(Window(0.0, 2.0))
    assert len(took) == 200
    # On one connection only the first one was slow to answer; 100 were due before it had.
    assert sum(each > 0.5 for each in took) >= 45
    assert 0.7 < percentile(took, 90) < 1.5


async def test_an_open_loop_sends_at_its_rate_whatever_comes_back() -> None:
    async def slow(number: int) -> web.Response:
        await asyncio.sleep(0.5)
        return await accept(number)

    server = Server(slow)
    load = await loaded(server, rate=50.0, duration=1.0)

    assert (server.executes, load.accepted, load.completed) == (50, 50, 50)
    assert not load.samples.errors


async def test_a_closed_loop_has_as_many_requests_under_way_as_users() -> None:
    most = under_way = 0

    async def counted(number: int) -> web.Response:
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return await accept(number)

    load = await loaded(Server(counted), concurrency=3, duration=0.5)

    assert most == 3
    assert load.accepted == load.completed > 3


async def test_429_with_retry_after_is_counted_apart_and_obeyed() -> None:
    async def busy(number: int) -> web.Response:
        if number == 2:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await accept(number)

    server = Server(busy)
    load = await loaded(server, concurrency=1, duration=0.6)

    assert server.executes == 2  # the second it asked for is longer than what was left
    assert (len(load.samples.throttled), list(load.samples.retry_after)) == (1, [1.0])
    assert not load.samples.errors


async def test_errors_are_counted_by_kind() -> None:
    async def odd(number: int) -> web.Response:
        match number:
            case 1:
                return web.Response(status=500)
            case 2:
                return web.Response(status=429)
            case 3:
                return web.Response(status=202, text="<no json>")
            case _:
                return await accept(number)

    load = await loaded(Server(odd, "FAILED"), rate=8.0, duration=0.5)

    assert load.samples.errors == {
        "HTTP 500": 1,
        "HTTP 429 without Retry-After": 1,
        "JSONDecodeError": 1,
        "run FAILED": 1,
    }
    assert (load.accepted, load.completed, load.unfinished) == (1, 0, 0)


async def test_a_server_that_is_not_there_is_an_error_a_request() -> None:
    load = await loaded(Server(accept), down=True, rate=10.0, duration=0.3)

    assert load.samples.errors == {"NotConnected (ECONNREFUSED)": 3}


async def test_a_run_that_does_not_end_is_left_as_unfinished() -> None:
    load = await loaded(Server(accept, "RUNNING"), rate=10.0, duration=0.2, drain=0.3)

    assert (load.accepted, load.completed, load.unfinished) == (2, 0, 2)


async def test_the_word_of_an_agent_may_come_before_the_answer_of_the_execute() -> None:
    words: list[Load] = []

    async def told_first(number: int) -> web.Response:
        words[0].tell(f"run-{number}", words[0].began + 0.001)
        return await accept(number)

    server = Server(told_first)
    async with TestServer(server.app(), host="127.0.0.1") as listening:
        plan = Plan((str(listening.make_url("")).rstrip("/"),), duration=0.2, rate=10.0)
        async with Executes(1) as executes, aiohttp.ClientSession() as session:
            words.append(Load(plan, executes, session, "w", told_by_agents=True))
            await words[0].run()

    assert (words[0].completed, words[0].unfinished) == (2, 0)


async def test_a_deployment_is_asked_where_it_takes_connections() -> None:
    nobody = "http://127.0.0.1:9"
    async with (
        TestServer(Server(accept).app(), host="127.0.0.1") as listening,
        aiohttp.ClientSession() as session,
    ):
        url = str(listening.make_url("")).rstrip("/")

        assert await Deployment(session, nobody, url).ended("run-1", 5.0) == "COMPLETED"
        with pytest.raises(LoadFailed, match=f"GET {nobody}/api/v1/runs/run-1"):
            await Deployment(session, nobody).ended("run-1", 5.0)
