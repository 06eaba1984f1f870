"""Reaches an agent within the limits: its own, its operator's, and this process's."""

from orchestrator.agents.answers import Message, Task
from orchestrator.agents.asking import Asking, Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.breaker import Breaker
from orchestrator.agents.card import Endpoint
from orchestrator.agents.courtesy import Courtesy
from orchestrator.agents.failures import Fault
from orchestrator.agents.gate import Gate
from orchestrator.agents.listening import Listener
from orchestrator.agents.streams import Listening
from orchestrator.domain.agent import Agent


class Reach:
    """What is asked through it may wait for its turn, which is part of no exchange."""

    def __init__(self, asking: Asking, listener: Listener, gate: Gate, courtesy: Courtesy) -> None:
        self.asking = asking
        self.courtesy = courtesy
        self.breaker = Breaker()
        self._listener = listener
        self._gate = gate

    async def endpoint(self, agent: Agent, credentials: Credentials) -> Endpoint:
        """Return where and how the agent is called; raise `Fault` when that cannot be told."""
        if (known := self.asking.known(agent)) is not None:
            return known
        try:
            async with self._gate.place(agent.id):
                return await self.asking.endpoint(agent, credentials)
        except Fault as fault:
            self._heed(agent, fault)
            raise

    async def ask(
        self,
        agent: Agent,
        credentials: Credentials,
        question: Question,
        known: Endpoint | None = None,
    ) -> Message | Task:
        """Return the agent's answer; raise `Fault` when it gives none."""
        if self.courtesy.has_limits(agent):
            await self.courtesy.turn(agent)
        try:
            async with self._gate.place(agent.id):
                answer = await self.asking.ask(agent, credentials, question, known)
        except Fault as fault:
            self._heed(agent, fault)
            raise
        self.breaker.reached(agent)
        return answer

    async def listen(
        self, agent: Agent, credentials: Credentials, question: Question
    ) -> tuple[Message | Task, Listening | None]:
        """Return the agent's first news and the stream for more; `Refused` to be asked instead."""
        if self.courtesy.has_limits(agent):
            await self.courtesy.turn(agent)
        try:
            news = await self._listener.open(agent, credentials, question)
        except Fault as fault:
            self._heed(agent, fault)
            raise
        self.breaker.reached(agent)
        return news

    def _heed(self, agent: Agent, fault: Fault) -> None:
        if fault.unreached:
            self.breaker.missed(agent)
        elif fault.code is not None or fault.status is not None:
            self.breaker.reached(agent)
        if fault.retry_after is not None:
            self.courtesy.hold(agent, fault.retry_after)
