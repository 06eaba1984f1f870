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
from orchestrator.domain.agent import (
    Agent,
    Asked,
    Call,
    Cancellation,
    Failure,
    Outcome,
    Output,
    TaskRef,
    WaitingFor,
)
from orchestrator.domain.errors import CallFailed
from tests.simulation.loop import ProcessLoop, resolve

_HANG_S = 3.0  # an exchange's timeout
_MOST_QUESTIONS = 3
_QUESTIONS = {"asking": WaitingFor.INPUT, "login": WaitingFor.AUTH}  # ends of tasks that are none


@dataclass(slots=True)
class Made:
    """A call as it arrived."""

    at: float
    call: Call
    number: int
    process: str


@dataclass(slots=True)
class Work:
    """A task at an agent; `heard` are the messages that it has taken, the newest last."""

    heard: list[Call]
    ends_at: float
    end: str
    cancelled: bool = False
    questions: int = 0
    asks: WaitingFor | None = None  # open now


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

    async def send(self, loop: ProcessLoop, call: Call) -> Output | TaskRef | Asked:
        reply = loop.create_future()
        fate = self._choose()
        if fate == "lost":  # it never arrives
            self._number += 1
            loop.call_later(_HANG_S, resolve, reply, _failed("unknown", self._number))
        else:
            delay = 0.001 + 0.02 * self._chance.random()
            self._outside.call_later(delay, self._arrive, loop, call, fate, reply)
        answer: Output | TaskRef | Asked = await reply
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

    def _begin(self, call: Call, number: int, end: str) -> TaskRef | Asked:
        task_id = f"task-{number}"
        ends_at = self._outside.time() + self._chance.expovariate(0.7)
        work = self.tasks[task_id] = Work([call], ends_at, end or "answer")
        if end in _QUESTIONS and self._chance.random() < 0.5:  # it asks at once
            return self._question(task_id, work)
        return TaskRef(task_id, call.context_id)

    def _question(self, task_id: str, work: Work) -> Asked:
        if work.asks is None:
            work.questions += 1
            work.asks = _QUESTIONS[work.end]
            # A login is made somewhere, and nobody tells us.
            work.ends_at = self._outside.time() + self._chance.expovariate(0.2)
        name = f"q{work.questions}"
        return Asked(TaskRef(task_id, work.heard[0].context_id, name), work.asks, {"text": name})

    # -- tasks ------------------------------------------------------------------------------------

    async def follow(self, task: TaskRef) -> Output | Asked:
        work = self.tasks[task.task_id]
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.05 + self._soon())
            if work.cancelled:
                raise _failed("final", int(task.task_id[5:]))
            if work.asks is WaitingFor.AUTH and loop.time() >= work.ends_at:
                self._log_in(work)
            if work.asks is not None or (work.end in _QUESTIONS and loop.time() >= work.ends_at):
                return self._question(task.task_id, work)
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
                    return output(work.heard[-1], number)

    async def look(self, task: TaskRef) -> Output | TaskRef | Asked | None:
        """Do what one poll does."""
        await asyncio.sleep(self._soon())
        work, number = self.tasks[task.task_id], int(task.task_id[5:])
        if work.cancelled:
            raise _failed("final", number)
        if "transient" in self.weights and self._chance.random() < 0.2:
            # It knows the task no longer, or the task ended badly.
            raise _failed(self._chance.choice(("transient", "final")), number)
        match self._choose():
            case "hang" | "reset" | "lost":
                return None  # it gives no news
            case "task asking" if work.asks is not None:  # now it wants something else
                work.end, work.asks = "asking", None
                return self._question(task.task_id, work)
            case _:
                pass
        if work.asks is WaitingFor.AUTH and self._outside.time() < work.ends_at:
            return None
        if work.asks is WaitingFor.AUTH:
            self._log_in(work)
        ended = self._chance.random() < 0.5
        return output(work.heard[-1], number) if ended else TaskRef(task.task_id, task.context_id)

    async def find(self, call: Call) -> TaskRef | None:
        """Do what a look for a message's task does; now and then the agent cannot tell."""
        await asyncio.sleep(self._soon())
        made = (name for name, work in self.tasks.items() if made_of(work, call))
        found = next(made, None)
        if found is None or self._chance.random() < 0.3:
            return None
        return TaskRef(found, call.context_id)

    async def answer(
        self, loop: ProcessLoop, call: Call, task: TaskRef
    ) -> Output | TaskRef | Asked:
        """Take an answer, unless the question is past."""
        reply = loop.create_future()
        fate = self._choose()
        self._outside.call_later(self._soon(), self._take_answer, loop, call, task, fate, reply)
        taken: Output | TaskRef | Asked = await reply
        return taken

    def _take_answer(
        self,
        loop: ProcessLoop,
        call: Call,
        task: TaskRef,
        fate: str,
        reply: asyncio.Future[Any],
    ) -> None:
        self._number += 1
        made = Made(self._outside.time(), call, self._number, loop.name)
        self.calls.append(made)
        self.arrived(made)
        work = self.tasks[task.task_id]
        answer: Any = TaskRef(task.task_id, task.context_id, task.asked)
        if work.cancelled:
            answer = _failed("final", self._number)
        elif fate in ("transient", "final", "lost"):  # it is not taken
            answer = _failed("unknown" if fate == "lost" else fate, self._number)
        elif work.asks is not None:
            work.heard.append(call)
            work.asks = None
            asks_again = work.questions < _MOST_QUESTIONS and self._chance.random() < 0.3
            work.end = self._chance.choice(list(_QUESTIONS)) if asks_again else "answer"
            work.ends_at = self._outside.time() + self._soon()
            if asks_again and self._chance.random() < 0.5:
                answer = self._question(task.task_id, work)
            elif work.end == "answer" and self._chance.random() < 0.5:
                answer = output(call, self._number)
        if fate in ("hang", "reset"):
            answer = _failed("unknown", self._number)
        loop.call_later(self._soon(), resolve, reply, answer)

    def _log_in(self, work: Work) -> None:
        """Let a task go on that waited for a login."""
        work.asks, work.end = None, "silent" if self._chance.random() < 0.4 else "answer"

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

    async def send(self, agent: Agent, call: Call) -> Output | TaskRef | Asked:
        return await self._agents.send(self._loop, call)

    async def answer(self, agent: Agent, call: Call, task: TaskRef) -> Output | TaskRef | Asked:
        return await self._agents.answer(self._loop, call, task)

    async def look(self, agent: Agent, task: TaskRef) -> Output | TaskRef | Asked | None:
        return await self._agents.look(task)

    async def find(self, agent: Agent, call: Call) -> TaskRef | None:
        return await self._agents.find(call)

    async def follow(self, agent: Agent, task: TaskRef) -> Output | Asked:
        return await self._agents.follow(task)

    async def cancel(self, agent: Agent, task: TaskRef) -> Cancellation:
        return await self._agents.cancel(task)

    # Nobody asks for these here.
    async def health(self, agent: Agent) -> None: ...
    async def view(self, agent: Agent) -> None: ...
    async def probe(self, agent: Agent, given: str) -> None: ...


def made_of(work: Work, call: Call) -> bool:
    return work.heard[0].message_id == call.message_id


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
