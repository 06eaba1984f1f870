"""Connections to the simulated database: slow, cut, silent; the statements on them arrive or not.

What a process has sent arrives also when the process is paused or dead by then, as it does from a
kernel's buffers. What comes back waits for a paused process.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from orchestrator.store import terms
from tests.simulation.database import Database
from tests.simulation.loop import ProcessLoop, State, resolve
from tests.simulation.tables import Session

COMMAND_TIMEOUT_S = 30.0


@dataclass(slots=True)
class Weather:
    """How bad the way to the database is at the moment; probabilities a statement."""

    away: bool = False
    slow: float = 0.0
    cut_before: float = 0.0
    cut_after: float = 0.0
    silent: float = 0.0


class Wire:
    """The network between processes and the database."""

    def __init__(self, database: Database, outside: ProcessLoop, chance: random.Random) -> None:
        self.database = database
        self.weather = Weather()
        self.outside = outside
        self.chance = chance
        self.connections: dict[int, Connection] = {}
        self._number = 0

    def latency(self) -> float:
        chance = self.chance.random()
        if chance < self.weather.slow:
            return 0.05 + self.chance.random()
        return 0.0005 + 0.003 * chance

    async def connect(self, loop: ProcessLoop) -> "Connection":
        await asyncio.sleep(self.latency())
        if self.weather.away:
            raise ConnectionRefusedError(111, "Connection refused")
        self._number += 1
        session = self.database.sessions[self._number] = Session(self._number)
        connection = self.connections[self._number] = Connection(self, loop, session)
        return connection

    def go_away(self) -> None:
        """Let the database be gone, and every session with it."""
        self.weather.away = True
        for connection in list(self.connections.values()):
            connection.cut()

    def steal(self, partition: int) -> None:
        """Let somebody claim a partition who dies at once."""
        ghost = Session(0)
        owner = UUID(int=self.chance.getrandbits(120))
        self.database.execute(terms.SQL["claim"], (partition, owner, "ghost"), ghost)

    def leave(self, loop: ProcessLoop) -> None:
        """Close the sessions of a process that died; what it sent still arrives."""
        for connection in [c for c in self.connections.values() if c.loop is loop]:
            connection.abandon()


class Connection:
    """What the engine uses of a connection of asyncpg."""

    def __init__(self, wire: Wire, loop: ProcessLoop, session: Session) -> None:
        self.loop = loop
        self._wire = wire
        self._session = session
        self._cut = False
        self._pending: asyncio.Future[Any] | None = None
        self._listeners: list[Callable[[Connection], None]] = []

    async def fetch(self, statement: str, *args: Any) -> list[Any]:
        if self._cut:
            raise asyncpg.InterfaceError("connection is closed")
        reply = self._pending = self.loop.create_future()
        if self.loop.state is not State.ENDED:
            self._wire.outside.call_later(
                self._wire.latency(), self._arrive, statement, args, reply
            )
        rows: list[Any] = await reply
        return rows

    async def fetchrow(self, statement: str, *args: Any) -> Any:
        rows = await self.fetch(statement, *args)
        return rows[0] if rows else None

    async def fetchval(self, statement: str, *args: Any, timeout: float = 30) -> Any:  # noqa: ASYNC109
        row = await self.fetchrow(statement, *args)
        return None if row is None else next(iter(row.values()))

    async def execute(self, statement: str, *args: Any) -> None:
        if statement != "SELECT 1":  # which the engine's sessions ask after they prepared
            await self.fetch(statement, *args)

    async def prepare(self, statement: str) -> "Prepared":
        return Prepared(self, statement)

    def is_closed(self) -> bool:
        return self._cut

    def add_termination_listener(self, listener: "Callable[[Connection], None]") -> None:
        self._listeners.append(listener)

    def terminate(self) -> None:
        self.cut()

    async def close(self, *, timeout: float = 0) -> None:  # noqa: ASYNC109
        self.cut()

    def abandon(self) -> None:
        """Lose the client: its session ends, and its locks with it."""
        self._wire.database.sessions.pop(self._session.number, None)
        self._wire.connections.pop(self._session.number, None)

    def cut(self) -> None:
        """Break: who waits for an answer does not know what became of its statement."""
        if self._cut:
            return
        self._cut = True
        self.abandon()
        if self._pending is not None:
            error = asyncpg.ConnectionDoesNotExistError(
                "connection was closed in the middle of operation"
            )
            self.loop.call_soon(resolve, self._pending, error)
        for listener in self._listeners:
            self.loop.call_soon(listener, self)

    def _arrive(self, statement: str, args: tuple[Any, ...], reply: asyncio.Future[Any]) -> None:
        wire = self._wire
        if self._cut or wire.weather.away:
            return
        number = self._session.number
        if self.loop.state is not State.ENDED and number not in wire.database.sessions:
            self.cut()  # ended from another session
            return
        weather, chance = wire.weather, wire.chance.random()
        if chance < weather.cut_before:
            self.cut()
            return
        answer: Any
        wire.database.writer = self.loop.name
        try:
            answer = wire.database.execute(statement, args, self._session)
        except asyncpg.PostgresError as refused:
            answer = refused
        chance -= weather.cut_before
        if chance < weather.cut_after:
            self.cut()
        elif chance < weather.cut_after + weather.silent:
            self.loop.call_later(COMMAND_TIMEOUT_S, resolve, reply, TimeoutError())
        else:
            self.loop.call_later(wire.latency(), resolve, reply, answer)


class Prepared:
    def __init__(self, connection: Connection, statement: str) -> None:
        self._connection = connection
        self._statement = statement

    async def fetch(self, *args: Any) -> list[Any]:
        return await self._connection.fetch(self._statement, *args)


class Pool:
    """What the engine uses of a pool of asyncpg."""

    def __init__(self, wire: Wire, loop: ProcessLoop) -> None:
        self._wire = wire
        self._loop = loop
        self._free: list[Connection] = []

    async def acquire(self, *, timeout: float) -> Connection:  # noqa: ASYNC109
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return await self._wire.connect(self._loop)

    async def release(self, connection: Connection) -> None:
        if not connection.is_closed():
            self._free.append(connection)

    async def expire_connections(self) -> None:
        self._free.clear()

    def get_size(self) -> int:
        return 1

    def get_max_size(self) -> int:
        return 5
