"""What an agent asked for and its operator set: how many calls, how often, and when again.

`max_concurrency` and `rate_limit` hold for all processes together: each takes the share of them
that it has of the partitions, and nobody coordinates. Waiting here is part of no exchange.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.domain.agent import Agent, AgentId

_LONGEST_HOLD_S = 60.0  # how long one Retry-After may keep everybody from an agent
_MANY = 1_000  # agents to remember before those without news are forgotten


@dataclass(slots=True)
class _State:
    busy: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    next_at: float = 0.0  # by the rate
    held_until: float = 0.0  # by a Retry-After


class Courtesy:
    """`share` tells the part of all partitions that this process holds, from 0 to 1."""

    def __init__(
        self,
        share: Callable[[], float] = lambda: 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.share = share
        self._now = now
        self._states: dict[AgentId, _State] = {}

    async def begin(self, agent: Agent) -> Callable[[], None]:
        """Wait for a place of `max_concurrency`; return what gives it back, to be called once."""
        if agent.options.max_concurrency is None:
            return _nothing
        state = self._state(agent)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        state.waiting.append(turn)
        self._admit(agent, state)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(agent, state)  # the place came while we left
            else:
                with suppress(ValueError):
                    state.waiting.remove(turn)
            raise
        return lambda: self._leave(agent, state)

    def resume(self, agent: Agent) -> Callable[[], None]:
        """Take a place without waiting, for work that the agent is at already."""
        if agent.options.max_concurrency is None:
            return _nothing
        state = self._state(agent)
        state.busy += 1
        return lambda: self._leave(agent, state)

    def has_limits(self, agent: Agent) -> bool:
        """Whether a request may have to wait for its turn."""
        return agent.options.rate_limit is not None or agent.id in self._states

    async def turn(self, agent: Agent) -> None:
        """Wait until one more request may be sent."""
        rate = agent.options.rate_limit
        state = self._state(agent)
        wait = state.held_until - self._now()
        while wait > 0:
            await asyncio.sleep(wait)
            wait = state.held_until - self._now()  # the wish may have been prolonged
        if rate is not None:
            now = self._now()
            at = max(now, state.next_at)
            state.next_at = at + 1 / (rate * self._part())
            if at > now:
                await asyncio.sleep(at - now)

    def hold(self, agent: Agent, retry_after: timedelta) -> None:
        """Send nothing more to an agent that asked to be called later."""
        state = self._state(agent)
        wait = min(retry_after.total_seconds(), _LONGEST_HOLD_S)
        state.held_until = max(state.held_until, self._now() + wait)

    def _leave(self, agent: Agent, state: _State) -> None:
        state.busy -= 1
        self._admit(agent, state)

    def _admit(self, agent: Agent, state: _State) -> None:
        """Let those in who waited longest, as far as there are places now."""
        while state.waiting and state.busy < self._places(agent):
            turn = state.waiting.popleft()
            if not turn.done():
                state.busy += 1
                turn.set_result(None)

    def _places(self, agent: Agent) -> int:
        return max(1, int((agent.options.max_concurrency or 1) * self._part()))

    def _part(self) -> float:
        return min(1.0, max(0.001, self.share()))

    def _state(self, agent: Agent) -> _State:
        state = self._states.get(agent.id)
        if state is None:
            if len(self._states) >= _MANY:
                now = self._now()
                idle = [k for k, s in self._states.items() if not s.busy and s.next_at < now]
                for key in idle:
                    if self._states[key].held_until < now:
                        del self._states[key]
            state = self._states[agent.id] = _State()
        return state


def _nothing() -> None:
    pass
