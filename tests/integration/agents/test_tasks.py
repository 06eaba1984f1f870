"""Following a task, canceling it, and asking for health, when the agent is not at its best."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.agents import courtesy, tasks
from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Agent, Cancellation, Failure, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test import launch
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.integration.agents.conftest import agent_at, bearer, call_with

pytestmark = pytest.mark.integration

TASK = TaskRef("t1", "c")
RESULT: dict[str, Any] = {"artifacts": [{"parts": [{"data": {"a": 1.0}}]}]}
DONE = raw.task("completed", **RESULT)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute's worth of failed polls pass in no time."""
    monkeypatch.setattr(tasks, "_AFTER_ERROR_S", 0.001)
    monkeypatch.setattr(tasks, "_LONGEST_S", 0.002)
    monkeypatch.setattr(tasks, "_LONGEST_WISH_S", 0.002)
    monkeypatch.setattr(courtesy, "_LONGEST_HOLD_S", 0.002)


def _script(*steps: Any) -> tuple[raw.Handler, Iterator[Any]]:
    """Answer polls by these steps, in order: a result, or a function of the request."""
    left = iter(steps)

    async def post(request: Received, _peer: Peer) -> bytes | None:
        step = next(left)
        return step(request) if callable(step) else raw.ok(request, step)

    return post, left


async def _followed(client: A2AClient, agent: Agent) -> Output | Failure:
    try:
        async with asyncio.timeout(10):
            followed = await client.follow(agent, TASK)
            assert isinstance(followed, Output)
            return followed
    except CallFailed as failed:
        return failed.failure


def _busy(_request: Received) -> bytes:
    return raw.http(503, Retry_After="60")


def _cut(_request: Received) -> None:
    return None


def _broken(request: Received) -> bytes:
    return raw.error(request, -32603, "broken")


async def test_any_state_but_an_end_is_waited_out(client: A2AClient) -> None:
    states = ("submitted", "TASK_STATE_WORKING", "unknown", "TASK_STATE_UNSPECIFIED", "brand-new")
    post, left = _script(*(raw.task(state) for state in states), DONE)

    async with RawAgent(post) as server:
        output = await _followed(client, agent_at(server.url))

    assert output == Output({"a": 1}, '{"a":1}', '[{"parts":[{"data":{"a":1}}]}]')
    assert not list(left)


async def test_polls_may_fail_for_a_while(client: A2AClient) -> None:
    errors = [_busy, _cut, _broken] * 3
    post, left = _script(*errors, raw.task("working"), *errors, DONE)

    async with RawAgent(post) as server:
        output = await _followed(client, agent_at(server.url))

    assert isinstance(output, Output)
    assert not list(left)


async def test_an_agent_that_stays_away_leaves_the_outcome_unknown(client: A2AClient) -> None:
    post, left = _script(*[_busy] * tasks.POLL_ERRORS, DONE)

    async with RawAgent(post) as server:
        failure = await _followed(client, agent_at(server.url))

    said = "gave no news of its task in 10 polls in a row; the last one: answered HTTP 503"
    assert failure == Failure(f"Agent 'reader' {said}", Outcome.UNKNOWN)
    assert len(list(left)) == 1


@pytest.mark.parametrize(
    ("step", "outcome", "said"),
    [
        (lambda r: raw.error(r, -32001, "gone"), "transient", "no longer knows the task t1"),
        (lambda r: raw.error(r, -32602, "bad"), "final", "answered with error -32602: bad"),
        (lambda _: raw.http(401), "final", "answered HTTP 401"),
        (lambda _: raw.http(200, b"<p>"), "final", "not JSON"),
        (raw.task("working", "another"), "final", "answered the task another when asked for t1"),
        (raw.task("failed"), "final", "failed the task and did not say why"),
        (raw.task("rejected"), "final", "rejected the task"),
        (raw.task("TASK_STATE_CANCELED"), "final", "canceled the task"),
        (raw.task("completed", artifacts=7), "final", "answered artifacts that are no list"),
    ],
)
async def test_a_task_that_comes_to_nothing_says_so(
    step: Any, outcome: str, said: str, client: A2AClient
) -> None:
    post, left = _script(raw.task("working"), step, DONE)

    async with RawAgent(post) as server:
        failure = await _followed(client, agent_at(server.url))

    assert isinstance(failure, Failure)
    assert failure.outcome == outcome
    assert said in failure.cause
    assert len(list(left)) == 1


async def test_a_message_instead_of_the_task_is_its_result(client: A2AClient) -> None:
    post, _ = _script(raw.task("working"), raw.data({"a": 1}))

    async with RawAgent(post) as server:
        assert await _followed(client, agent_at(server.url)) == Output({"a": 1}, '{"a":1}')


async def test_a_task_outlives_its_agents_absence(client: A2AClient) -> None:
    """The agent's process is killed: each poll finds nobody, until the polls run out."""
    with launch.recording("--mode", "task", "--delay-ms", "60000") as process:
        agent = agent_at(process.url)
        task = await client.send(agent, call_with(1))
        assert isinstance(task, TaskRef)
        process.kill()

        failure = await _followed(client, agent)

    assert isinstance(failure, Failure)
    assert failure.outcome is Outcome.UNKNOWN
    assert "gave no news" in failure.cause


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (raw.task("canceled"), Cancellation.CONFIRMED),
        (raw.task("TASK_STATE_CANCELLED"), Cancellation.CONFIRMED),
        (raw.task("working"), Cancellation.REQUESTED),
        (raw.task("completed"), Cancellation.ALREADY_FINISHED),
        (raw.data(1), Cancellation.ALREADY_FINISHED),
        (lambda r: raw.error(r, -32001, "unknown"), Cancellation.ALREADY_FINISHED),
        (lambda r: raw.error(r, -32004, "cannot"), Cancellation.UNSUPPORTED),
        (lambda r: raw.error(r, -32601, "what?"), Cancellation.UNSUPPORTED),
        (lambda r: raw.error(r, -32603, "broken"), Cancellation.UNREACHABLE),
        (lambda _: raw.http(503), Cancellation.UNREACHABLE),
        (lambda _: raw.http(200, b"<p>"), Cancellation.UNREACHABLE),
        (_cut, Cancellation.UNREACHABLE),
    ],
)
async def test_what_came_of_a_cancel_is_told(
    step: Any, outcome: Cancellation, client: A2AClient
) -> None:
    post, _ = _script(step)

    async with RawAgent(post) as server:
        assert await client.cancel(agent_at(server.url), TASK) is outcome


@pytest.mark.parametrize(
    ("stands", "outcome"),
    [
        (raw.task("canceled"), Cancellation.CONFIRMED),
        (raw.task("completed"), Cancellation.ALREADY_FINISHED),
        (raw.task("working"), Cancellation.UNSUPPORTED),
        (lambda r: raw.error(r, -32001, "gone"), Cancellation.ALREADY_FINISHED),
        (lambda _: raw.http(503), Cancellation.UNREACHABLE),
    ],
)
async def test_a_task_that_is_said_not_to_be_cancelable_is_looked_at(
    stands: Any, outcome: Cancellation, client: A2AClient
) -> None:
    post, left = _script(lambda r: raw.error(r, -32002, "no"), stands)

    async with RawAgent(post) as server:
        assert await client.cancel(agent_at(server.url), TASK) is outcome

    assert not list(left)


async def test_a_cancel_is_bounded_in_time(
    client: A2AClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.agents.client._CANCEL_S", 0.1)

    async def post(_request: Received, _peer: Peer) -> None:
        await asyncio.Event().wait()

    async with RawAgent(post) as server, asyncio.timeout(5):
        agent = agent_at(server.url, timeout=MINUTE)
        assert await client.cancel(agent, TASK) is Cancellation.UNREACHABLE


async def test_a_cancel_with_credentials_that_cannot_be_sent_goes_nowhere(
    client: A2AClient,
) -> None:
    assert await client.cancel(bearer("http://agent/", ""), TASK) is Cancellation.UNREACHABLE


# -- health -----------------------------------------------------------------------------------


async def _unused(_request: Received, _peer: Peer) -> None:
    raise AssertionError


async def test_health_is_asked_below_the_url_with_credentials(client: A2AClient) -> None:
    async with RawAgent(_unused, {"/a/health": raw.http(204)}) as server:
        health = await client.health(bearer(f"{server.url}/a/?key=1", "t0ken"))

        asked = [get for get in server.gets if get.path == "/a/health?key=1"]
        assert [get.headers["authorization"] for get in asked] == ["Bearer t0ken"]
    assert (health.healthy, health.status_code, health.error) == (True, 204, None)
    assert not health.card_reachable
    assert health.response_time_ms == round(health.response_time_ms or 0, 2)


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_an_unhealthy_agent_reports_its_status(status: int, client: A2AClient) -> None:
    async with RawAgent(_unused, {"/health": raw.http(status, Location="/x")}) as server:
        server.cards["/.well-known/agent.json"] = server.card()
        health = await client.health(agent_at(server.url))

    assert (health.healthy, health.status_code) == (False, status)
    assert f"answered HTTP {status}" in (health.error or "")
    assert health.response_time_ms is not None
    assert health.card_reachable


async def test_a_health_check_that_takes_too_long_says_so_as_the_guide_does(
    client: A2AClient,
) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url, timeout = f"http://127.0.0.1:{port}", timedelta(milliseconds=1234)
        async with asyncio.timeout(5):
            health = await client.health(agent_at(url, timeout=timeout))

    assert (health.healthy, health.status_code, health.response_time_ms) == (False, None, None)
    assert health.error == "Connection timeout after 1234ms"
    assert not health.card_reachable


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (lambda: agent_at("http://127.0.0.1:1"), "cannot be reached at http://127.0.0.1:1"),
        (lambda: bearer("http://127.0.0.1:1", "a\nb"), "auth_config.token"),
        (lambda: agent_at("http://[::1/"), "no http(s) url"),
    ],
)
async def test_health_never_raises(
    agent: Callable[[], Agent], said: str, client: A2AClient
) -> None:
    health = await client.health(agent())

    assert (health.healthy, health.status_code, health.response_time_ms) == (False, None, None)
    assert said in (health.error or "")
