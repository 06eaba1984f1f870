"""Tasks by stream: the id from the first event, and a right result whatever the stream does."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Self

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import CallMode, Options, Outcome, Output, Protocol, TaskRef
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.agents_under_test.registered import value_of
from tests.integration.agents.conftest import MAX_ANSWER, agent_at, bearer, call_with, failure_of

pytestmark = pytest.mark.integration

CARD = "/.well-known/agent-card.json"
WORKING = {"task": {"id": "t1", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}}
COMPLETED = {"statusUpdate": {"taskId": "t1", "status": {"state": "TASK_STATE_COMPLETED"}}}
DONE = raw.task("completed", artifacts=[{"parts": [{"data": {"from": "poll"}}]}])

Streamed = Callable[[Received, Peer], Awaitable[bytes | None]]


def _artifact(value: Any, **more: Any) -> dict[str, Any]:
    given = {"artifactId": "a", "parts": [{"data": value}]}
    return {"artifactUpdate": {"taskId": "t1", "artifact": given, **more}}


class Agent(RawAgent):
    """Streams as it is told; a poll finds the task completed."""

    def __init__(self, stream: Streamed, subscribed: Streamed | None = None) -> None:
        super().__init__(self._post)
        self._streams = {"SendStreamingMessage": stream, "SubscribeToTask": subscribed or stream}

    async def _post(self, request: Received, peer: Peer) -> bytes | None:
        stream = self._streams.get(request.json["method"])
        return raw.ok(request, DONE) if stream is None else await stream(request, peer)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.cards[CARD] = self.card(capabilities={"streaming": True})
        return self

    @property
    def methods(self) -> list[str]:
        return [request.json["method"] for request in self.posts]


def _says(*events: dict[str, Any], then: bytes = b"") -> Streamed:
    async def stream(request: Received, peer: Peer) -> bytes | None:
        await peer.write(raw.SSE + b": hello\n\n")
        for event in events:
            await peer.write(raw.event(request, event))
        await peer.write(then)
        return None

    return stream


async def _result(client: A2AClient, server: Agent, **options: Any) -> Any:
    agent = agent_at(server.url, options=Options(**options), timeout=timedelta(seconds=5))
    answer = await client.send(agent, call_with({}))
    if isinstance(answer, TaskRef):
        assert answer.task_id == "t1"
        answer = await client.follow(agent, answer)
    return value_of(answer)


async def test_the_result_comes_by_the_stream(client: A2AClient) -> None:
    stream = _says(WORKING, _artifact({"a": 1.0}), _artifact({"b": 2}, append=True), COMPLETED)
    async with Agent(stream) as server:
        assert await _result(client, server) == {"a": 1, "b": 2}

        assert server.methods == ["SendStreamingMessage"]
        assert server.posts[0].headers["accept"] == "text/event-stream, application/json"


async def test_the_task_is_known_while_the_stream_goes_on(client: A2AClient) -> None:
    go_on = asyncio.Event()

    async def stream(request: Received, peer: Peer) -> None:
        await peer.write(raw.SSE + raw.event(request, WORKING))
        await go_on.wait()
        await peer.write(raw.event(request, _artifact({"late": True})))
        await peer.write(raw.event(request, COMPLETED))

    async with Agent(stream) as server:
        agent = agent_at(server.url)
        task = await client.send(agent, call_with({}))
        assert task == TaskRef("t1", "c")
        following = asyncio.ensure_future(client.follow(agent, task))
        go_on.set()

        assert value_of(await following) == {"late": True}
        assert server.methods == ["SendStreamingMessage"]


@pytest.mark.parametrize(
    "stream",
    [
        _says(WORKING),
        _says(WORKING, _artifact({"half": 1})),
        _says(WORKING, COMPLETED),  # the result stands in the task only
        _says(WORKING, then=b"data: nonsense\n\n"),
        _says(WORKING, then=b"data: {}\n\n"),
        _says(WORKING, then=b'data: {"error": {"code": -32603, "message": "broke"}}\n\n'),
        _says(WORKING, then=b"data: " + b"x" * 2 * MAX_ANSWER),
    ],
    ids=["ends", "ends-later", "no-result", "no-json", "no-event", "error", "huge"],
)
async def test_a_stream_that_does_not_bring_the_result_is_left_for_polls(
    stream: Streamed, client: A2AClient
) -> None:
    async with Agent(stream) as server:
        assert await _result(client, server) == {"from": "poll"}

        assert server.methods == ["SendStreamingMessage", "GetTask"]


async def test_a_stream_that_never_ends_is_left_for_polls(client: A2AClient) -> None:
    async def stream(request: Received, peer: Peer) -> None:
        await peer.write(raw.SSE + raw.event(request, WORKING))
        while True:  # until the client hangs up
            await peer.write(b": ping\n\n" * 10_000)

    async with asyncio.timeout(30), Agent(stream) as server:
        assert await _result(client, server) == {"from": "poll"}


async def test_a_stream_that_says_nothing_is_left_for_polls(client: A2AClient) -> None:
    async def stream(request: Received, peer: Peer) -> None:
        await peer.write(raw.SSE + raw.event(request, WORKING))
        await asyncio.Event().wait()

    async with Agent(stream) as server:
        agent = agent_at(server.url, timeout=timedelta(seconds=0.3))
        task = await client.send(agent, call_with({}))
        assert isinstance(task, TaskRef)

        assert value_of(await client.follow(agent, task)) == {"from": "poll"}


@pytest.mark.parametrize("code", [-32004, -32601])
@pytest.mark.parametrize("how", ["body", "event"])
async def test_an_agent_that_does_not_stream_after_all_is_asked_without(
    code: int, how: str, client: A2AClient
) -> None:
    async def refuse(request: Received, peer: Peer) -> bytes | None:
        if how == "body":
            return raw.error(request, code, "no streams here")
        await peer.write(raw.SSE + b'data: {"error": {"code": %d, "message": "no"}}\n\n' % code)
        return None

    async with Agent(refuse) as server:
        assert await _result(client, server) == {"from": "poll"}

        assert server.methods[-1] == "SendMessage"


@pytest.mark.parametrize("how", ["body", "event", "status"])
async def test_an_agent_that_has_begun_its_stream_wrongly_is_not_asked_again(
    how: str, client: A2AClient
) -> None:
    said = "Received statusUpdate before initial 'Message'/'Task' event."  # by JavaScript's SDK

    async def refuse(request: Received, peer: Peer) -> bytes | None:
        if how == "body":
            return raw.error(request, -32004, said)
        error = json.dumps({"error": {"code": -32004, "message": said}}).encode()
        if how == "status":
            return raw.http(501, error)
        await peer.write(raw.SSE + b"data: " + error + b"\n\n")
        return None

    async with Agent(refuse) as server:
        failure = await failure_of(client, agent_at(server.url))

        assert server.methods == ["SendStreamingMessage"]
    assert failure.outcome is Outcome.FINAL
    assert said in failure.cause


async def test_an_agent_may_answer_a_stream_as_a_whole(client: A2AClient) -> None:
    async def whole(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, {"message": {"parts": [{"data": {"whole": 1}}]}})

    async with Agent(whole) as server:
        assert await _result(client, server) == {"whole": 1}


async def test_a_message_may_come_by_stream(client: A2AClient) -> None:
    async with Agent(_says({"message": {"parts": [{"data": {"said": 1}}]}})) as server:
        assert await _result(client, server) == {"said": 1}


@pytest.mark.parametrize(
    ("options", "methods"),
    [
        ({"call_mode": CallMode.POLL}, ["SendMessage"]),
        ({"call_mode": CallMode.WAIT}, ["SendMessage"]),
        ({"call_mode": CallMode.STREAM}, ["SendStreamingMessage"]),
    ],
)
async def test_the_operator_says_how_a_call_waits(
    options: dict[str, Any], methods: list[str], client: A2AClient
) -> None:
    async with Agent(_says(WORKING, _artifact({}), COMPLETED)) as server:
        del server.cards[CARD]["capabilities"]
        await _result(client, server, **options)

        assert server.methods == methods
        asked = server.posts[0].json["params"]["configuration"].get("returnImmediately", False)
        assert asked is (options["call_mode"] is not CallMode.WAIT)


async def test_a_new_owner_listens_again_and_asks_for_the_result(client: A2AClient) -> None:
    async with Agent(_says(WORKING, _artifact({"half": 1}), COMPLETED)) as server:
        output = await client.follow(agent_at(server.url), TaskRef("t1", "c"))

        assert value_of(output) == {"from": "poll"}
        assert server.methods == ["SubscribeToTask", "GetTask"]


async def test_a_stream_that_breaks_before_its_first_event_leaves_the_outcome_unknown(
    client: A2AClient,
) -> None:
    async def nothing(request: Received, peer: Peer) -> bytes | None:
        if request.json["method"] == "ListTasks":
            return raw.ok(request, {"tasks": []})
        await peer.write(raw.SSE)
        return None

    async with Agent(nothing) as server:
        failure = await failure_of(client, agent_at(server.url))

    assert failure.outcome is Outcome.UNKNOWN


async def test_a_failed_task_fails_by_stream_too(client: A2AClient) -> None:
    said = {"parts": [{"text": "it broke"}]}
    failed = {"statusUpdate": {"taskId": "t1", "status": {"state": "failed", "message": said}}}
    async with Agent(_says(WORKING, failed)) as server:
        with pytest.raises(CallFailed, match="failed the task: it broke"):
            await _result(client, server)


async def test_streams_beyond_the_bound_are_polled() -> None:
    hold = asyncio.Event()

    async def stream(request: Received, peer: Peer) -> None:
        await peer.write(raw.SSE + raw.event(request, WORKING))
        await hold.wait()

    async with (
        Agent(stream) as server,
        A2AClient(max_answer_bytes=MAX_ANSWER, max_calls=1) as client,
    ):
        agent = agent_at(server.url)
        assert isinstance(await client.send(agent, call_with({})), TaskRef)
        polled = await client.send(agent, call_with({}))

        assert isinstance(polled, Output)
        assert server.methods == ["SendStreamingMessage", "SendMessage"]
        hold.set()


async def test_a_stream_that_nobody_comes_for_is_closed(
    client: A2AClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.agents.streams._KEPT_S", 0.01)
    closed = asyncio.Event()

    async def stream(request: Received, peer: Peer) -> None:
        await peer.write(raw.SSE + raw.event(request, WORKING))
        await peer.closed()
        closed.set()

    async with Agent(stream) as server:
        await client.send(agent_at(server.url), call_with({}))

        await asyncio.wait_for(closed.wait(), 5)


async def test_a_lost_answer_is_looked_for_among_the_contexts_tasks(client: A2AClient) -> None:
    call = call_with({})

    async def post(request: Received, _peer: Peer) -> bytes | None:
        match request.json["method"]:
            case "ListTasks":
                other = {"id": "t0", "status": {"state": "working"}, "history": "none"}
                message = {"messageId": call.message_id, "role": "ROLE_USER", "parts": []}
                return raw.ok(request, {"tasks": [other, {**DONE, "history": [message]}]})
            case "GetTask":
                return raw.ok(request, DONE)
            case _:
                return None  # the answer is lost

    async with RawAgent(post) as server:
        server.cards[CARD] = server.card()
        agent = agent_at(server.url)
        task = await client.send(agent, call)
        assert task == TaskRef("t1", "c")
        assert value_of(await client.follow(agent, task)) == {"from": "poll"}

        methods = [request.json["method"] for request in server.posts]
        assert methods == ["SendMessage", "ListTasks", "GetTask"]
        assert server.posts[1].json["params"]["contextId"] == call.context_id


async def test_what_may_have_been_sent_is_looked_for_before_it_is_sent_again(
    client: A2AClient,
) -> None:
    known = call_with({}, maybe_sent=True)

    async def post(request: Received, _peer: Peer) -> bytes:
        if request.json["method"] == "ListTasks":
            history = [{"messageId": known.message_id}]
            return raw.ok(request, {"tasks": [{**DONE, "history": history}]})
        return raw.ok(request, raw.data({"sent": 1}))

    async with RawAgent(post) as server:
        server.cards[CARD] = server.card()
        agent = agent_at(server.url)

        assert await client.send(agent, known) == TaskRef("t1", "c")
        unknown = await client.send(agent, call_with({}, maybe_sent=True))
        assert isinstance(unknown, Output)
        methods = [request.json["method"] for request in server.posts]
        assert methods == ["ListTasks", "ListTasks", "SendMessage"]


async def test_http_json_is_spoken_where_it_is_all_there_is(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes | None:
        if request.path == "/rest/message:send":
            return raw.http(200, b'{"task":{"id":"t/1","status":{"state":"TASK_STATE_WORKING"}}}')
        body = b'{"error":{"code":400,"message":"over","details":[{"reason":"%s"}]}}'
        return raw.http(400, body % b"TASK_NOT_CANCELABLE")

    async with RawAgent(post) as server:
        interface = {
            "url": server.url + "/rest/",
            "protocolBinding": "HTTP+JSON",
            "protocolVersion": "1.0",
        }
        server.cards[CARD] = {"supportedInterfaces": [interface]}
        server.cards["/rest/tasks/t%2F1"] = {**DONE, "id": "t/1"}
        agent = agent_at(server.url)
        task = await client.send(agent, call_with({}))
        assert isinstance(task, TaskRef)

        assert value_of(await client.follow(agent, task)) == {"from": "poll"}
        assert (await client.cancel(agent, task)).value == "already_finished"
        assert server.gets[-1].path == "/rest/tasks/t%2F1?historyLength=0"
        assert server.posts[-1].path == "/rest/tasks/t%2F1:cancel"
        assert server.posts[0].headers["a2a-version"] == "1.0"


async def test_artifacts_are_kept_as_the_agent_sent_them(client: A2AClient) -> None:
    artifacts = [{"artifactId": "a", "name": "n", "parts": [{"data": {"n": 2.0}}, {"future": 1}]}]

    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.task("completed", artifacts=artifacts))

    async with RawAgent(post) as server:
        output = await client.send(agent_at(server.url), call_with({}))

    assert isinstance(output, Output)
    assert (output.value, json.loads(output.artifacts or "")) == ({"n": 2}, artifacts)
    assert output.artifacts is not None
    assert '"n":2}' in output.artifacts


async def test_what_the_operator_set_goes_with_every_request_to_the_agent(
    client: A2AClient,
) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.data([request.path, request.json["method"]]))

    async with RawAgent(post) as server, RawAgent(post) as proxy:
        server.cards["/special.json"] = server.card("/wrong", "0.3")
        options = Options(Protocol.V1, f"{proxy.url}/x", {"X-Tenant": "blue"}, "/special.json")
        output = await client.send(
            bearer(server.url, "s3cret-s3cret", options=options), call_with({})
        )

        assert isinstance(output, Output)
        assert value_of(output) == ["/x", "SendMessage"]
        assert [get.headers["x-tenant"] for get in server.gets] == ["blue"]
        sent = proxy.posts[0].headers
        assert (sent["x-tenant"], sent["authorization"]) == ("blue", "Bearer s3cret-s3cret")


async def test_headers_of_the_operator_go_to_no_origin_that_only_the_card_names(
    client: A2AClient,
) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.data({}))

    async with RawAgent(post) as server, RawAgent(post) as other:
        server.cards[CARD] = other.card()
        agent = agent_at(server.url, options=Options(headers={"X-Tenant": "blue"}))
        await client.send(agent, call_with({}))

        assert "x-tenant" not in other.posts[0].headers


async def test_a_fixed_interface_is_called_though_the_card_cannot_be_read(
    client: A2AClient,
) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.data(request.json["method"]))

    async with RawAgent(post, {CARD: raw.http(500)}) as server:
        options = Options(Protocol.V1, f"{server.url}/x")
        output = await client.send(agent_at(server.url, options=options), call_with({}))

    assert isinstance(output, Output)
    assert value_of(output) == "SendMessage"
