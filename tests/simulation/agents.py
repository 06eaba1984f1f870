"""Simulated agents: they answer, fail, hang, lose answers, and work by task. They log every call.

A call arrives also from a process that is paused or dead by then. The cause of a failure tells of
what kind it is (`transient 7`), so that the judge can read it out of the history.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from orchestrator import json_text
from orchestrator.domain.agent import Agent, Call, Cancellation, Failure, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed
from tests.simulation.loop import ProcessLoop, resolve

_HANG_S = 3.0  # an exchange's timeout


@dataclass(slots=True)
class Made:
    """A call as it arrived."""

    at: float
    call: Call
    number: int
    process: str


@dataclass(slots=True)
class Work:
    """A task at an agent."""

    call: Call
    ends_at: float
    end: str
    cancelled: bool = False


class Agents:
    """All agents of a world."""

    def __init__(self, outside: ProcessLoop, chance: random.Random) -> None:
        self.weights: Mapping[str, float] = {"answer": 1}  # what becomes of a call
        self.calls: list[Made] = []
        self.tasks: dict[str, Work] = {}
        self.asked_to_cancel: dict[str, None] = {}
        self.arrived: Callable[[Made], None] = lambda _: None
        self._outside = outside
        self._chance = chance
        self._number = 0

    def _choose(self) -> str:
        weights = self.weights
        return self._chance.choices(list(weights), list(weights.values()))[0]

    def _soon(self) -> float:
        return 0.002 + self._chance.expovariate(8)

    # -- send -------------------------------------------------------------------------------------

    async def send(self, loop: ProcessLoop, call: Call) -> Output | TaskRef:
        reply = loop.create_future()
        fate = self._choose()
        if fate == "lost":  # it never arrives
            self._number += 1
            loop.call_later(_HANG_S, resolve, reply, _failed("unknown", self._number))
        else:
            delay = 0.001 + 0.02 * self._chance.random()
            self._outside.call_later(delay, self._arrive, loop, call, fate, reply)
        answer: Output | TaskRef = await reply
        return answer

    def _arrive(self, loop: ProcessLoop, call: Call, fate: str, reply: asyncio.Future[Any]) -> None:
        self._number += 1
        number, now = self._number, self._outside.time()
        made = Made(now, call, number, loop.name)
        self.calls.append(made)
        self.arrived(made)
        answer: Any
        wait = self._soon()
        match fate:
            case "answer":
                answer = output(call, number)
            case "hang":  # the work is done, its answer never comes
                answer, wait = _failed("unknown", number), _HANG_S
            case "reset":  # the same, and it shows at once
                answer = _failed("unknown", number)
            case _ if fate.startswith("task"):
                answer = self._begin(call, number, fate.removeprefix("task").strip())
            case "endless":  # not even a timeout: only the step's own
                return
            case _:
                answer = _failed(fate, number)
        loop.call_later(wait, resolve, reply, answer)

    def _begin(self, call: Call, number: int, end: str) -> TaskRef:
        task_id = f"task-{number}"
        ends_at = self._outside.time() + self._chance.expovariate(0.7)
        self.tasks[task_id] = Work(call, ends_at, end or "answer")
        return TaskRef(task_id, call.context_id)

    # -- tasks ------------------------------------------------------------------------------------

    async def follow(self, task: TaskRef) -> Output:
        work = self.tasks[task.task_id]
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05 + self._soon())
            if work.cancelled:
                raise _failed("final", int(task.task_id[5:]))
            if loop.time() < work.ends_at or work.end == "endless":
                continue
            number = int(task.task_id[5:])
            match work.end:
                case "failing":
                    raise _failed("final", number)
                case "silent":
                    work.end = "answer"  # only for a while
                    raise _failed("unknown", number)
                case "forgotten":
                    raise _failed("transient", number)
                case "crash":
                    raise _failed("crash", number)
                case _:
                    return output(work.call, number)

    async def cancel(self, task: TaskRef) -> Cancellation:
        await asyncio.sleep(self._soon())
        if self._choose() in ("transient", "lost", "hang", "reset"):
            return Cancellation.UNREACHABLE
        self.asked_to_cancel[task.task_id] = None
        work = self.tasks[task.task_id]
        if not work.cancelled and work.ends_at <= asyncio.get_running_loop().time():
            return Cancellation.ALREADY_FINISHED
        work.cancelled = True
        return Cancellation.CONFIRMED if self._chance.random() < 0.8 else Cancellation.REQUESTED


class Client:
    """What a process uses of the A2A client."""

    def __init__(self, agents: Agents, loop: ProcessLoop) -> None:
        self._agents = agents
        self._loop = loop

    async def send(self, agent: Agent, call: Call) -> Output | TaskRef:
        return await self._agents.send(self._loop, call)

    async def follow(self, agent: Agent, task: TaskRef) -> Output:
        return await self._agents.follow(task)

    async def cancel(self, agent: Agent, task: TaskRef) -> Cancellation:
        return await self._agents.cancel(task)

    async def health(self, agent: Agent) -> None:
        """Nobody asks for it here."""


def output(call: Call, number: int) -> Output:
    value = {"of": call.message_id, "call": number, "step": call.step}
    return Output(value, json_text.dumps(value))


def _failed(kind: str, number: int) -> CallFailed | ValueError:
    match kind:
        case "transient":
            failure = Failure(f"transient {number}", Outcome.TRANSIENT)
        case "busy":
            failure = Failure(f"transient {number}", Outcome.TRANSIENT, timedelta(seconds=4))
        case "unstorable":
            failure = Failure(f"transient \0 {number}", Outcome.TRANSIENT)
        case "unknown":
            failure = Failure(f"unknown {number}", Outcome.UNKNOWN)
        case "crash":  # a fault of the program: it ends the actor, not the process
            return ValueError(f"simulated fault {number}")
        case _:
            failure = Failure(f"final {number}", Outcome.FINAL)
    return CallFailed(failure)
