"""Looks for the task of a message whose outcome is unknown, before anything is sent again."""

import asyncio
from contextlib import suppress
from typing import Any

from orchestrator.agents import answers
from orchestrator.agents.asking import Asking, Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.dialect import Form
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent, Call, TaskRef

_LOOK_S = 5.0


async def find(
    asking: Asking, agent: Agent, credentials: Credentials, call: Call
) -> TaskRef | None:
    """Return the task that the agent made of the call's message; None if it shows none.

    Only 1.0 agents can be asked, by a context of ours. Never raises for what the agent does: if it
    cannot tell, nothing is known as before.
    """
    if call.context_id is None:
        return None
    with suppress(Fault, TimeoutError):
        async with asyncio.timeout(_LOOK_S):
            endpoint = await asking.endpoint(agent, credentials)
            form = Form(endpoint.tenant)
            wire = endpoint.dialect.find(call.context_id, form)
            if wire is None:
                return None
            question = Question(call.context_id, lambda _: wire)
            listed = await asking.raw(agent, credentials, endpoint, question)
            return _among(listed.get("tasks"), call)
    return None


def _among(listed: Any, call: Call) -> TaskRef | None:
    for task in listed if isinstance(listed, list) else ():
        if isinstance(task, dict) and _began_with(task, call.message_id):
            task_id = answers.name(task.get("id"))
            if task_id is not None:
                return TaskRef(task_id, answers.name(task.get("contextId")))
    return None


def _began_with(task: dict[str, Any], message_id: str) -> bool:
    history = task.get("history")
    return isinstance(history, list) and any(
        isinstance(message, dict) and message.get("messageId") == message_id for message in history
    )
