"""Tries what an agent really does, whatever its card says."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from orchestrator.agents import auth, failures, listening
from orchestrator.agents.answers import Task
from orchestrator.agents.auth import Credentials
from orchestrator.agents.card import Endpoint
from orchestrator.agents.failures import Fault
from orchestrator.agents.following import Follower
from orchestrator.agents.reach import Reach
from orchestrator.agents.sending import Sender
from orchestrator.agents.streams import decisive
from orchestrator.agents.tasks import Rhythm
from orchestrator.domain.agent import Agent, Call, CallMode, Cancellation, TaskRef

_WHOLE_S = 60.0
_TAKEN = frozenset({Cancellation.CONFIRMED, Cancellation.REQUESTED, Cancellation.ALREADY_FINISHED})


@dataclass(slots=True)
class Probed:
    """What was found; `untried` is what the agent gave no occasion for."""

    version: str | None = None
    answers: str | None = None  # message or task
    poll: str = "untried"
    cancel: str = "untried"
    stream: str = "untried"
    dedupe: str = "untried"  # whether the same message again is the same task
    lookup: str = "untried"  # whether a message's task is found in the agent's list
    error: str | None = None
    tasks: list[TaskRef] = field(default_factory=list)  # all that were begun

    @property
    def grade(self) -> str:
        """A: all of it; B: its tasks can be polled and cancelled; C: it answers; F: it does not."""
        if self.answers is None:
            return "F"
        if self.poll != "ok" or self.cancel not in _TAKEN:
            return "C"
        known_again = "yes" in (self.dedupe, self.lookup)
        return "A" if self.stream == "ok" and known_again else "B"

    def shown(self) -> dict[str, Any]:
        """Return what is stored of it."""
        names = ("grade", "version", "answers", "poll", "cancel", "stream", "dedupe", "lookup")
        return {name: getattr(self, name) for name in (*names, "error")}


Cancel = Callable[[Agent, TaskRef], Awaitable[Cancellation]]


class Prober:
    def __init__(self, reach: Reach, sender: Sender, follower: Follower) -> None:
        self._reach = reach
        self._sender = sender
        self._follower = follower

    async def probe(self, agent: Agent, given: str, cancel: Cancel) -> Probed:
        """Send four messages with `given` as input at most; cancel what they began.

        Never raises for what the agent does.
        """
        found = Probed()
        plain = replace(agent, options=replace(agent.options, call_mode=CallMode.POLL, push=False))
        credentials = auth.NONE
        try:
            credentials = auth.credentials(agent)
            async with asyncio.timeout(_WHOLE_S):
                await self._try(plain, credentials, given, found, cancel)
        except TimeoutError:
            found.error = f"Agent '{agent.name}' was not done with the probe in {_WHOLE_S:g} s"
        except auth.Unusable as why:
            found.error = f"Agent '{agent.name}' {why}"
        except Fault as fault:
            found.error = failures.presentable(fault.sentence(agent.name), credentials)
        for task in found.tasks:
            await cancel(plain, task)
        return found

    async def _try(
        self, agent: Agent, credentials: Credentials, given: str, found: Probed, cancel: Cancel
    ) -> None:
        endpoint = await self._reach.endpoint(agent, credentials)
        found.version = endpoint.dialect.VERSION
        call = _call(given)
        task = await self._send(agent, credentials, call, found)
        found.answers = "message" if task is None else "task"
        if task is not None:
            await self._try_task(agent, credentials, call, task, found)
            another = await self._send(agent, credentials, _call(given), found)
            if another is not None:
                found.cancel = (await cancel(agent, another)).value
        found.stream = await self._stream(agent, credentials, endpoint, _call(given), found)

    async def _try_task(
        self, agent: Agent, credentials: Credentials, call: Call, task: TaskRef, found: Probed
    ) -> None:
        found.poll = "failed"
        with suppress(Fault):
            if await self._follower.poll(agent, credentials, task, Rhythm()) is not None:
                found.poll = "ok"
        listed = await self._sender.find(agent, credentials, call)
        found.lookup = "yes" if listed == task else "no"
        again = await self._send(agent, credentials, call, found)
        if again is not None:
            found.dedupe = "yes" if again.task_id == task.task_id else "no"

    async def _send(
        self, agent: Agent, credentials: Credentials, call: Call, found: Probed
    ) -> TaskRef | None:
        """Send a message; return its task, None for an agent that answers with a message."""
        sent = await self._sender.send(agent, credentials, call)
        if isinstance(sent, TaskRef):
            return sent
        answer, _ = sent
        if not isinstance(answer, Task) or answer.id is None:
            return None
        task = TaskRef(answer.id, answer.context_id)
        if not decisive(answer):
            found.tasks.append(task)
        return task

    async def _stream(
        self,
        agent: Agent,
        credentials: Credentials,
        endpoint: Endpoint,
        call: Call,
        found: Probed,
    ) -> str:
        if not endpoint.streaming:
            return "unsupported"
        try:
            answer, stream = await self._sender.stream(agent, credentials, call)
        except (listening.Refused, Fault):
            return "failed"
        if stream is None:
            return "failed"
        stream.close()
        if isinstance(answer, Task) and answer.id is not None and not decisive(answer):
            found.tasks.append(TaskRef(answer.id, answer.context_id))
        return "ok"


def _call(given: str) -> Call:
    name = f"probe-{uuid4()}"
    return Call(name, "probe", 1, f"{name}.probe.1", given, name)
