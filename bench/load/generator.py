"""Executes the workflow at a rate (open loop), or as so many users who wait for each run's end.

In the open loop a request is sent when it is due, whatever became of those before it; in the closed
loop a user who is refused with Retry-After waits that long.
"""

import asyncio
import errno
import time
from itertools import cycle

import aiohttp
import orjson

from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.failure import LoadFailed
from bench.load.plan import Plan
from bench.load.samples import Samples
from orchestrator.agents.transport import Lost, NotConnected, NotHttp, TooLarge

_ACCEPTED = 202
_TOO_MANY = 429
_UNTOLD_S = 5.0  # then the deployment is asked: the run may have failed
_PAUSE_S = 0.1  # of a user after an error
_BREATH = 32  # requests that are started at most before others may go on


class Load:
    """One load; `told_by_agents`: the ends of runs come through `tell`, else they are waited for.

    `waiting` is for requests that wait for a run's end: they must not take the executes' places.
    Times are those of the monotonic clock, which all processes of a machine share.
    """

    def __init__(
        self,
        plan: Plan,
        executes: Executes,
        waiting: aiohttp.ClientSession,
        workflow: str,
        *,
        told_by_agents: bool,
    ) -> None:
        self.samples = Samples()
        self.accepted = 0
        self.completed = 0
        self.requests = 0  # under way
        self.began = time.monotonic()
        self._plan = plan
        self._executes = executes
        self._told_by_agents = told_by_agents
        path = f"/api/v1/workflows/{workflow}/execute"
        self._urls = cycle([url + path for url in plan.urls])
        self._deployments = cycle([Deployment(waiting, url) for url in plan.urls])
        self._body = orjson.dumps({"input_data": plan.input_data or {"source": "bench"}})
        self._waiting: dict[str, float] = {}  # runs, and when they were meant to start
        self._users: dict[str, asyncio.Future[None]] = {}
        self._early: dict[str, float] = {}  # ended before their execute was answered

    @property
    def unfinished(self) -> int:
        """Accepted runs that have not ended, as far as is known here."""
        return len(self._waiting)

    def now(self) -> float:
        """Return the seconds since the load's start."""
        return time.monotonic() - self.began

    def tell(self, run: str, at: float) -> None:
        """Take note that a run's last step was answered at that time."""
        if run in self._waiting:
            self._completed(run, at - self.began)
        else:
            self._early[run] = at - self.began

    async def run(self) -> None:
        """Load, and return when every request was answered; a user also waits for its run's end."""
        self.began = time.monotonic()
        if self._plan.rate is not None:
            await self._open(self._plan.rate)
        else:
            users = (self._user() for _ in range(self._plan.concurrency))
            await asyncio.gather(*users)

    async def _open(self, rate: float) -> None:
        under_way: set[asyncio.Task[None]] = set()
        for number in range(round(rate * self._plan.window.end)):
            due = number / rate
            if (left := due - self.now()) > 0:
                await asyncio.sleep(left)
            elif number % _BREATH == 0:
                await asyncio.sleep(0)
            self.samples.lateness.add(due, self.now())
            task = asyncio.create_task(self._once(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        if under_way:
            _, late = await asyncio.wait(under_way, timeout=self._plan.drain)
            for task in late:
                task.cancel()
                self._fail(f"no end within {self._plan.drain:g} s")

    async def _once(self, due: float) -> None:
        run, _ = await self._execute(due)
        if run is not None and not self._told_by_agents:
            await self._wait(run, self._plan.drain + self._plan.window.end - self.now())

    async def _user(self) -> None:
        while (start := self.now()) < self._plan.window.end:
            run, pause = await self._execute(start)
            if run is None:
                await asyncio.sleep(min(pause, max(0.0, self._plan.window.end - self.now())))
                continue
            if self._told_by_agents and await self._is_told(run):
                continue
            await self._wait(run, self._plan.drain)

    async def _is_told(self, run: str) -> bool:
        """Wait for word of the agents; return whether it came."""
        if run not in self._waiting:
            return True
        told = self._users[run] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_UNTOLD_S):
                await told
        except TimeoutError:
            return False
        finally:
            self._users.pop(run, None)
        return True

    async def _wait(self, run: str, within: float) -> None:
        """Wait for the run's end by asking the deployment."""
        try:
            status = await next(self._deployments).ended(run, within)
        except LoadFailed as failed:
            self._waiting.pop(run, None)
            self._fail(f"waiting: {failed}")
            return
        if run not in self._waiting or status is None:
            return  # an agent was faster, or it is left as unfinished
        if status == "COMPLETED":
            self._completed(run, self.now())
        else:
            del self._waiting[run]
            self._fail(f"run {status}")

    async def _execute(self, due: float) -> tuple[str | None, float]:
        """Execute once; return the run, or None and how long to keep away."""
        self.requests += 1
        try:
            answer = await self._executes.post(next(self._urls), self._body)
            accepted = answer.status == _ACCEPTED
            run = str(orjson.loads(answer.body)["run_id"]) if accepted else ""
        except (NotConnected, Lost, NotHttp, TooLarge, TimeoutError, ValueError) as error:
            self._fail(_kind(error))
            return None, _PAUSE_S
        finally:
            self.requests -= 1
        now = self.now()
        if accepted:
            self.samples.executes.add(due, now)
            self.accepted += 1
            self._waiting[run] = due
            if (at := self._early.pop(run, None)) is not None:
                self._completed(run, at)
            return run, 0.0
        throttled = answer.status == _TOO_MANY
        if throttled and (after := _seconds(answer.retry_after)) is not None:
            self.samples.throttled.add(due, now)
            self.samples.retry_after.append(after)
            return None, after
        self._fail(f"HTTP {answer.status}" + (" without Retry-After" if throttled else ""))
        return None, _PAUSE_S

    def _completed(self, run: str, at: float) -> None:
        self.samples.runs.add(self._waiting.pop(run), at)
        self.completed += 1
        if (user := self._users.pop(run, None)) is not None and not user.done():
            user.set_result(None)

    def _fail(self, kind: str) -> None:
        self.samples.errors[kind] += 1


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None


def _kind(error: Exception) -> str:
    name = "timeout" if isinstance(error, TimeoutError) else type(error).__name__
    reason = error.__cause__
    number = reason.errno if isinstance(reason, OSError) else None
    return name if number is None else f"{name} ({errno.errorcode.get(number, number)})"
