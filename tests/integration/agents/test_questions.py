"""Tasks that wait for somebody, on the official SDKs: what is asked, and what an answer does."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Agent, Asked, Call, Cancellation, Output, TaskRef, WaitingFor
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test.launch import AgentProcess
from tests.integration.agents.conftest import agent_at, answer_to, call_with

pytestmark = pytest.mark.integration


@pytest.fixture(params=["sdk1", "sdk1_compat", "sdk03"])
def process(request: pytest.FixtureRequest) -> AgentProcess:
    found: AgentProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def agent(process: AgentProcess) -> Agent:
    return agent_at(process.url)


async def ask(client: A2AClient, agent: Agent, **value: Any) -> tuple[Call, Asked]:
    """Send what makes the agent ask something; return the call, and the question."""
    call = call_with({"cmd": "input"} | value)
    found = await client.send(agent, call)
    if isinstance(found, TaskRef):
        found = await client.follow(agent, found)
    assert isinstance(found, Asked)
    return call, found


async def ended(client: A2AClient, agent: Agent, found: Output | TaskRef | Asked) -> Output | Asked:
    return await client.follow(agent, found) if isinstance(found, TaskRef) else found


async def test_a_question_is_read_with_its_task_and_its_parts(
    agent: Agent, client: A2AClient
) -> None:
    call, asked = await ask(client, agent)

    assert asked.waiting_for is WaitingFor.INPUT
    assert asked.question == {
        "text": "which colour?",
        "parts": [{"text": "which colour?"}, {"data": {"choose": ["red", "blue"]}}],
    }
    assert asked.task.context_id == call.run
    assert asked.task.asked


@pytest.mark.parametrize("think", [0, 0.2])
async def test_an_answer_goes_to_the_same_task_and_context_and_the_task_goes_on(
    process: AgentProcess, client: A2AClient, think: float
) -> None:
    agent = agent_at(process.url)
    call, asked = await ask(client, agent)
    answer = answer_to(call, asked, text="the dark one", colour="blue", think=think)

    found = await ended(client, agent, await client.answer(agent, answer, asked.task))

    assert isinstance(found, Output)
    assert found.value == {
        "answered": {"colour": "blue", "think": think},
        "text": "the dark one",
    }
    record = process.get("/record")
    assert record["executions"][answer.message_id] == 1
    (sent,) = [r for r in record["requests"] if r["body"]["id"] == answer.message_id]
    message = sent["body"]["params"]["message"]
    assert (message["taskId"], message["contextId"]) == (asked.task.task_id, call.run)
    assert message["messageId"] == answer.message_id != call.message_id
    assert sent["headers"]["idempotency-key"] == answer.message_id


@pytest.mark.parametrize("think", [0, 0.2])
async def test_an_agent_may_ask_again(agent: Agent, client: A2AClient, think: float) -> None:
    call, first = await ask(client, agent)
    answer = answer_to(call, first, then="ask", think=think)

    second = await ended(client, agent, await client.answer(agent, answer, first.task))

    assert isinstance(second, Asked)
    assert second.question["text"] == "sure?"
    assert second.task.task_id == first.task.task_id
    assert second.task.asked != first.task.asked
    last = answer_to(call, second, number=3, text="yes")
    done = await ended(client, agent, await client.answer(agent, last, second.task))
    assert isinstance(done, Output)
    assert done.value["text"] == "yes"


async def test_an_answer_that_arrived_is_not_sent_again(
    process: AgentProcess, client: A2AClient
) -> None:
    agent = agent_at(process.url)
    call, asked = await ask(client, agent)
    answer = answer_to(call, asked, colour="blue")
    first = await ended(client, agent, await client.answer(agent, answer, asked.task))

    again = await ended(client, agent, await client.answer(agent, answer, asked.task))

    # The value, not its text: the SDK writes a message's data from protobuf's map, whose keys come
    # in another order each time.
    assert isinstance(first, Output)
    assert isinstance(again, Output)
    assert again.value == first.value == {"answered": {"colour": "blue"}, "text": ""}
    assert process.get("/record")["executions"][answer.message_id] == 1


async def test_an_answer_to_a_question_that_is_past_is_not_sent(
    process: AgentProcess, client: A2AClient
) -> None:
    agent = agent_at(process.url)
    call, first = await ask(client, agent)
    answer = answer_to(call, first, then="ask")
    second = await ended(client, agent, await client.answer(agent, answer, first.task))

    late = answer_to(call, first, number=3, colour="red")
    found = await client.answer(agent, late, first.task)

    assert found == second
    assert late.message_id not in process.get("/record")["executions"]


async def test_an_answer_to_a_task_that_is_gone_is_final(agent: Agent, client: A2AClient) -> None:
    call, asked = await ask(client, agent)
    lost = replace(asked, task=replace(asked.task, task_id="no-such-task"))

    with pytest.raises(CallFailed, match="no longer knows the task no-such-task") as failed:
        await client.answer(agent, answer_to(call, lost, colour="blue"), lost.task)

    assert failed.value.failure.outcome == "final"


async def test_a_task_that_waits_is_looked_at_without_an_end(
    agent: Agent, client: A2AClient
) -> None:
    _, asked = await ask(client, agent)

    assert await client.look(agent, asked.task) is None
    assert await client.cancel(agent, asked.task) is Cancellation.CONFIRMED
    with pytest.raises(CallFailed, match="canceled the task"):
        await client.look(agent, asked.task)


async def test_a_login_lets_a_task_go_on_by_itself(agent: Agent, client: A2AClient) -> None:
    _, asked = await ask(client, agent, cmd="login", seconds=0.5)

    assert asked.waiting_for is WaitingFor.AUTH
    assert asked.question["text"] == "log in at https://example.com/login"
    assert await client.look(agent, asked.task) is None
    async with asyncio.timeout(20):
        while (found := await client.look(agent, asked.task)) is None:  # noqa: ASYNC110 - the agent
            await asyncio.sleep(0.01)
    done = await ended(client, agent, found)
    assert isinstance(done, Output)
    assert done.value == {"logged": "in"}
