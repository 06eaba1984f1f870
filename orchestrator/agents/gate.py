"""Bounds how many exchanges are under way at a time: with one agent, and in all.

Waiting here is not part of an exchange, so that an agent's timeout does not run meanwhile.
"""

import asyncio
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
