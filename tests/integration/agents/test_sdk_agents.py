"""Agents on the official SDKs, in processes of their own: what works with one works with all."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Agent, Cancellation, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.integration.agents.conftest import Perform, agent_at, call_with

pytestmark = pytest.mark.integration

FILE = {"url": "https://x/f.pdf", "name": "f.pdf", "mediaType": "application/pdf"}


@pytest.fixture(params=["sdk1", "sdk1_compat", "sdk03"])
def process(request: pytest.FixtureRequest) -> AgentProcess:
    found: AgentProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def agent(process: AgentProcess) -> Agent:
    return agent_at(process.url)


async def test_a_message_is_the_output(agent: Agent, client: A2AClient) -> None:
    value = {"cmd": "message", "n": 42, "deep": {"list": [1, 2.5, None, "ä\n"]}}

    answer = await client.send(agent, call_with(value))

    assert isinstance(answer, Output)
    assert answer.value == {"echo": value, "text": ""}


async def test_a_task_is_followed_to_its_output(agent: Agent, perform: Perform) -> None:
    value = {"cmd": "echo", "n": 42}

    assert await perform(agent, value) == {"echo": value, "text": ""}


@pytest.mark.parametrize(
    ("cmd", "output"),
    [
        ("text", {"text": "plain answer"}),
        ("json-text", {"from": "text"}),
        ("say", {"text": "done, nothing to show"}),
        ("nothing", {}),
        ("chunks", {"text": "chunk0 chunk1 chunk2 ", "chunks": 3}),
        ("many", {"a": 2, "b": {"c": [1, 2.5]}, "text": "some text", "files": [FILE]}),
    ],
)
async def test_every_form_of_result_is_read(
    cmd: str, output: Any, agent: Agent, perform: Perform
) -> None:
    assert await perform(agent, {"cmd": cmd}) == output


@pytest.mark.parametrize(
    ("cmd", "cause"),
    [
        ("fail", "Agent 'reader' failed the task: it broke"),
        ("fail-silently", "Agent 'reader' failed the task and did not say why"),
        ("reject", "Agent 'reader' rejected the task: not my kind of work"),
        ("canceled", "Agent 'reader' canceled the task: changed my mind"),
    ],
)
async def test_a_task_that_ends_badly_fails_with_its_own_words(
    cmd: str, cause: str, agent: Agent, perform: Perform
) -> None:
    with pytest.raises(CallFailed) as failed:
        await perform(agent, {"cmd": cmd})

    assert (failed.value.failure.cause, failed.value.failure.outcome) == (cause, Outcome.FINAL)


async def test_a_task_is_gone_on_with_by_another_client(agent: Agent, client: A2AClient) -> None:
    task = await client.send(agent, call_with({"cmd": "slow", "seconds": 0.3}))
    assert isinstance(task, TaskRef)

    async with A2AClient(max_answer_bytes=1000, max_calls=1) as another:
        output = await another.follow(agent, task)

    assert isinstance(output, Output)
    assert output.value == {"slept": 0.3}


async def test_a_task_is_canceled(agent: Agent, client: A2AClient) -> None:
    task = await client.send(agent, call_with({"cmd": "slow"}))
    assert isinstance(task, TaskRef)

    assert await client.cancel(agent, task) is Cancellation.CONFIRMED
    assert await client.cancel(agent, task) is Cancellation.CONFIRMED  # -32002, and it is so
    with pytest.raises(CallFailed, match="canceled the task"):
        await client.follow(agent, task)


async def test_a_task_that_is_over_or_unknown_cannot_be_canceled(
    agent: Agent, client: A2AClient
) -> None:
    task = await client.send(agent, call_with({"cmd": "nothing"}))
    assert isinstance(task, TaskRef)
    await client.follow(agent, task)

    assert await client.cancel(agent, task) is Cancellation.ALREADY_FINISHED
    assert await client.cancel(agent, TaskRef("no", None)) is Cancellation.ALREADY_FINISHED


async def test_a_task_that_cannot_be_canceled_is_left_alone(
    sdk1: AgentProcess, client: A2AClient
) -> None:
    agent = agent_at(sdk1.url)
    task = await client.send(agent, call_with({"cmd": "stubborn", "seconds": 0.2}))
    assert isinstance(task, TaskRef)

    assert (
        await client.cancel(agent, task) is Cancellation.ALREADY_FINISHED
    )  # -32002: the SDK fails it


async def test_a_lost_task_may_be_tried_again(agent: Agent, client: A2AClient) -> None:
    with pytest.raises(CallFailed) as failed:
        await client.follow(agent, TaskRef("no-such-task", None))

    assert failed.value.failure.outcome is Outcome.TRANSIENT
    assert "no longer knows the task no-such-task" in failed.value.failure.cause


async def test_what_is_sent_carries_who_and_what(process: AgentProcess, client: A2AClient) -> None:
    call = call_with({"cmd": "message"}, step="schritt ä", attempt=3)

    await client.send(agent_at(process.url), call)

    record = process.get("/record")
    assert record["executions"][call.message_id] == 1
    sent = [r for r in record["requests"] if r["body"]["id"] == call.message_id]
    assert len(sent) == 1
    headers, message = sent[0]["headers"], sent[0]["body"]["params"]["message"]
    assert message["metadata"] == {"runId": call.run, "stepId": "schritt ä", "attempt": 3}
    assert message["contextId"] == call.run
    assert headers["a2a-version"] == ("0.3" if "kind" in message else "1.0")
    assert headers["idempotency-key"] == f"{call.run}.schritt%20%C3%A4.1"
    version, trace, span, flags = headers["traceparent"].split("-")
    assert (version, trace, flags) == ("00", call.run[4:].replace("-", ""), "01")
    assert len(span) == 16


async def test_agents_that_read_only_text_get_the_json_as_text(client: A2AClient) -> None:
    for start in (launch.sdk1, launch.sdk03):
        with start("--text-only") as process:
            answer = await client.send(
                agent_at(process.url), call_with({"cmd": "message", "n": [1.5, {"ä": None}]})
            )

        assert isinstance(answer, Output)
        assert answer.value["text"] == '{"cmd":"message","n":[1.5,{"ä":null}]}'


@pytest.mark.parametrize("value", [{"n": 42}, [1, {"a": 2}], "word", 7, None])
async def test_every_json_value_comes_back_as_it_was_sent(
    value: Any, sdk1: AgentProcess, perform: Perform
) -> None:
    assert await perform(agent_at(sdk1.url), {"cmd": "value", "of": value}) == value


async def test_an_exception_in_the_agent_fails_the_task(
    sdk1: AgentProcess, perform: Perform
) -> None:
    with pytest.raises(CallFailed) as failed:
        await perform(agent_at(sdk1.url), {"cmd": "raise"})

    assert failed.value.failure.outcome is Outcome.FINAL


async def test_an_agent_is_healthy_and_shows_its_card(agent: Agent, client: A2AClient) -> None:
    health = await client.health(agent)

    assert (health.healthy, health.status_code, health.error) == (True, 200, None)
    assert health.card_reachable
    assert health.response_time_ms is not None
    assert 0 < health.response_time_ms < 10_000


async def test_an_agent_that_is_restarted_elsewhere_in_another_version_is_found_again(
    client: A2AClient,
) -> None:
    call = {"cmd": "message"}
    with launch.sdk03() as process:
        agent = agent_at(process.url, timeout=timedelta(seconds=5))
        assert isinstance(await client.send(agent, call_with(call)), Output)

    for start in (launch.sdk1, launch.sdk03):
        # In a thread, so that the loop hears that the connections are closed.
        with await asyncio.to_thread(start, "--port", str(process.port)):
            assert isinstance(await client.send(agent, call_with(call)), Output)
