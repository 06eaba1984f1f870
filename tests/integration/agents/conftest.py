"""The client under test, and what it is told to send."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import json_text
from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Agent, Asked, AuthType, Call, Failure, Output, TaskRef
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.agents_under_test.registered import agent_at

__all__ = ["agent_at"]

MAX_ANSWER = 1_000_000


def bearer(url: str, token: str, **more: Any) -> Agent:
    return agent_at(url, auth_type=AuthType.BEARER, auth_config={"token": token}, **more)


def call_with(value: Any, *, step: str = "step", attempt: int = 1, **more: Any) -> Call:
    run = f"run-{uuid4()}"
    given: dict[str, Any] = {"context_id": run} | more
    return Call(run, step, attempt, f"{run}.{step}.1", json_text.dumps(value), **given)


def answer_to(
    call: Call, asked: Asked, number: int = 2, text: str | None = None, **data: Any
) -> Call:
    """Return the call that answers a question."""
    return replace(
        call,
        message_id=f"{call.run}.{call.step}.{number}",
        input=json_text.dumps(data) if data else None,
        text=text,
        task_id=asked.task.task_id,
        context_id=asked.task.context_id or call.run,
    )


async def failure_of(client: A2AClient, agent: Agent, value: Any = None) -> Failure:
    """Send, which must fail; return why."""
    with pytest.raises(CallFailed) as failed:
        await client.send(agent, call_with(value))
    return failed.value.failure


Perform = Callable[[Agent, Any], Any]


@pytest.fixture
async def client() -> AsyncIterator[A2AClient]:
    async with A2AClient(max_answer_bytes=MAX_ANSWER, max_calls=64) as client:
        yield client


@pytest.fixture
def perform(client: A2AClient) -> Perform:
    """Send an input and follow the task, if it is one; return the output's value."""

    async def performing(agent: Agent, value: Any) -> Any:
        answer = await client.send(agent, call_with(value))
        if isinstance(answer, TaskRef):
            answer = await client.follow(agent, answer)
        assert isinstance(answer, Output)
        assert json_text.loads(answer.text) == answer.value
        return answer.value

    return performing


@pytest.fixture(scope="session")
def sdk1() -> Iterator[AgentProcess]:
    with launch.sdk1() as agent:
        yield agent


@pytest.fixture(scope="session")
def sdk1_compat() -> Iterator[AgentProcess]:
    with launch.sdk1("--compat") as agent:
        yield agent


@pytest.fixture(scope="session")
def sdk03() -> Iterator[AgentProcess]:
    with launch.sdk03() as agent:
        yield agent
