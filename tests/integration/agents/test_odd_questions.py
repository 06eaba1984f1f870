"""Tasks that wait for somebody, when the agent says so in a way of its own."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.agents import tasks
from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Agent, Asked, Call, Outcome, Output, TaskRef, WaitingFor
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.integration.agents.conftest import agent_at, call_with

pytestmark = pytest.mark.integration

DONE = raw.task("completed", artifacts=[{"parts": [{"data": {"a": 1}}]}])
MOMENT = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_AFTER_ERROR_S", 0.001)
    monkeypatch.setattr(tasks, "_LONGEST_S", 0.002)


def question(
    said: str | None = "which?",
    message_id: str | None = None,
    moment: str | None = None,
    state: str = "input-required",
) -> dict[str, Any]:
    """Return a task that asks."""
    status: dict[str, Any] = {"state": state}
    if said is not None:
        status["message"] = {"parts": [{"kind": "text", "text": said}]}
        if message_id is not None:
            status["message"]["messageId"] = message_id
    if moment is not None:
        status["timestamp"] = moment
    return {"kind": "task", "id": "t1", "contextId": "c", "status": status}


class Script:
    """Answers by these steps, in order: a result, or a function of the request."""

    def __init__(self, *steps: Any) -> None:
        self.left: Iterator[Any] = iter(steps)
        self.methods: list[str] = []

    async def __call__(self, request: Received, _peer: Peer) -> bytes | None:
        self.methods.append(request.json["method"])
        step = next(self.left)
        return step(request) if callable(step) else raw.ok(request, step)


def _busy(_request: Received) -> bytes:
    return raw.http(503)


def _cut(_request: Received) -> None:
    return None


def an_answer() -> Call:
    return replace(call_with({"colour": "blue"}), task_id="t1")


async def asked_by(client: A2AClient, agent: Agent) -> Asked:
    found = await client.send(agent, call_with({}))
    assert isinstance(found, Asked)
    return found


NAMED = [("m1", MOMENT), ("m1", None), (None, MOMENT)]


@pytest.mark.parametrize(("message_id", "moment"), NAMED)
async def test_a_task_that_still_shows_the_answered_question_goes_on(
    message_id: str | None, moment: str | None, client: A2AClient
) -> None:
    shown = question("which?", message_id, moment)
    emptied = [question(None, None, moment)] if moment else []
    script = Script(shown, shown, *emptied, shown, *emptied, shown, DONE)

    async with RawAgent(script) as server, asyncio.timeout(10):
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        task = await client.answer(agent, an_answer(), asked.task)
        assert task == TaskRef("t1", "c", asked.task.asked)
        output = await client.follow(agent, task)

    assert isinstance(output, Output)
    assert output.value == {"a": 1}
    assert not list(script.left)


@pytest.mark.parametrize(
    "other", [question("which?", "m2", MOMENT), question("which?", "m1", "2026-01-01T00:00:01Z")]
)
async def test_the_same_words_at_another_time_are_another_question(
    other: dict[str, Any], client: A2AClient
) -> None:
    first = question("which?", "m1", MOMENT)

    async with RawAgent(Script(first, first, other)) as server, asyncio.timeout(10):
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        again = await client.answer(agent, an_answer(), asked.task)

    assert isinstance(again, Asked)
    assert again.task.asked != asked.task.asked


async def test_where_nothing_names_a_question_its_words_do_as_long_as_nobody_has_answered(
    client: A2AClient,
) -> None:
    asks = question("which?")
    script = Script(asks, asks, question("who?"), asks, asks)

    async with RawAgent(script) as server, asyncio.timeout(10):
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        assert await client.look(agent, asked.task) is None
        other = await client.look(agent, asked.task)
        assert isinstance(other, Asked)
        again = await client.answer(agent, an_answer(), asked.task)

    assert again == asked  # the answer was no good: it is asked once more
    assert script.methods[-2:] == ["tasks/get", "message/send"]


async def test_a_question_without_a_word_is_one(client: A2AClient) -> None:
    async with RawAgent(Script(question(None, state="TASK_STATE_AUTH_REQUIRED"))) as server:
        asked = await asked_by(client, agent_at(server.url))

    assert asked.waiting_for is WaitingFor.AUTH
    assert asked.question == {"text": "", "parts": []}


async def test_files_and_data_stand_in_the_question_as_they_came(client: A2AClient) -> None:
    asks = question("", "m1")
    file = {"url": "https://x/f.pdf", "name": "f.pdf", "mediaType": "application/pdf"}
    asks["status"]["message"]["parts"] = [
        {"data": {"choose": [1.0, 2.5]}},
        {"text": "this one?"},
        {"url": file["url"], "filename": "f.pdf", "mediaType": "application/pdf"},
    ]

    async with RawAgent(Script(asks)) as server:
        asked = await asked_by(client, agent_at(server.url))

    parts = [{"data": {"choose": [1, 2.5]}}, {"text": "this one?"}, file]
    assert asked.question == {"text": "this one?", "parts": parts}


async def test_a_question_that_nobody_could_answer_fails(client: A2AClient) -> None:
    asks = question("which?")
    del asks["id"]

    async with RawAgent(Script(asks)) as server:
        with pytest.raises(CallFailed, match="asks for input in a task without an id"):
            await client.send(agent_at(server.url), call_with({}))


async def test_a_task_that_is_to_be_answered_is_asked_for_patiently(client: A2AClient) -> None:
    asks = question("which?", "m1")
    script = Script(asks, _busy, _cut, asks, DONE)

    async with RawAgent(script) as server, asyncio.timeout(10):
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        done = await client.answer(agent, an_answer(), asked.task)

    assert isinstance(done, Output)
    assert script.methods.count("message/send") == 2


@pytest.mark.parametrize(
    ("steps", "outcome"),
    [
        ([_cut], Outcome.UNKNOWN),
        ([_busy], Outcome.TRANSIENT),
        ([lambda r: raw.error(r, -32602, "bad")], Outcome.FINAL),
    ],
)
async def test_the_outcome_of_an_answer_is_told(
    steps: list[Any], outcome: Outcome, client: A2AClient
) -> None:
    asks = question("which?", "m1")

    async with RawAgent(Script(asks, asks, *steps)) as server, asyncio.timeout(10):
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        with pytest.raises(CallFailed) as failed:
            await client.answer(agent, an_answer(), asked.task)

    assert failed.value.failure.outcome is outcome


async def test_the_task_of_a_lost_answer_goes_on_from_its_question(client: A2AClient) -> None:
    asks, answer = question("which?", "m1", MOMENT), an_answer()
    listed = {"tasks": [{**asks, "history": [{"messageId": answer.message_id}]}]}

    async with RawAgent(Script(asks, asks, _cut, listed, asks, DONE)) as server:
        server.cards["/.well-known/agent-card.json"] = server.card()
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        task = await client.answer(agent, answer, asked.task)
        assert task == asked.task
        output = await client.follow(agent, task)

    assert isinstance(output, Output)
    assert output.value == {"a": 1}


async def test_an_agent_that_gives_no_news_is_left_unanswered(client: A2AClient) -> None:
    script = Script(question("which?", "m1"), *[_busy] * tasks.POLL_ERRORS)

    async with RawAgent(script) as server, asyncio.timeout(10):
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        with pytest.raises(CallFailed, match="gave no news of its task") as failed:
            await client.answer(agent, an_answer(), asked.task)

    assert failed.value.failure.outcome is Outcome.UNKNOWN
    assert script.methods.count("message/send") == 1


async def test_a_look_that_finds_nobody_is_no_news(client: A2AClient) -> None:
    asks = question("log in", "m1", state="auth-required")

    async with RawAgent(Script(asks, _busy, _cut, raw.task("working"))) as server:
        agent = agent_at(server.url)
        asked = await asked_by(client, agent)
        assert await client.look(agent, asked.task) is None
        assert await client.look(agent, asked.task) is None
        assert await client.look(agent, asked.task) == asked.task
