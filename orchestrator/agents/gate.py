"""Bounds how many exchanges are under way at a time: with one agent, and in all.

Waiting here is not part of an exchange, so that an agent's timeout does not run meanwhile.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Door:
    places: asyncio.Semaphore
    users: int = 0  # inside or waiting; a door without users is forgotten


class Gate:
    def __init__(self, per_agent: int, in_all: int) -> None:
        self._per_agent = per_agent
        self._in_all = asyncio.Semaphore(in_all)
        self._doors: dict[Hashable, _Door] = {}

    @asynccontextmanager
    async def place(self, agent: Hashable) -> AsyncIterator[None]:
        """Hold a place for one exchange with `agent`."""
        door = self._doors.get(agent)
        if door is None:
            door = self._doors[agent] = _Door(asyncio.Semaphore(self._per_agent))
        door.users += 1
        try:
            # The agent's places first: those who wait for a busy agent hold nobody else up.
            async with door.places, self._in_all:
                yield
        finally:
            door.users -= 1
            if not door.users:
                del self._doors[agent]


class Streams:
    """Bounds the streams that are open at a time; nobody waits here, since polling does as well."""

    def __init__(self, per_agent: int, in_all: int) -> None:
        self._per_agent = per_agent
        self._free = in_all
        self._open: Counter[Hashable] = Counter()

    def take(self, agent: Hashable) -> bool:
        """Take a place for a stream, if there is one."""
        if not self._free or self._open[agent] >= self._per_agent:
            return False
        self._free -= 1
        self._open[agent] += 1
        return True

    def give_back(self, agent: Hashable) -> None:
        self._free += 1
        self._open[agent] -= 1
        if not self._open[agent]:
            del self._open[agent]
