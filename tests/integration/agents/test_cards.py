"""Finding out where and how an agent is called, and remembering it."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.agents import cards
from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Outcome, Output, TaskRef
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.integration.agents.conftest import agent_at, bearer, call_with, failure_of

pytestmark = pytest.mark.integration

CARD, OLD_CARD = "/.well-known/agent-card.json", "/.well-known/agent.json"


async def _method(request: Received, _peer: Peer) -> bytes:
    """Answer with the path and the method that were called."""
    return raw.ok(request, raw.data([request.path, request.json["method"]]))


async def _called(client: A2AClient, agent: Any) -> Any:
    answer = await client.send(agent, call_with({"a": 1}))
    assert isinstance(answer, Output)
    return answer.value


@pytest.mark.parametrize(
    "absent",
    [
        raw.http(404),
        raw.http(405),
        raw.http(410),
        raw.http(501),
        raw.http(200, b"<html>a web page</html>", Content_Type="text/html"),
        raw.http(200, b'{"detail": "hello"}'),
        raw.http(200, b"[]"),
    ],
)
async def test_an_agent_without_a_card_is_called_by_0_3_at_its_url(
    absent: bytes, client: A2AClient
) -> None:
    async with RawAgent(_method, {f"/a{CARD}": absent, f"/a{OLD_CARD}": absent}) as server:
        agent = agent_at(f"{server.url}/a?key=1")

        assert await _called(client, agent) == ["/a?key=1", "message/send"]
        assert await _called(client, agent) == ["/a?key=1", "message/send"]
        assert [get.path for get in server.gets] == [f"/a{CARD}?key=1", f"/a{OLD_CARD}?key=1"]


async def test_the_card_of_0_2_is_found_where_0_2_has_it(client: A2AClient) -> None:
    async with RawAgent(_method) as server:
        server.cards[OLD_CARD] = {"name": "old", "url": f"{server.url}/old", "capabilities": {}}

        assert await _called(client, agent_at(server.url)) == ["/old", "message/send"]


async def test_a_url_may_name_the_card_itself(client: A2AClient) -> None:
    async with RawAgent(_method) as server:
        server.cards["/agents/card.json"] = server.card("/v1")

        agent = agent_at(f"{server.url}/agents/card.json")
        assert await _called(client, agent) == ["/v1", "SendMessage"]


async def test_a_card_is_asked_for_once_by_many_calls_at_once(client: A2AClient) -> None:
    async with RawAgent(_method) as server:
        server.cards[CARD] = server.card()
        agent = agent_at(server.url)

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(_called(client, agent))

        assert len(server.gets) == 1
        assert len(server.posts) == 20


async def test_a_card_that_cannot_be_had_fails_all_who_wait_for_it_at_once(
    client: A2AClient,
) -> None:
    async with RawAgent(_method) as server:
        server.cards[CARD] = raw.http(503, Retry_After="3")
        agent = agent_at(server.url)

        async with asyncio.TaskGroup() as group:
            failing = [group.create_task(failure_of(client, agent)) for _ in range(5)]

        assert len(server.gets) == 1
        for task in failing:
            failure = task.result()
            said = "Agent 'reader' answered HTTP 503 when asked for its card"
            assert (failure.cause, failure.outcome) == (said, Outcome.TRANSIENT)
            assert failure.retry_after is not None
        await failure_of(client, agent)
        assert len(server.gets) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raw.http(302, Location="http://x/login"), "a redirect to http://x/login"),
        (raw.http(401), "answered HTTP 401 when asked for its card"),
        (raw.http(200, b" " * 2_000_000), "answered more than 1048576 bytes"),
    ],
)
async def test_a_card_that_is_refused_is_final(answer: bytes, said: str, client: A2AClient) -> None:
    async with RawAgent(_method, {CARD: answer}) as server:
        failure = await failure_of(client, agent_at(server.url))

        assert server.posts == []
    assert said in failure.cause
    assert failure.outcome is Outcome.FINAL


async def test_a_card_without_a_way_to_call_is_final(client: A2AClient) -> None:
    grpc = {"url": "http://x/", "protocolBinding": "GRPC", "protocolVersion": "1.0"}
    async with RawAgent(_method, {CARD: {"supportedInterfaces": [grpc]}}) as server:
        failure = await failure_of(client, agent_at(server.url))

    assert "offers no JSON-RPC interface" in failure.cause
    assert failure.outcome is Outcome.FINAL


@pytest.fixture
def pass_time(client: A2AClient, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that moves the clock by which cards grow old."""
    now = 0.0
    monkeypatch.setattr(client._cards, "_now", lambda: now)

    def move(seconds: float) -> None:
        nonlocal now
        now += seconds

    return move


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (None, 300),
        ("public, max-age=60", 60),
        ("max-age=999999999", 3600),
        ("no-store", 1),
        ("max-age=0", 1),
    ],
)
async def test_a_card_is_remembered_as_long_as_the_agent_wishes(
    wish: str | None, seconds: float, client: A2AClient, pass_time: Callable[[float], None]
) -> None:
    async with RawAgent(_method) as server:
        body = json.dumps(server.card()).encode()
        server.cards[CARD] = raw.http(200, body, **({"Cache_Control": wish} if wish else {}))
        agent = agent_at(server.url)
        await _called(client, agent)

        pass_time(seconds - 0.1)
        await _called(client, agent)
        assert len(server.gets) == 1

        pass_time(0.2)
        await _called(client, agent)
        assert len(server.gets) == 2


async def test_a_card_that_did_not_change_is_not_sent_again(
    client: A2AClient, pass_time: Callable[[float], None]
) -> None:
    async with RawAgent(_method) as server:
        body = json.dumps(server.card("/v1")).encode()

        def card(request: Received) -> bytes:
            if request.headers.get("if-none-match") == '"7"':
                return raw.http(304, Cache_Control="max-age=10")
            return raw.http(200, body, ETag='"7"')

        server.cards[CARD] = card
        agent = agent_at(server.url)
        for seconds in (301, 9, 2):
            assert await _called(client, agent) == ["/v1", "SendMessage"]
            pass_time(seconds)
        await _called(client, agent)

        assert [g.headers.get("if-none-match") for g in server.gets] == [None, '"7"', '"7"']


async def test_agents_and_urls_have_cards_of_their_own(client: A2AClient) -> None:
    async with RawAgent(_method) as server:
        server.cards[f"/a{CARD}"] = server.card("/from-a")
        agent = agent_at(f"{server.url}/a")
        moved = replace(agent, url=f"{server.url}/b")

        assert await _called(client, agent) == ["/from-a", "SendMessage"]
        assert await _called(client, moved) == ["/b", "message/send"]


async def test_no_more_than_so_many_cards_are_remembered(
    client: A2AClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cards, "_REMEMBERED", 3)
    async with RawAgent(_method) as server:
        for _ in range(5):
            await _called(client, agent_at(server.url))

    assert len(client._cards._memories) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        lambda request: raw.error(request, -32009, "version not supported"),
        lambda request: raw.error(request, -32601, "method not found"),
        lambda _: raw.http(404),
        lambda _: raw.http(410),
    ],
)
async def test_an_agent_that_changed_is_asked_as_its_new_card_says(
    refusal: Callable[[Received], bytes], client: A2AClient
) -> None:
    async def post(request: Received, peer: Peer) -> bytes:
        if changed and request.path == "/old":
            return refusal(request)
        return await _method(request, peer)

    changed = False
    async with RawAgent(post) as server:
        server.cards[CARD] = server.card("/old", "0.3")
        agent = agent_at(server.url)
        assert await _called(client, agent) == ["/old", "message/send"]

        changed = True
        server.cards[CARD] = server.card("/new", "1.0")
        assert await _called(client, agent) == ["/new", "SendMessage"]


async def test_an_agent_that_refuses_and_did_not_change_is_not_asked_again(
    client: A2AClient,
) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.error(request, -32601, "method not found")

    async with RawAgent(post) as server:
        server.cards[CARD] = server.card()
        failure = await failure_of(client, agent_at(server.url))

        assert (len(server.posts), len(server.gets)) == (1, 2)
    assert failure.cause == "Agent 'reader' answered with error -32601: method not found"
    assert failure.outcome is Outcome.FINAL


async def test_after_a_lost_connection_the_card_is_read_again(client: A2AClient) -> None:
    async def post(request: Received, peer: Peer) -> bytes | None:
        return None if request.path == "/old" else await _method(request, peer)

    async with RawAgent(post) as server:
        server.cards[CARD] = server.card("/old")
        agent = agent_at(server.url)
        failure = await failure_of(client, agent)
        assert failure.outcome is Outcome.UNKNOWN

        server.cards[CARD] = server.card("/new")
        assert await _called(client, agent) == ["/new", "SendMessage"]


async def test_a_card_may_send_calls_elsewhere_but_not_credentials(client: A2AClient) -> None:
    async with RawAgent(_method) as server, RawAgent(_method) as other:
        server.cards[CARD] = other.card("/there")

        assert await _called(client, agent_at(server.url)) == ["/there", "SendMessage"]
        assert len(other.posts) == 1

        failure = await failure_of(client, bearer(server.url, "s3cret-token"))

        assert len(other.posts) == 1
    assert f"registered at {server.url}, but its card sends calls to {other.url}" in failure.cause
    assert failure.outcome is Outcome.FINAL


async def test_credentials_go_with_the_call_and_the_card_of_the_agents_own_origin(
    client: A2AClient,
) -> None:
    async with RawAgent(_method) as server:
        server.cards[f"/deep{CARD}"] = server.card("/elsewhere")

        await _called(client, bearer(f"{server.url}/deep", "t0ken"))

        for request in (*server.gets, *server.posts):
            assert request.headers["authorization"] == "Bearer t0ken"


async def test_user_and_password_of_the_url_go_as_a_header(client: A2AClient) -> None:
    async with RawAgent(_method) as server:
        await _called(client, agent_at(server.url.replace("//", "//user:pass@")))

        assert server.posts[0].headers["authorization"] == "Basic dXNlcjpwYXNz"
        assert "@" not in server.posts[0].headers["host"]


async def test_a_tenant_goes_with_every_request(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        assert request.json["params"]["tenant"] == "blue"
        done = request.json["method"] == "GetTask"
        return raw.ok(request, raw.task("completed" if done else "working"))

    async with RawAgent(post) as server:
        server.cards[CARD] = server.card()
        server.cards[CARD]["supportedInterfaces"][0]["tenant"] = "blue"
        agent = agent_at(server.url)

        task = await client.send(agent, call_with(1))
        assert isinstance(task, TaskRef)
        await client.follow(agent, task)
        await client.cancel(agent, task)

        methods = [post.json["method"] for post in server.posts]
    assert methods == ["SendMessage", "GetTask", "CancelTask"]
