"""A circuit breaker: steps of an agent that cannot be reached wait, instead of failing one by one.

After some failures in a row to reach it at all, nothing new is sent for a while; then one call is
let through to see. Any answer, an error too, closes the circuit.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent, AgentId, Outcome

_FAILURES = 5
_FIRST_S, _LONGEST_S = 1.0, 30.0


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    pause: float = _FIRST_S
    open_until: float = 0.0
    probing: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Breaker:
    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._circuits: dict[AgentId, _Circuit] = {}  # of agents that failed and did not answer yet

    def is_open(self, agent: Agent) -> bool:
        """Whether the agent is taken to be away."""
        circuit = self._circuits.get(agent.id)
        return circuit is not None and circuit.failures >= _FAILURES

    @asynccontextmanager
    async def closed(self, agent: Agent) -> AsyncIterator[None]:
        """Wait while the agent is taken to be away; what is inside is to tell how it went.

        Nobody waits longer than the agent's longest delay between attempts: it then counts as one
        of them. Raises `Fault`.
        """
        circuit = self._circuits.get(agent.id)
        if circuit is None or circuit.failures < _FAILURES:
            yield
            return
        await self._wait(agent, circuit)
        probe = self._circuits.get(agent.id) is circuit
        circuit.probing = probe
        try:
            yield
        finally:
            if probe:
                circuit.probing = False
                self._tell(circuit)

    def reached(self, agent: Agent) -> None:
        """Note that the agent answered."""
        circuit = self._circuits.pop(agent.id, None)
        if circuit is not None:
            self._tell(circuit)

    def missed(self, agent: Agent) -> None:
        """Note that there was nobody."""
        circuit = self._circuits.setdefault(agent.id, _Circuit())
        circuit.failures += 1
        if circuit.failures >= _FAILURES and self._now() >= circuit.open_until:
            circuit.open_until = self._now() + circuit.pause
            circuit.pause = min(circuit.pause * 2, _LONGEST_S)

    async def _wait(self, agent: Agent, circuit: _Circuit) -> None:
        """Return when the circuit is closed, or when it is ours to try."""
        budget = agent.retry.max_delay_ms / 1000
        give_up = self._now() + budget
        while self._circuits.get(agent.id) is circuit:
            until = circuit.open_until
            if self._now() >= until and not circuit.probing:
                return
            if self._now() >= give_up:
                raise Fault(
                    f"could not be reached {circuit.failures} times in a row, nor in another"
                    f" {budget:g} s",
                    Outcome.TRANSIENT,
                )
            wait = give_up if circuit.probing else min(until, give_up)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait - self._now())):
                    await circuit.changed.wait()

    @staticmethod
    def _tell(circuit: _Circuit) -> None:
        circuit.changed.set()
        circuit.changed = asyncio.Event()
