"""What is tried with every agent: one function a behaviour, which fails if it is not as it must be.

`not_offered` says what an agent's SDK cannot do, and why.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import (
    Agent,
    Asked,
    Call,
    CallMode,
    Cancellation,
    Failure,
    Outcome,
    Output,
    TaskRef,
    WaitingFor,
)
from orchestrator.domain.errors import CallFailed
from tests.agents_under_test import launch
from tests.agents_under_test.launch import AgentProcess
from tests.agents_under_test.registered import value_of
from tests.integration.agents.conftest import MAX_ANSWER, answer_to, call_with

FILE = {"url": "https://x/f.pdf", "name": "f.pdf", "mediaType": "application/pdf"}


@dataclass(frozen=True, slots=True)
class Subject:
    """An agent of the matrix."""

    name: str
    start: Callable[..., AgentProcess]
    options: tuple[str, ...] = ()


SUBJECTS = (
    Subject("Python SDK 1.3.0, JSON-RPC", launch.sdk1),
    Subject("Python SDK 1.3.0, HTTP+JSON", launch.sdk1, ("--rest",)),
    Subject("Python SDK 0.3.26", launch.sdk03),
    Subject("Python SDK 0.2.5", launch.sdk025),
    Subject("JS SDK 1.3.0, JSON-RPC", launch.sdkjs1),
    Subject("JS SDK 1.3.0, HTTP+JSON", launch.sdkjs1, ("--rest",)),
    Subject("JS SDK 0.3.14", launch.sdkjs03),
)

Behaviour = Callable[[A2AClient, Agent], Awaitable[None]]


async def _result(client: A2AClient, agent: Agent, **given: Any) -> Any:
    answer = await client.send(agent, call_with(given))
    if isinstance(answer, TaskRef):
        answer = await client.follow(agent, answer)
    return value_of(answer)


async def _failure(client: A2AClient, agent: Agent, cmd: str) -> Failure:
    with pytest.raises(CallFailed) as failed:
        await _result(client, agent, cmd=cmd)
    return failed.value.failure


async def _asked(client: A2AClient, agent: Agent, cmd: str, **given: Any) -> tuple[Call, Asked]:
    call = call_with({"cmd": cmd, **given})
    answer = await client.send(agent, call)
    if isinstance(answer, TaskRef):
        answer = await client.follow(agent, answer)
    assert isinstance(answer, Asked)
    return call, answer


async def message(client: A2AClient, agent: Agent) -> None:
    value = {"cmd": "message", "n": 42, "deep": [1.5, None, {"ä": "\n"}]}
    answer = await client.send(agent, call_with(value))
    assert isinstance(answer, Output)
    assert answer.value == {"echo": value, "text": ""}


async def echo(client: A2AClient, agent: Agent) -> None:
    assert await _result(client, agent, cmd="echo", n=42) == {
        "echo": {"cmd": "echo", "n": 42},
        "text": "",
    }


async def slow(client: A2AClient, agent: Agent) -> None:
    assert await _result(client, agent, cmd="slow", seconds=0.4) == {"slept": 0.4}


async def stream(client: A2AClient, agent: Agent) -> None:
    assert await _result(client, agent, cmd="chunks") == {
        "chunks": 3,
        "text": "chunk0 chunk1 chunk2 ",
    }


async def multi_part(client: A2AClient, agent: Agent) -> None:
    assert await _result(client, agent, cmd="many") == {
        "a": 2,
        "b": {"c": [1, 2.5]},
        "text": "some text",
        "files": [FILE],
    }


async def text_only(client: A2AClient, agent: Agent) -> None:
    assert await _result(client, agent, cmd="text") == {"text": "plain answer"}


async def no_artifact(client: A2AClient, agent: Agent) -> None:
    assert await _result(client, agent, cmd="say") == {"text": "done, nothing to show"}
    assert await _result(client, agent, cmd="nothing") == {}


async def asks_for_input(client: A2AClient, agent: Agent) -> None:
    _, asked = await _asked(client, agent, "input")
    assert (asked.waiting_for, asked.question["text"]) == (WaitingFor.INPUT, "which colour?")


async def asks_for_auth(client: A2AClient, agent: Agent) -> None:
    _, asked = await _asked(client, agent, "auth")
    assert (asked.waiting_for, asked.question["text"]) == (
        WaitingFor.AUTH,
        "log in at https://example.com/login",
    )


async def answer(client: A2AClient, agent: Agent) -> None:
    """Answer the question: the same task goes on to its result, and the answer is not repeated."""
    call, asked = await _asked(client, agent, "input")
    given = answer_to(call, asked, text="the dark one", colour="blue")
    for _ in range(2):
        found = await client.answer(agent, given, asked.task)
        if isinstance(found, TaskRef):
            assert found.task_id == asked.task.task_id
            found = await client.follow(agent, found)
        assert value_of(found) == {"answered": {"colour": "blue"}, "text": "the dark one"}


async def login(client: A2AClient, agent: Agent) -> None:
    """Look at a task that waits for a login, until it has gone on by itself."""
    _, asked = await _asked(client, agent, "login", seconds=0.3)
    async with asyncio.timeout(10):
        while (found := await client.look(agent, asked.task)) is None:  # noqa: ASYNC110 - the agent
            await asyncio.sleep(0.05)
    if isinstance(found, TaskRef):
        found = await client.follow(agent, found)
    assert value_of(found) == {"logged": "in"}


async def fail(client: A2AClient, agent: Agent) -> None:
    failure = await _failure(client, agent, "fail")
    assert (failure.outcome, failure.cause) == (
        Outcome.FINAL,
        f"Agent '{agent.name}' failed the task: it broke",
    )


async def reject(client: A2AClient, agent: Agent) -> None:
    failure = await _failure(client, agent, "reject")
    assert (failure.outcome, failure.cause) == (
        Outcome.FINAL,
        f"Agent '{agent.name}' rejected the task: not my kind of work",
    )


async def agent_cancels(client: A2AClient, agent: Agent) -> None:
    failure = await _failure(client, agent, "canceled")
    assert failure.cause == f"Agent '{agent.name}' canceled the task: changed my mind"


async def crashes(client: A2AClient, agent: Agent) -> None:
    async with asyncio.timeout(20):
        await _failure(client, agent, "raise")


async def cancel(client: A2AClient, agent: Agent) -> None:
    task = await client.send(agent, call_with({"cmd": "slow"}))
    assert isinstance(task, TaskRef)
    assert await client.cancel(agent, task) in (Cancellation.CONFIRMED, Cancellation.REQUESTED)
    with pytest.raises(CallFailed, match="canceled the task"):
        await client.follow(agent, task)
    again = await client.cancel(agent, task)
    assert again in (Cancellation.ALREADY_FINISHED, Cancellation.CONFIRMED)


async def takeover(client: A2AClient, agent: Agent) -> None:
    task = await client.send(agent, call_with({"cmd": "slow", "seconds": 0.5}))
    assert isinstance(task, TaskRef)
    async with A2AClient(max_answer_bytes=MAX_ANSWER, max_calls=2) as another:
        assert value_of(await another.follow(agent, task)) == {"slept": 0.5}


async def lost_answer(client: A2AClient, agent: Agent) -> None:
    """Find the task of a message whose answer was lost: its work is not done twice."""
    call: Call = call_with({"cmd": "slow", "seconds": 0.4})
    task = await client.send(agent, call)
    assert isinstance(task, TaskRef)
    async with A2AClient(max_answer_bytes=MAX_ANSWER, max_calls=2) as another:
        assert await another.send(agent, replace(call, maybe_sent=True)) == task


BEHAVIOURS: dict[str, Behaviour] = {
    "message": message,
    "echo": echo,
    "slow": slow,
    "stream": stream,
    "multi-part": multi_part,
    "text-only": text_only,
    "no artifact": no_artifact,
    "input": asks_for_input,
    "answer": answer,
    "auth": asks_for_auth,
    "login": login,
    "fail": fail,
    "reject": reject,
    "raise": crashes,
    "agent cancels": agent_cancels,
    "cancel": cancel,
    "takeover": takeover,
    "lost answer": lost_answer,
}
_WORKING = "after an exception the SDK leaves the task at `working`: the step's timeout ends it"
_NO_LIST = "the version has no request that lists tasks: the message is sent again"
_WAITS = "the SDK answers when the work is done, whatever it is asked: no task is known before"
_ASKED_TO_WAIT = "the call waits for the end, so that no task is known before"
_HUNG_UP = (
    "the SDK ends the work with the stream that tells of it, which the client closes at a question:"
    " the task stays there"
)
_NOT_SEEN = "asked to wait, the SDK answers when the work is done: the question is not seen"
_NEEDS_A_TASK = ("cancel", "takeover", "lost answer")

# What an SDK cannot do, and why; None: in no call mode.
_LIMITS: dict[tuple[str, str, CallMode | None], str] = {
    ("Python SDK 0.3.26", "lost answer", None): _NO_LIST,
    ("Python SDK 0.3.26", "raise", None): _WORKING,
    ("Python SDK 0.2.5", "lost answer", None): _NO_LIST,
    ("Python SDK 0.2.5", "raise", None): _WORKING,
    ("Python SDK 0.2.5", "login", CallMode.AUTO): _HUNG_UP,
    ("Python SDK 0.2.5", "login", CallMode.STREAM): _HUNG_UP,
    ("Python SDK 0.2.5", "cancel", CallMode.POLL): _WAITS,
    ("Python SDK 0.2.5", "takeover", CallMode.POLL): _WAITS,
    ("JS SDK 0.3.14", "login", CallMode.WAIT): _NOT_SEEN,
    ("JS SDK 0.3.14", "lost answer", None): _NO_LIST,
    ("JS SDK 0.3.14", "raise", CallMode.POLL): _WORKING,
}


def not_offered(subject: str, behaviour: str, mode: CallMode) -> str | None:
    """Return why an agent cannot be expected to behave so in this call mode; None: it can."""
    if mode is CallMode.WAIT and behaviour in _NEEDS_A_TASK:
        return _ASKED_TO_WAIT
    return _LIMITS.get((subject, behaviour, None)) or _LIMITS.get((subject, behaviour, mode))
