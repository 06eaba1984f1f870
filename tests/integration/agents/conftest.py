"""The client under test, and what it is told to send."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator import json_text
from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import (
    Agent,
    AgentId,
    AgentStatus,
    AuthType,
    Call,
    Failure,
    Output,
    TaskRef,
)
from orchestrator.domain.errors import CallFailed
from orchestrator.domain.retry import RetryPolicy
from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess

MAX_ANSWER = 1_000_000

_NUMBERS = itertools.count(1)


def agent_at(url: str, **more: Any) -> Agent:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    values: dict[str, Any] = {
        "id": AgentId(UUID(int=next(_NUMBERS))),
        "name": "reader",
        "url": url,
        "description": None,
        "auth_type": AuthType.NONE,
        "auth_config": {},
        "timeout": timedelta(seconds=10),
        "retry": RetryPolicy(),
        "status": AgentStatus.ACTIVE,
        "created_at": now,
        "updated_at": now,
    }
    return Agent(**(values | more))


def bearer(url: str, token: str, **more: Any) -> Agent:
    return agent_at(url, auth_type=AuthType.BEARER, auth_config={"token": token}, **more)


def call_with(value: Any, *, step: str = "step", attempt: int = 1) -> Call:
    run = f"run-{uuid4()}"
    return Call(run, step, attempt, f"{run}.{step}.1", json_text.dumps(value), run)


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
