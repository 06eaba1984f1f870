"""Asks an agent by JSON-RPC: finds where and how, sends, reads, and looks anew when it moved."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs
from multidict import CIMultiDict

from orchestrator.agents import answers, card
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.auth import Credentials
from orchestrator.agents.card import Endpoint
from orchestrator.agents.cards import Cards
from orchestrator.agents.dialect import Form
from orchestrator.agents.exchange import Exchange, Request
from orchestrator.agents.failures import METHOD_NOT_FOUND, VERSION_NOT_SUPPORTED, Fault
from orchestrator.domain.agent import Agent, Outcome

# Refusals of an agent that now speaks another version, or elsewhere, than its card said.
_MOVED_CODES = frozenset({VERSION_NOT_SUPPORTED, METHOD_NOT_FOUND})
_MOVED_STATUS = frozenset({404, 410})
_HEADERS = CIMultiDict(
    {
        hdrs.ACCEPT: "application/json",
        hdrs.ACCEPT_ENCODING: "identity",
        hdrs.CONTENT_TYPE: "application/json",
        hdrs.USER_AGENT: "agent-orchestrator",
    }
)


@dataclass(frozen=True, slots=True)
class Question:
    """`body` builds the request for an endpoint; `id` is its JSON-RPC id."""

    id: str
    body: Callable[[Endpoint], bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class Asking:
    def __init__(self, exchange: Exchange, cards: Cards, max_answer_bytes: int) -> None:
        self._exchange = exchange
        self._cards = cards
        self._max_answer_bytes = max_answer_bytes

    async def ask(
        self, agent: Agent, credentials: Credentials, question: Question
    ) -> Message | Task:
        """Return the agent's answer; raise `Fault` when it gives none.

        An agent that refuses as if it had moved is asked once more if its card says so too; a
        refusal is definite, so that this never does the work twice.
        """
        endpoint = await self._cards.endpoint(agent, credentials)
        try:
            return await self._ask(agent, credentials, endpoint, question)
        except Fault as fault:
            if fault.unreached:
                self._cards.forget(agent, endpoint)
            if fault.code not in _MOVED_CODES and fault.status not in _MOVED_STATUS:
                raise
            self._cards.forget(agent, endpoint)
            moved = await self._cards.endpoint(agent, credentials)
            if moved == endpoint:
                raise
        return await self._ask(agent, credentials, moved, question)

    async def _ask(
        self, agent: Agent, credentials: Credentials, endpoint: Endpoint, question: Question
    ) -> Message | Task:
        _refuse_foreign(agent, credentials, endpoint)
        headers = _HEADERS.copy()
        headers["A2A-Version"] = endpoint.dialect.VERSION
        headers.update(question.headers)
        headers.update(credentials.headers)
        answer = await self._exchange(
            Request(
                "POST",
                endpoint.url,
                headers,
                agent.timeout.total_seconds(),
                self._max_answer_bytes,
                question.body(endpoint),
            )
        )
        return answers.read(answer, question.id, credentials)


def form(endpoint: Endpoint, *, with_context: bool = True) -> Form:
    """Return how the endpoint wants a message."""
    return Form(endpoint.tenant, endpoint.text_only, with_context)


def _refuse_foreign(agent: Agent, credentials: Credentials, endpoint: Endpoint) -> None:
    """Raise `Fault` before credentials would leave for another origin than the agent's own."""
    if not credentials.headers:
        return
    own, called = card.base(agent.url).origin(), endpoint.url.origin()
    if own != called:
        raise Fault(
            f"is registered at {own}, but its card sends calls to {called}: its credentials are"
            " not sent to another origin (register it there, or mend its card)",
            Outcome.FINAL,
        )
