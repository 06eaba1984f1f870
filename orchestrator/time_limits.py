"""Time limits for what nearly always ends in time: `asyncio.timeout` at a fraction of its cost.

A timer of the event loop is made, kept in a heap and taken back for each `asyncio.timeout`. Here
the limits of one second share one timer; only those that still stand when their second begins get
a timer of their own, so that every limit is as exact as with asyncio.
"""

import asyncio
from types import TracebackType
from typing import Self

_SLICE_S = 1.0


class TimeLimit:
    """A context manager: what is awaited inside is cancelled when the loop's time comes to `when`.

    Leaving it then raises `TimeoutError`, unless the task was cancelled for another reason as well.
    None: there is no limit. Within a task only; for one use. `loop` is the running one, for who has
    it at hand: to ask for it is a system call (in Python 3.11).
    """

    __slots__ = ("_before", "_expired", "_loop", "_task", "_timer", "_wheel", "when")

    def __init__(self, when: float | None, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.when = when
        self._loop = loop
        self._expired = False
        self._timer: asyncio.Handle | None = None
        self._wheel: _Wheel | None = None

    def expired(self) -> bool:
        """Whether the time has come: a `TimeoutError` out of this block is this limit's."""
        return self._expired

    def __enter__(self) -> Self:
        if self.when is None:
            return self
        loop = self._loop or asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit is for a task")
        self._task = task
        self._before = task.cancelling()
        self._wheel = _wheel_of(loop)
        self._wheel.add(self, self.when)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.when is None or self._wheel is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        else:
            self._wheel.remove(self, self.when)
        if not self._expired or self._task.uncancel() > self._before:
            return
        if isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def arm(self, timer: asyncio.Handle) -> None:
        """Take the timer that rings for this limit alone."""
        self._timer = timer

    def ring(self) -> None:
        """End what is awaited: the time has come."""
        self._expired = True
        self._task.cancel()


def within(seconds: float, loop: asyncio.AbstractEventLoop | None = None) -> TimeLimit:
    """Return the limit that is so many seconds from now."""
    loop = loop or asyncio.get_running_loop()
    return TimeLimit(loop.time() + seconds, loop)


class _Wheel:
    """The limits of one event loop, by the slice of time in which they end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._slices: dict[int, tuple[set[TimeLimit], asyncio.TimerHandle]] = {}

    def add(self, limit: TimeLimit, when: float) -> None:
        number = int(when / _SLICE_S)
        there = self._slices.get(number)
        if there is not None:
            there[0].add(limit)
            return
        begins = number * _SLICE_S
        now = self.loop.time()
        if when <= now:
            limit.arm(self.loop.call_soon(limit.ring))
        elif begins <= now:
            limit.arm(self.loop.call_at(when, limit.ring))
        else:
            timer = self.loop.call_at(begins, self._begin, number)
            self._slices[number] = ({limit}, timer)

    def remove(self, limit: TimeLimit, when: float) -> None:
        number = int(when / _SLICE_S)
        there = self._slices.get(number)
        if there is None:
            return
        limits, timer = there
        limits.discard(limit)
        if not limits:
            timer.cancel()
            del self._slices[number]

    def _begin(self, number: int) -> None:
        """Give every limit that ends in the slice a timer of its own."""
        limits, _ = self._slices.pop(number)
        for limit in limits:
            if limit.when is not None:
                limit.arm(self.loop.call_at(limit.when, limit.ring))


_last: _Wheel | None = None


def _wheel_of(loop: asyncio.AbstractEventLoop) -> _Wheel:
    """Return the loop's wheel: there is one loop in a process, or one after the other.

    Where two take turns each gets a new wheel at each turn: right, and no faster than asyncio.
    """
    global _last  # noqa: PLW0603 - what is kept is only a shorter way
    if _last is None or _last.loop is not loop:
        _last = _Wheel(loop)
    return _last
