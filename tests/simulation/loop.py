"""Virtual time: event loops of many processes on one clock, deterministic and in one thread.

Each simulated process has a `ProcessLoop` of its own, which the real asyncio primitives use as
they use any loop. All of them share a `Clock`, which jumps from one timer to the next. A process
can be paused (what is due waits until it goes on, as after SIGSTOP) or ended (nothing of it runs
any more, as after SIGKILL).
"""

import asyncio
import heapq
import itertools
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, cast


class Handle:
    """A callback to come; what asyncio cancels."""

    __slots__ = ("_when", "args", "callback", "loop")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: "ProcessLoop"
    ) -> None:
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.loop = loop
        self._when = 0.0

    def cancel(self) -> None:
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    ENDED = "ended"


class Runaway(Exception):
    """Something goes round and round while no time passes."""


class _Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address, so that histories repeat."""

    _numbers = itertools.count()

    def __init__(self, *args: Any, **options: Any) -> None:
        self._number = next(self._numbers)
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self._number


_LONGEST_ROUND = 100_000  # callbacks at one moment


class Clock:
    """The time of a simulated world, and what is to run when."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._number = itertools.count()
        _Task._numbers = itertools.count()

    def at(self, when: float, handle: Handle) -> None:
        handle._when = when
        heapq.heappush(self._timers, (when, next(self._number), handle))

    def run(self, until: float, over: Callable[[], bool] = lambda: False) -> None:
        """Run everything that is due before `until`, or until `over` says so at some moment."""
        before = events._get_running_loop()
        try:
            while True:
                self._settle()
                if over() or not self._timers or self._timers[0][0] > until:
                    break
                self._advance()
            if not over():
                self.now = max(self.now, until)
        finally:
            events._set_running_loop(before)

    def unwind(self, loop: "ProcessLoop", tasks: Callable[[], bool]) -> None:
        """Run what is ready of one loop alone, at this very moment, while `tasks` are left."""
        before = events._get_running_loop()
        others: deque[Handle] = deque()
        _enter(loop)
        try:
            while tasks() and self.ready:
                handle = self.ready.popleft()
                if handle.loop is not loop:
                    others.append(handle)
                elif handle.callback is not None:
                    handle.loop.call(handle)
        finally:
            others.extend(handle for handle in self.ready if handle.loop is not loop)
            self.ready = others
            events._set_running_loop(before)

    def _advance(self) -> None:
        timers, ready = self._timers, self.ready
        when, _, handle = heapq.heappop(timers)
        self.now = max(self.now, when)
        ready.append(handle)
        while timers and timers[0][0] <= when:
            ready.append(heapq.heappop(timers)[2])

    def _settle(self) -> None:
        current = None
        left = _LONGEST_ROUND
        while self.ready:
            handle = self.ready.popleft()
            if handle.callback is None:
                continue
            loop = handle.loop
            if loop.state is not State.RUNNING:
                if loop.state is State.PAUSED:
                    loop.held.append(handle)
                continue
            if loop is not current:
                _enter(loop)
                current = loop
            loop.call(handle)
            left -= 1
            if not left:
                raise Runaway(f"{handle.callback} of {loop.name}")


class ProcessLoop:
    """The event loop of one process: what asyncio's primitives ask of a loop, and no more."""

    def __init__(self, clock: Clock, name: str, failed: Callable[[str], None]) -> None:
        self.name = name
        self.state = State.RUNNING
        self.held: list[Handle] = []  # what came while it was paused
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self._clock = clock
        self._failed = failed

    def call(self, handle: Handle) -> None:
        callback = handle.callback
        assert callback is not None
        try:
            callback(*handle.args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            self._failed(f"{self.name}: a callback raised {error!r}")

    # -- what asyncio asks for --------------------------------------------------------------------

    def time(self) -> float:
        return self._clock.now

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: object = None
    ) -> Handle:
        handle = Handle(callback, args, self)
        self._clock.ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: object = None
    ) -> Handle:
        return self.call_at(self._clock.now + delay, callback, *args)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: object = None
    ) -> Handle:
        handle = Handle(callback, args, self)
        self._clock.at(when, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("asyncio.AbstractEventLoop", self))

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: object = None
    ) -> asyncio.Task[Any]:
        task = _Task(coro, loop=self, name="task" if name is None else str(name))
        self.tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.state is not State.ENDED:
            self._failed(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    # -- pause, end -------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop: nothing of this process runs until it goes on."""
        self.state = State.PAUSED

    def go_on(self) -> None:
        """Run what has come due meanwhile."""
        self.state = State.RUNNING
        self._clock.ready.extend(self.held)
        self.held = []

    def end(self) -> list[str]:
        """End every task at this moment; return the names of those that would not end."""
        self._clock.ready.extend(self.held)
        self.held = []
        self.state = State.ENDED
        for _ in range(5):
            for task in list(self.tasks):
                task.cancel()
            self._clock.unwind(self, lambda: bool(self.tasks))
            if not self.tasks:
                break
        return [task.get_name() for task in self.tasks]

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # whoever awaits it gets it


def _enter(loop: ProcessLoop) -> None:
    events._set_running_loop(cast("asyncio.AbstractEventLoop", loop))


def resolve(future: asyncio.Future[Any], result: Any) -> None:
    """Answer somebody, unless they have gone."""
    if not future.done():
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
