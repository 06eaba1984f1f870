"""Bounds how many exchanges are under way at a time: with one agent, and in all.

Waiting here is not part of an exchange, so that an agent's timeout does not run meanwhile.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Hashable
from contextlib import suppress


class _Places:
    """A semaphore that costs nothing while there is room; who waits goes in order."""

    __slots__ = ("_free", "_loop", "_waiting")

    def __init__(self, count: int) -> None:
        self._free = count
        self._loop: asyncio.AbstractEventLoop | None = None  # asked for once: a system call in 3.11
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_take(self) -> bool:
        if self._free <= 0 or self._waiting:
            return False
        self._free -= 1
        return True

    async def take(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()  # the place came while we left
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class _Door(_Places):
    """An agent's places; a door without users is forgotten."""

    __slots__ = ("users",)

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.users = 0  # inside or waiting


class Gate:
    def __init__(self, per_agent: int, in_all: int) -> None:
        self._per_agent = per_agent
        self._in_all = _Places(in_all)
        self._doors: dict[Hashable, _Door] = {}

    def place(self, agent: Hashable) -> "Place":
        """Return a context: a place for one exchange with `agent`."""
        return Place(self, agent)

    def try_enter(self, agent: Hashable) -> bool:
        """Take a place if nobody has to wait for one."""
        door = self._doors.get(agent)
        if door is None or not door.try_take():
            return False
        if not self._in_all.try_take():
            door.give_back()
            return False
        door.users += 1
        return True

    async def enter(self, agent: Hashable) -> None:
        """Wait for a place."""
        door = self._doors.get(agent)
        if door is None:
            door = self._doors[agent] = _Door(self._per_agent)
        door.users += 1
        inside = False
        try:
            # The agent's places first: those who wait for a busy agent hold nobody else up.
            if not door.try_take():
                await door.take()
            inside = True
            if not self._in_all.try_take():
                await self._in_all.take()
        except BaseException:
            if inside:
                door.give_back()
            self._forget(agent, door)
            raise

    def leave(self, agent: Hashable) -> None:
        door = self._doors[agent]
        self._in_all.give_back()
        door.give_back()
        self._forget(agent, door)

    def _forget(self, agent: Hashable, door: _Door) -> None:
        door.users -= 1
        if not door.users:
            del self._doors[agent]


class Place:
    """An async context manager, written out: one is entered for every exchange."""

    __slots__ = ("_agent", "_gate")

    def __init__(self, gate: Gate, agent: Hashable) -> None:
        self._gate = gate
        self._agent = agent

    async def __aenter__(self) -> None:
        if not self._gate.try_enter(self._agent):
            await self._gate.enter(self._agent)

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave(self._agent)


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
