"""Requests that wait for a run to end (`?wait=`): woken by this process, or by a look at the rows.

One statement serves everything that is watched; nothing is asked when nobody watches. Looks follow
each other soon after somebody came, and the rarer the longer, or the more there is to look at.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.run import RunId, RunStatus

_FIRST_S, _GROWTH, _RAREST_S = 0.01, 1.5, 0.1
_EACH_S = 0.0001  # for each run that is watched


class Watch:
    """Wakes whoever waits for a run's end; at most `max_waiters` at a time."""

    def __init__(
        self,
        statuses: Callable[[Sequence[RunId]], Awaitable[Mapping[RunId, RunStatus]]],
        max_waiters: int,
    ) -> None:
        self._statuses = statuses
        self._max_waiters = max_waiters
        self._waiting: dict[RunId, set[asyncio.Event]] = {}
        self._count = 0
        self._watched = asyncio.Event()
        self._pause = _FIRST_S
        self._closed = False

    async def ended(self, run_id: RunId, seconds: float) -> None:
        """Return when the run has ended or after `seconds`; at once beyond the cap or closed."""
        if self._closed or self._count >= self._max_waiters:
            return
        event = asyncio.Event()
        self._waiting.setdefault(run_id, set()).add(event)
        self._count += 1
        self._pause = _FIRST_S
        self._watched.set()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._count -= 1
            events = self._waiting[run_id]
            events.discard(event)
            if not events:
                del self._waiting[run_id]

    def wake(self, run_ids: Iterable[RunId]) -> None:
        """Tell that these runs have ended."""
        for run_id in run_ids:
            for event in self._waiting.get(run_id, ()):
                event.set()

    def close(self) -> None:
        """Let everybody go, now and from now on."""
        self._closed = True
        self.wake(list(self._waiting))

    async def run(self) -> None:
        """Look at the rows of what is watched, again and again, until cancelled."""
        while True:
            if not self._waiting:
                self._watched.clear()
                await self._watched.wait()
            await asyncio.sleep(self._next_pause())
            if self._waiting:
                try:
                    found = await self._statuses(list(self._waiting))
                except Unavailable:
                    continue
                self.wake(run_id for run_id, status in found.items() if status.ended)

    def _next_pause(self) -> float:
        pause = max(self._pause, _EACH_S * len(self._waiting))
        self._pause = min(self._pause * _GROWTH, _RAREST_S)
        return min(pause, _RAREST_S)
