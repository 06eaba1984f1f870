"""Finds agents' cards and remembers what they say: five minutes, or as the agent wishes."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from orchestrator import json_text
from orchestrator.agents import card, failures
from orchestrator.agents.auth import Credentials
from orchestrator.agents.card import Endpoint
from orchestrator.agents.exchange import Answer, Exchange, Request
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent

MAX_BYTES = 1024 * 1024
_REMEMBERED = 1_000  # agents; the one used longest ago goes first
_DEFAULT_S = 300.0
# An agent that forbids caching is still asked only once a second, not before every call.
_SHORTEST_S, _LONGEST_S = 1.0, 3600.0
_MAX_AGE = re.compile(r"\bmax-age\s*=\s*\"?([0-9]{1,9})")
# What a server without a card may answer where one would be.
_ABSENT = frozenset({404, 405, 410, 501})
_NOT_MODIFIED = 304


@dataclass(slots=True)
class _Memory:
    """What is known of one agent; `lock` lets one look while the others wait for its finding."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    endpoint: Endpoint | None = None
    card: dict[str, object] | None = None
    until: float = 0.0
    etag: str | None = None
    found_at: URL | None = None
    fault: Fault | None = None
    fault_at: float = 0.0


class Cards:
    def __init__(self, exchange: Exchange, now: Callable[[], float] = time.monotonic) -> None:
        self._exchange = exchange
        self._now = now
        self._memories: OrderedDict[Hashable, _Memory] = OrderedDict()

    async def endpoint(self, agent: Agent, credentials: Credentials) -> Endpoint:
        """Return where and how to call the agent; raise `Fault` when that cannot be told."""
        memory = self._memory(agent)
        asked = self._now()
        if memory.endpoint is not None and asked < memory.until:
            return memory.endpoint
        async with memory.lock:
            if memory.endpoint is not None and self._now() < memory.until:
                return memory.endpoint
            if memory.fault is not None and memory.fault_at >= asked:
                raise memory.fault.again()  # somebody looked while we waited
            try:
                return await self._look(agent, credentials, memory)
            except Fault as fault:
                memory.fault, memory.fault_at = fault, self._now()
                raise

    def known(self, agent: Agent) -> Endpoint | None:
        """Return the endpoint if nobody has to be asked for it."""
        memory = self._memory(agent)
        return memory.endpoint if self._now() < memory.until else None

    def forget(self, agent: Agent, endpoint: Endpoint) -> None:
        """Look anew at the next call, unless somebody has already found another endpoint."""
        memory = self._memory(agent)
        if memory.endpoint is endpoint:
            memory.endpoint = memory.etag = memory.card = None

    async def reachable(self, agent: Agent, credentials: Credentials) -> bool:
        """Whether the agent shows a card now."""
        try:
            _, found = await self.shown(agent, credentials)
        except Fault:
            return False
        return found is not None

    async def shown(
        self, agent: Agent, credentials: Credentials
    ) -> tuple[URL | None, dict[str, object] | None]:
        """Return the card as it is now, and where it is; None without one; raise `Fault`."""
        for url in card.urls(card.base(agent.url), agent.options.card_path):
            answer = await self._get(agent, credentials, url)
            if answer.status in failures.SUCCESS and (found := _parsed(answer)) is not None:
                return url, found
        return None, None

    def _memory(self, agent: Agent) -> _Memory:
        wanted = agent.options
        fixed = (wanted.protocol, wanted.interface_url, wanted.card_path)
        key = (agent.id, agent.url, fixed)
        memory = self._memories.get(key)
        if memory is None:
            memory = self._memories[key] = _Memory()
            if len(self._memories) > _REMEMBERED:
                self._memories.popitem(last=False)
        else:
            self._memories.move_to_end(key)
        return memory

    async def _look(self, agent: Agent, credentials: Credentials, memory: _Memory) -> Endpoint:
        """Read the card; where the operator said where to call, it may also be missing."""
        try:
            found, headers = await self._find(agent, credentials, memory)
        except Fault:
            if agent.options.interface_url is None:
                raise
            found, headers = None, None
        base = card.base(agent.url)
        if found is None:
            memory.endpoint, memory.etag = card.without_card(base, agent.options), None
        else:
            memory.endpoint = card.endpoint(found, base, agent.options)
        memory.card = found
        memory.until = self._now() + (_DEFAULT_S if headers is None else _lifetime(headers))
        return memory.endpoint

    async def _find(
        self, agent: Agent, credentials: Credentials, memory: _Memory
    ) -> tuple[dict[str, object] | None, CIMultiDictProxy[str] | None]:
        """Return the card and the head that it came with; None: the agent shows none."""
        for url in card.urls(card.base(agent.url), agent.options.card_path):
            etag = memory.etag if url == memory.found_at else None
            answer = await self._get(agent, credentials, url, etag)
            if answer.status == _NOT_MODIFIED and etag and memory.card is not None:
                return memory.card, answer.headers
            if answer.status in _ABSENT:
                continue
            if answer.status not in failures.SUCCESS:
                fault = failures.of_status(answer.status, answer.headers, "")
                fault.said += " when asked for its card"
                raise fault
            found = _parsed(answer)
            if found is not None:
                memory.etag, memory.found_at = answer.headers.get(hdrs.ETAG), url
                return found, answer.headers
        return None, None

    async def _get(
        self, agent: Agent, credentials: Credentials, url: URL, etag: str | None = None
    ) -> Answer:
        headers = CIMultiDict(agent.options.headers)
        headers.update(credentials.headers)
        headers[hdrs.ACCEPT] = "application/json"
        headers[hdrs.ACCEPT_ENCODING] = "identity"
        headers["A2A-Version"] = "1.0"
        if etag:
            headers[hdrs.IF_NONE_MATCH] = etag
        return await self._exchange(
            Request("GET", url, tuple(headers.items()), agent.timeout.total_seconds(), MAX_BYTES)
        )


def _parsed(answer: Answer) -> dict[str, object] | None:
    """Return the card in an answer; None if it is none (a web page, some other JSON)."""
    try:
        value = json_text.loads(answer.body)
    except ValueError:
        return None
    return value if card.is_card(value) else None


def _lifetime(headers: CIMultiDictProxy[str]) -> float:
    wish = headers.get(hdrs.CACHE_CONTROL, "").lower()
    if "no-store" in wish or "no-cache" in wish:
        return _SHORTEST_S
    if age := _MAX_AGE.search(wish):
        return min(max(float(age[1]), _SHORTEST_S), _LONGEST_S)
    return _DEFAULT_S
