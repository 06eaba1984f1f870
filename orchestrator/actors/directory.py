"""Agents by name, looked up at each attempt and at most a second stale; an absence is not kept."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from orchestrator.domain.agent import Agent

_FRESH_S = 1.0
_MAX_NAMES = 10_000


class AgentDirectory:
    """Keeps what `fetch` answered for a second, so that many runs share one query."""

    def __init__(self, fetch: Callable[[str], Awaitable[Agent | None]]) -> None:
        self._fetch = fetch
        self._known: dict[str, tuple[float, Agent]] = {}
        self._fetching: dict[str, asyncio.Lock] = {}

    async def get(self, name: str) -> Agent | None:
        """Return the active agent of that name, or None; raise what `fetch` raises."""
        known = self._known.get(name)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        lock = self._fetching.setdefault(name, asyncio.Lock())
        async with lock:
            known = self._known.get(name)
            if known is not None and known[0] > time.monotonic():
                return known[1]
            asked = time.monotonic()
            agent = await self._fetch(name)
            if len(self._known) >= _MAX_NAMES:
                self._known.clear()
                self._fetching.clear()
            if agent is not None:
                self._known[name] = (asked + _FRESH_S, agent)
            return agent

    def forget(self) -> None:
        """Ask anew for every name from now on (an agent was changed in this process)."""
        self._known.clear()
