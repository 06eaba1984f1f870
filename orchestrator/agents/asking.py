"""Asks an agent: finds where and how, sends, reads, and looks anew when it moved."""

from collections.abc import Callable

from aiohttp import hdrs
from yarl import URL

from orchestrator.agents import answers, card
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.auth import Credentials
from orchestrator.agents.card import Endpoint
from orchestrator.agents.cards import Cards
from orchestrator.agents.dialect import Wire
from orchestrator.agents.exchange import Exchange, Headers, Request, overridden
from orchestrator.agents.failures import (
    METHOD_NOT_FOUND,
    TASK_NOT_FOUND,
    VERSION_NOT_SUPPORTED,
    Fault,
)
from orchestrator.agents.stream_exchange import Opened, StreamExchange
from orchestrator.domain.agent import Agent, Outcome
from orchestrator.domain.record import record

# Refusals of an agent that now speaks another version, or elsewhere, than its card said.
_MOVED_CODES = frozenset({VERSION_NOT_SUPPORTED, METHOD_NOT_FOUND})
_MOVED_STATUS = frozenset({404, 410})
_HEADERS = (
    (hdrs.ACCEPT, "application/json"),
    (hdrs.ACCEPT_ENCODING, "identity"),
    (hdrs.CONTENT_TYPE, "application/json"),
    (hdrs.USER_AGENT, "agent-orchestrator"),
)
_VERSION = "A2A-Version"
_STREAMED = ((hdrs.ACCEPT, "text/event-stream, application/json"), *_HEADERS[1:])


@record
class Question:
    """`wire` builds the request for an endpoint; `id` is its JSON-RPC id."""

    id: str
    wire: Callable[[Endpoint], Wire]
    headers: Headers = ()

    def id_at(self, endpoint: Endpoint) -> str | None:
        """Return the id that the answer's envelope has; None where there is no envelope."""
        return self.id if endpoint.dialect.ENVELOPED else None


class Asking:
    def __init__(
        self, exchange: Exchange, streams: StreamExchange, cards: Cards, max_answer_bytes: int
    ) -> None:
        self._exchange = exchange
        self._streams = streams
        self._cards = cards
        self.max_answer_bytes = max_answer_bytes

    async def endpoint(self, agent: Agent, credentials: Credentials) -> Endpoint:
        """Return where and how the agent is called; raise `Fault` when that cannot be told."""
        return await self._cards.endpoint(agent, credentials)

    def known(self, agent: Agent) -> Endpoint | None:
        """Return where and how the agent is called, if nobody has to be asked for it."""
        return self._cards.known(agent)

    async def ask(
        self,
        agent: Agent,
        credentials: Credentials,
        question: Question,
        known: Endpoint | None = None,
    ) -> Message | Task:
        """Return the agent's answer; raise `Fault` when it gives none.

        `known` is its endpoint, for who has just asked for it.
        """
        there = known or await self._cards.endpoint(agent, credentials)
        try:
            return await self._exchanged(agent, credentials, there, question)
        except Fault as fault:
            moved = await self._moved(agent, credentials, there, fault)
        return await self._exchanged(agent, credentials, moved, question)

    async def _exchanged(
        self, agent: Agent, credentials: Credentials, there: Endpoint, question: Question
    ) -> Message | Task:
        answer = await self._exchange(self._request(agent, credentials, there, question))
        return answers.read(answer, question.id_at(there), credentials)

    async def raw(
        self, agent: Agent, credentials: Credentials, endpoint: Endpoint, question: Question
    ) -> dict[str, object]:
        """Return what the agent answers at this endpoint, not read any further."""
        try:
            answer = await self._exchange(self._request(agent, credentials, endpoint, question))
        except Fault as fault:
            if fault.unreached:
                self._cards.forget(agent, endpoint)
            raise
        return answers.result(answer, question.id_at(endpoint), credentials)

    async def open(
        self, agent: Agent, credentials: Credentials, question: Question
    ) -> tuple[Opened, str | None]:
        """Return the agent's answer, to be read as it comes, and the id its events have."""
        there = await self._cards.endpoint(agent, credentials)
        try:
            return await self._opened(agent, credentials, there, question)
        except Fault as fault:
            moved = await self._moved(agent, credentials, there, fault)
        return await self._opened(agent, credentials, moved, question)

    async def _opened(
        self, agent: Agent, credentials: Credentials, there: Endpoint, question: Question
    ) -> tuple[Opened, str | None]:
        request = self._request(agent, credentials, there, question, streamed=True)
        opened = await self._streams.open(request)
        request_id = question.id_at(there)
        if opened.headers.get(hdrs.CONTENT_TYPE, "").startswith("text/event-stream"):
            return opened, request_id
        try:  # an error, or an agent that does not stream: the whole answer says it
            whole = await opened.whole()
        finally:
            opened.close()
        raise NotStreamed(answers.read(whole, request_id, credentials))

    async def _moved(
        self, agent: Agent, credentials: Credentials, there: Endpoint, fault: Fault
    ) -> Endpoint:
        """Return where else to ask, for an agent that refused as if it had moved; else raise.

        A refusal is definite, so that asking once more never does the work twice.
        """
        if fault.unreached:
            self._cards.forget(agent, there)
        if fault.code == TASK_NOT_FOUND or (
            fault.code not in _MOVED_CODES and fault.status not in _MOVED_STATUS
        ):
            raise fault
        self._cards.forget(agent, there)
        moved = await self._cards.endpoint(agent, credentials)
        if moved == there:
            raise fault
        return moved

    def _request(
        self,
        agent: Agent,
        credentials: Credentials,
        endpoint: Endpoint,
        question: Question,
        *,
        streamed: bool = False,
    ) -> Request:
        version = (_VERSION, endpoint.dialect.VERSION)
        headers: Headers = (*(_STREAMED if streamed else _HEADERS), version, *question.headers)
        if _is_own(agent, credentials, endpoint):
            headers = overridden(headers, agent.options.headers, credentials.headers)
        wire = question.wire(endpoint)
        return Request(
            wire.method,
            _at(endpoint.url, wire),
            headers,
            agent.timeout.total_seconds(),
            self.max_answer_bytes,
            wire.body,
        )


class NotStreamed(Exception):
    """The agent was asked for a stream and gave its answer as a whole."""

    def __init__(self, answer: Message | Task) -> None:
        super().__init__()
        self.answer = answer


def _at(url: URL, wire: Wire) -> URL:
    if not wire.path and not wire.query:
        return url
    path = url.raw_path.rstrip("/") + wire.path
    return url.with_path(path, encoded=True, keep_query=True).update_query(wire.query)


def _is_own(agent: Agent, credentials: Credentials, endpoint: Endpoint) -> bool:
    """Whether the endpoint is at an origin that the operator named.

    Raises `Fault` before credentials would leave for another one.
    """
    if not credentials.headers and not agent.options.headers:
        return False
    own, called = card.base(agent.url).origin(), endpoint.url.origin()
    fixed = agent.options.interface_url
    if called == own or (fixed is not None and called == card.base(fixed).origin()):
        return True
    if credentials.headers:
        raise Fault(
            f"is registered at {own}, but its card sends calls to {called}: its credentials are"
            " not sent to another origin (register it there, or mend its card)",
            Outcome.FINAL,
        )
    return False
