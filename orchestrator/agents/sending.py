"""Sends a step's message, in the form and in the way that suits its agent."""

import re
from collections.abc import Callable
from contextlib import suppress

from orchestrator.agents import correlation, finding, listening
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.asking import Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.card import Endpoint
from orchestrator.agents.dialect import Form, PushTarget, Wire
from orchestrator.agents.failures import Fault
from orchestrator.agents.reach import Reach
from orchestrator.agents.streams import Listening
from orchestrator.domain.agent import Agent, Call, CallMode, Outcome, TaskRef

# An agent that takes no contexts of ours; "context length", a model's complaint, is another thing.
_ABOUT_CONTEXT = re.compile(r"context(?!.{0,2}(?:length|window|size|limit))", re.IGNORECASE)

# What sending led to: an answer, with the stream that more comes by, or a task that was there.
Sent = tuple[Message | Task, Listening | None] | TaskRef


class Sender:
    """`target` gives the place for push notifications about a call; None: there is none."""

    def __init__(self, reach: Reach, target: Callable[[Call], PushTarget] | None) -> None:
        self._reach = reach
        self._target = target

    async def send(self, agent: Agent, credentials: Credentials, call: Call) -> Sent:
        """Send the message, and look for its task where it may be there already.

        Raises `Fault`.
        """
        if call.maybe_sent and (found := await self.find(agent, credentials, call)):
            return found
        try:
            if not self._reach.breaker.is_open(agent):
                return await self._say(agent, credentials, call)
            async with self._reach.breaker.closed(agent):
                return await self._say(agent, credentials, call)
        except Fault as fault:
            if fault.outcome is not Outcome.UNKNOWN:
                raise
            found = await self.find(agent, credentials, call)
            if found is None:
                raise
            return found

    async def find(self, agent: Agent, credentials: Credentials, call: Call) -> TaskRef | None:
        """Return the task of a message that was sent before, if the agent can tell."""
        return await finding.find(self._reach.asking, agent, credentials, call)

    async def _say(
        self, agent: Agent, credentials: Credentials, call: Call
    ) -> tuple[Message | Task, Listening | None]:
        try:
            return await self._deliver(agent, credentials, call, with_context=True)
        except Fault as fault:
            # A definite refusal that names the context: the agent wants to make its own.
            refused = fault.code is not None and fault.outcome is Outcome.FINAL
            if call.context_id is None or not (refused and _ABOUT_CONTEXT.search(fault.said)):
                raise
        return await self._deliver(agent, credentials, call, with_context=False)

    async def _deliver(
        self, agent: Agent, credentials: Credentials, call: Call, *, with_context: bool
    ) -> tuple[Message | Task, Listening | None]:
        endpoint = await self._reach.endpoint(agent, credentials)
        if listening.wanted(agent, endpoint):
            with suppress(listening.Refused):
                return await self.stream(agent, credentials, call, with_context=with_context)
        asked = _question(
            call,
            lambda there: there.dialect.send(call, self._form(agent, there, call, with_context)),
        )
        return await self._reach.ask(agent, credentials, asked, endpoint), None

    async def stream(
        self, agent: Agent, credentials: Credentials, call: Call, *, with_context: bool = True
    ) -> tuple[Message | Task, Listening | None]:
        """Send the message and listen; raise `Refused` where the agent does not stream."""
        asked = _question(
            call,
            lambda there: there.dialect.stream(call, self._form(agent, there, call, with_context)),
        )
        return await self._reach.listen(agent, credentials, asked)

    def _form(
        self,
        agent: Agent,
        there: Endpoint,
        call: Call,
        with_context: bool,  # noqa: FBT001 - private, and passed through
    ) -> Form:
        return Form(
            there.tenant,
            there.input_as(call.input_as, call.skill),
            with_context,
            wait=agent.options.call_mode is CallMode.WAIT,
            push=self._place_for_news(agent, there, call),
        )

    def _place_for_news(self, agent: Agent, there: Endpoint, call: Call) -> PushTarget | None:
        if self._target is None or not agent.options.push or not there.push:
            return None
        return self._target(call)


def _question(call: Call, build: Callable[[Endpoint], Wire]) -> Question:
    return Question(call.message_id, build, correlation.headers(call))
