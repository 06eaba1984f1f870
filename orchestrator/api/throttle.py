"""How many executes may be under way at once: as many as are answered soon, and no more.

What is asked beyond that is refused at once with 429, so that a flood costs those who are let in
little, and never grows into a queue that nobody waits for any more. How many runs wait as rows
does not matter: they are safe there.

The limit follows the time that executes take (additive increase, multiplicative decrease, as TCP's
congestion control does, RFC 5681): it falls while they take longer than the target, and rises while
it is used up and they do not. The target is a time that people do not notice, or, where the disk is
slow, some commits: a limit below that would only leave the disk idle.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.domain.errors import Overloaded

REFUSAL = "Too many executions at once: try again later"

_TARGET_S = 0.06
_COMMITS = 5.0  # one that is under way, the own one, and room
_LEAST, _MOST = 100, 4_000
_FIRST = 256
_WINDOW_S = 0.1
_DOWN, _UP = 0.85, 8
_REMEMBERED = 50  # commits; the fastest says what the disk can do, the others also how busy we are


class Throttle:
    """Lets executes in; one a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = _FIRST
        self.under_way = 0
        self._clock = clock
        self._commits: deque[float] = deque(maxlen=_REMEMBERED)
        self._window_ends = clock() + _WINDOW_S
        self._took = 0.0
        self._count = 0
        self._most = 0

    @property
    def target(self) -> float:
        """Return the seconds that an execute should take on average, at most."""
        fastest = min(self._commits, default=0.0)
        return max(_TARGET_S, _COMMITS * fastest)

    def committed(self, seconds: float) -> None:
        """Hear how long a commit of new runs took."""
        self._commits.append(seconds)

    def is_full(self) -> bool:
        """Whether one more is too many; to be asked for one that wants to be let in."""
        if self.under_way < self.limit:
            return False
        self._most = self.limit
        return True

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count an execute; raise `Overloaded` when as many are under way as may be.

        One that fails says nothing about the time that they take.
        """
        if self.is_full():
            raise Overloaded(REFUSAL)
        self.under_way += 1
        self._most = max(self._most, self.under_way)
        began = self._clock()
        try:
            yield
            self._learn(began)
        finally:
            self.under_way -= 1

    def _learn(self, began: float) -> None:
        now = self._clock()
        self._took += now - began
        self._count += 1
        if now < self._window_ends:
            return
        if self._took / self._count > self.target:
            self.limit = max(_LEAST, int(self.limit * _DOWN))
        elif self._most >= self.limit:
            self.limit = min(_MOST, self.limit + _UP)
        self._took, self._count, self._most = 0.0, 0, self.under_way
        self._window_ends = now + _WINDOW_S
