"""What an agent really does, and what its card says, as users are shown them."""

from typing import Any

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Options
from tests.agents_under_test import launch
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.launch import AgentProcess
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.integration.agents.conftest import agent_at, bearer

pytestmark = pytest.mark.integration

CARD = "/.well-known/agent-card.json"
SLOW = '{"cmd":"slow"}'


async def test_an_agent_that_does_everything_has_an_a(
    sdk1: AgentProcess, client: A2AClient
) -> None:
    before = len(sdk1.get("/record")["requests"])

    found = await client.probe(agent_at(sdk1.url), SLOW)

    assert found == {
        "grade": "A",
        "version": "1.0",
        "answers": "task",
        "poll": "ok",
        "cancel": "confirmed",
        "stream": "ok",
        "dedupe": "no",
        "lookup": "yes",
        "error": None,
    }
    asked = [r["body"] for r in sdk1.get("/record")["requests"][before:]]
    sent = [r for r in asked if r["method"] in ("SendMessage", "SendStreamingMessage")]
    assert len(sent) == 4
    # One is cancelled to see whether that works, and all of them so that nothing goes on.
    assert [r["method"] for r in asked].count("CancelTask") == 5


async def test_an_agent_of_0_3_cannot_tell_what_became_of_a_message(
    sdk03: AgentProcess, client: A2AClient
) -> None:
    found = await client.probe(agent_at(sdk03.url), SLOW)

    assert (found["grade"], found["version"], found["lookup"]) == ("B", "0.3", "no")


async def test_an_agent_that_answers_at_once_has_no_tasks_to_try(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.data({}))

    async with RawAgent(post) as server:
        found = await client.probe(agent_at(server.url), "{}")

        assert len(server.posts) == 1
    assert (found["grade"], found["answers"], found["cancel"]) == ("C", "message", "untried")
    assert found["stream"] == "unsupported"


async def test_an_agent_that_takes_no_cancel_is_found_out(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        if request.json["method"] == "CancelTask":
            return raw.error(request, -32004, "not here")
        return raw.ok(request, {"task": raw.task("working")})

    async with RawAgent(post) as server:
        server.cards[CARD] = server.card()
        found = await client.probe(agent_at(server.url), "{}")

    assert (found["cancel"], found["dedupe"], found["grade"]) == ("unsupported", "yes", "C")


async def test_an_agent_that_does_not_answer_has_an_f_and_a_reason(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.error(request, -32602, "my s3cret-s3cret is safe")

    async with RawAgent(post) as server:
        found = await client.probe(bearer(server.url, "s3cret-s3cret"), "{}")

    assert found["grade"] == "F"
    assert found["error"] == "Agent 'reader' answered with error -32602: my *** is safe"


async def test_a_card_is_shown_as_it_is_understood(client: A2AClient) -> None:
    with launch.sdk1("--rest", "--text-only") as process:
        shown = await client.view(agent_at(process.url))

        raw_card = shown.pop("card")
        assert raw_card["name"] == "sdk1"
        assert shown == {
            "card_url": process.url + CARD,
            "version": "1.0",
            "binding": "HTTP+JSON",
            "interface_url": process.url + "/rest",
            "tenant": None,
            "streaming": True,
            "push_notifications": True,
            "input_as": "text",
            "skills": [
                {"id": "test", "name": "test", "description": "does as told", "input_modes": []}
            ],
            "error": None,
        }


@pytest.mark.parametrize(
    ("card", "options", "expected"),
    [
        (None, {}, {"card_url": None, "version": "0.3", "error": None, "card": None}),
        (
            {"supportedInterfaces": [{"url": "http://x/", "protocolBinding": "GRPC"}]},
            {},
            {"version": None, "interface_url": None},
        ),
        (
            {"url": "http://x/", "skills": "none"},
            {"interface_url": "http://y/"},
            {"version": "0.3", "interface_url": "http://y/", "skills": []},
        ),
    ],
)
async def test_a_card_that_says_little_is_shown_too(
    card: Any, options: Any, expected: dict[str, Any], client: A2AClient
) -> None:
    async def post(_request: Received, _peer: Peer) -> bytes | None:
        return None

    async with RawAgent(post, {} if card is None else {CARD: card}) as server:
        shown = await client.view(agent_at(server.url, options=Options(**options)))

    assert {name: shown[name] for name in expected} == expected
    assert (shown["error"] is None) is (shown["version"] is not None)
