"""The actor of one run: one command at a time is decided, journaled, and then performed.

It awaits its call to the agent in its own task, so that cancelling the task aborts the call. The
outside tells an actor one thing only: your rows moved. It then ends and is rebuilt from them.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from enum import Enum
from typing import TypeAlias, TypeVar

from orchestrator import failpoints, json_text
from orchestrator.actors import calls
from orchestrator.actors.observing import observe
from orchestrator.actors.ports import Limits, Ports
from orchestrator.domain import machine
from orchestrator.domain.agent import Agent, Asked, Call, Failure, Outcome, Output, TaskRef
from orchestrator.domain.errors import (
    CallFailed,
    Misconfigured,
    MissingReference,
    Poisoned,
    Unavailable,
)
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.messages import (
    BackoffOver,
    CallAgent,
    Command,
    CompleteStep,
    DeadlineReached,
    Decision,
    Effect,
    Event,
    FailAttempt,
    FailRun,
    FindTask,
    FinishRun,
    FollowTask,
    LookAtTask,
    LookDue,
    Park,
    ParkStep,
    RecordTask,
    RecoverRun,
    SendAnswer,
    StartRun,
    StepCompleted,
    StepParked,
    StepStarted,
    WaitBackoff,
)
from orchestrator.domain.record import record
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import (
    Run,
    RunStatus,
    StepPath,
    StepStatus,
    message_id,
)
from orchestrator.domain.term import Term
from orchestrator.telemetry.metrics import Metrics
from orchestrator.time_limits import TimeLimit

T = TypeVar("T")
_Talk: TypeAlias = CallAgent | SendAnswer | FindTask | FollowTask | LookAtTask
_DATABASE_PAUSE_S = 0.5
_NOT_AGAIN = "the outcome of its call is unknown, and it is not to be sent again"


class Phase(Enum):
    """What an actor is at, for whoever wants to stop it."""

    WRITING = "writing"  # a refused write tells it by itself
    SENDING = "sending"  # a call is out whose task id is not known
    DETACHED = "detached"  # it waits, or follows a task whose id is durable


class Left(Enum):
    """How an actor's life ended."""

    ENDED = "ended"  # the run has ended
    PARKED = "parked"  # it waits as a row; its due time is stored
    HELD = "held"  # the process drains: the next owner goes on
    DOOMED = "doomed"  # its rows moved: reload


@record
class _Finished:
    """What a performed effect leaves instead of a next command."""

    left: Left


class RunActor:
    """Owns one run for as long as it lives; `live` is its whole life.

    `loop` is the running one: to ask for it is a system call (in Python 3.11).
    """

    def __init__(
        self,
        run: Run,
        term: Term,
        *,
        ports: Ports,
        limits: Limits,
        metrics: Metrics,
        draining: Callable[[], bool],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.run = run
        self.term = term
        self.phase = Phase.DETACHED
        self.doomed = False
        self.parked_for: timedelta | None = None
        self._ports = ports
        self._limits = limits
        self._metrics = metrics
        self._draining = draining
        self._inputs: dict[StepPath, str] = {}
        self._sent: dict[StepPath, int] = {}  # the number of the last message that left
        self._answer: Output | None = None
        self._deadlines: dict[StepPath, float] = {}
        self._loop = loop
        now = loop.time()
        for step in run.steps.values():
            if step.deadline_in is not None:
                self._deadlines[step.path] = now + step.deadline_in.total_seconds()

    async def live(self) -> Left:
        """Go on with the run, as its rows say, to its end, a long wait, or a drain.

        Raises `Fenced` when the term is over and `Stale` when the rows moved.
        """
        then = await self._begin()
        while not isinstance(then, _Finished):
            then = await self._handle(then)
        return then.left

    async def fail(self, reason: str) -> Left:
        """End the run as FAILED for a reason that is not its own doing."""
        await self._handle(FailRun(reason))
        return Left.ENDED

    async def _begin(self) -> Command | _Finished:
        if self.run.status is RunStatus.PENDING:
            return StartRun()
        for step in self.run.steps.values():
            if step.waiting_for is not None:
                return self._wait_for_somebody(step.path, step.due_in)
            if step.status is StepStatus.RUNNING and step.due_in is not None:
                # Nothing is in flight at an agent: the wait goes on where it was.
                return await self._wait(step.path, step.attempt, step.due_in)
        return RecoverRun()

    async def _handle(self, command: Command) -> Command | _Finished:
        """Decide, journal, perform; return what the performed effect led to."""
        decision = machine.decide(self.run, command)
        if self._draining():
            decision = _without_starts(decision)
        try:
            await self._journal(decision)
        except Poisoned as refused:
            if isinstance(command, FailRun):
                raise
            return FailRun(f"a value cannot be stored: {refused.message}")
        if isinstance(command, CompleteStep | FailAttempt | RecordTask):
            failpoints.reached("answer.after")
        if self.run.status.ended:
            return _Finished(Left.ENDED)
        if self.doomed:
            return _Finished(Left.DOOMED)
        for effect in decision.effects:  # one, while workflows are chains
            return await self._perform(effect)
        return _Finished(Left.HELD)

    async def _journal(self, decision: Decision) -> None:
        if not decision.events:
            return
        after = machine.replay(self.run, decision.events)
        texts = tuple([self._text(event) for event in decision.events])
        artifacts = self._artifacts(decision.events)
        self.phase = Phase.WRITING
        await self._ports.write(Entry(self.run, decision, after, texts, artifacts), self.term)
        self.phase = Phase.DETACHED
        self.run = after
        for event in decision.events:
            self._observe(event)

    def _text(self, event: Event) -> str | None:
        """Render what an event carries, once: the journal and the call share it."""
        match event:
            case StepStarted(path=path, input=value):
                self._inputs[path] = text = json_text.dumps(value)
                return text
            case StepCompleted(output=value):
                answer = self._answer
                if answer is not None and answer.value is value:
                    return answer.text
                return json_text.dumps(value)
            case StepParked(question=question):
                return json_text.dumps(question)
            case _:
                return None

    def _artifacts(self, events: Sequence[Event]) -> dict[StepPath, str]:
        """Return what the agent sent, for a step that is completed by its answer."""
        answer = self._answer
        if answer is None or answer.artifacts is None:
            return {}
        done = (e for e in events if isinstance(e, StepCompleted))
        return {e.path: answer.artifacts for e in done if e.output is answer.value}

    def _observe(self, event: Event) -> None:
        observe(self.run.id, event, self._metrics)
        match event:
            case StepStarted(path=path, timeout=timedelta() as timeout):
                self._deadlines[path] = self._loop.time() + timeout.total_seconds()
            case StepCompleted(path=path):
                self._inputs.pop(path, None)
                self._sent.pop(path, None)
            case _:
                pass

    # -- effects ----------------------------------------------------------------------------------

    async def _perform(self, effect: Effect) -> Command | _Finished:
        match effect:
            case FinishRun():
                return _Finished(Left.ENDED)
            case WaitBackoff(path, attempt, delay):
                return await self._wait(path, attempt, delay)
            case Park(path, look_in):
                return self._wait_for_somebody(path, look_in)
            case CallAgent() | SendAnswer() | FindTask() | FollowTask() | LookAtTask():
                return await self._talk(effect)

    async def _talk(self, effect: _Talk) -> Command | _Finished:
        """Talk to the agent, within the step's deadline."""
        sends = isinstance(effect, CallAgent | SendAnswer)
        if not sends and self._draining():
            return _Finished(Left.HELD)  # nothing is to be sent: the next owner asks
        self.phase = Phase.SENDING if sends else Phase.DETACHED
        limit = TimeLimit(self._deadlines.get(effect.path), self._loop)
        try:
            with limit:
                return await self._exchange(effect, effect.path, effect.attempt)
        except TimeoutError:
            if not limit.expired():
                raise
            return DeadlineReached(effect.path)

    def _wait_for_somebody(self, path: StepPath, look_in: timedelta | None) -> Command | _Finished:
        """Leave the step to its row: whoever answers, or the time, brings the run back."""
        left = self._deadline(path) - self._loop.time()
        if left <= 0:
            return DeadlineReached(path)
        wait = left if look_in is None else min(left, look_in.total_seconds())
        if wait <= 0:
            return LookDue(path)
        self.parked_for = None if wait == float("inf") else timedelta(seconds=wait)
        return _Finished(Left.PARKED)

    async def _wait(self, path: StepPath, attempt: int, delay: timedelta) -> Command | _Finished:
        left = max(0.0, self._deadline(path) - self._loop.time())
        # A wait that ended while nobody owned the run is no shorter than a deadline that did, too.
        wait = min(max(0.0, delay.total_seconds()), left)
        if wait > self._limits.park_after.total_seconds():
            self.parked_for = timedelta(seconds=wait)
            return _Finished(Left.PARKED)
        if self._draining():
            return _Finished(Left.HELD)  # its due time is durable
        await asyncio.sleep(wait)
        return DeadlineReached(path) if wait == left else BackoffOver(path, attempt)

    async def _exchange(self, effect: _Talk, path: StepPath, attempt: int) -> Command | _Finished:
        """Call the step's agent, or ask for its task, and turn what came of it into a command."""
        agent = await self._agent(path)
        if isinstance(agent, Failure):
            return FailAttempt(path, attempt, agent, RetryPolicy(), 0.0)
        if self._is_doomed():  # the last look before anything leaves
            return _Finished(Left.DOOMED)
        started = time.perf_counter()
        failpoints.reached("call.before")
        try:
            answer = await self._ask(agent, effect)
        except MissingReference as missing:  # in the prompt; nothing has left
            failure = Failure(missing.message, Outcome.FINAL)
            return FailAttempt(path, attempt, failure, RetryPolicy(), 0.0)
        except CallFailed as failed:
            failpoints.reached("answer.before")
            self._metrics.call(failed.failure.outcome.value, time.perf_counter() - started)
            return FailAttempt(path, attempt, failed.failure, agent.retry, random.random())  # noqa: S311 - jitter
        failpoints.reached("answer.before")
        self._metrics.call("answered", time.perf_counter() - started)
        return await self._understood(answer, path, attempt)

    async def _agent(self, path: StepPath) -> Agent | Failure:
        name = self.run.definition.steps[path].agent_name
        try:
            agent = await _patiently(lambda: self._ports.agent(name))
        except Misconfigured as unusable:  # its secrets were sealed with another key
            return Failure(unusable.message, Outcome.FINAL)
        return agent or Failure(f"Agent '{name}' not found or inactive", Outcome.FINAL)

    async def _understood(
        self, answer: Output | TaskRef | Asked | None, path: StepPath, attempt: int
    ) -> Command | _Finished:
        match answer:
            case None:
                return self._wait_for_somebody(path, self.run.steps[path].due_in)
            case Output():
                self._answer = answer
                return CompleteStep(path, attempt, answer.value)
            case TaskRef():
                await self._learn_if_doomed(path, answer)
                return RecordTask(path, attempt, answer)
            case Asked():
                await self._learn_if_doomed(path, answer.task)
                return ParkStep(path, attempt, answer)

    async def _ask(self, agent: Agent, effect: _Talk) -> Output | TaskRef | Asked | None:
        match effect:
            case CallAgent():
                return await self._ports.send(agent, self._call(effect))
            case SendAnswer(task=task):
                return await self._ports.answer(agent, calls.answer_of(self.run, effect), task)
            case FindTask():
                return await self._find(agent, effect)
            case FollowTask(task=task):
                return await self._ports.follow(agent, task)
            case LookAtTask(task=task):
                return await self._ports.look(agent, task)

    async def _find(self, agent: Agent, effect: FindTask) -> Output | TaskRef | Asked:
        """Return what became of a message that is not to be sent again; raises `CallFailed`."""
        if effect.task is None:
            sent = calls.sent_before(self.run, effect)
            found: Output | TaskRef | Asked | None = await self._ports.find(agent, sent)
        else:  # an answer that arrived has moved its task
            found = await self._ports.look(agent, effect.task)
        if found is None:
            raise CallFailed(Failure(_NOT_AGAIN, Outcome.UNKNOWN))
        return found

    def _call(self, effect: CallAgent) -> Call:
        path = effect.path
        text, last = self._inputs.get(path), self._sent.get(path)
        # New is a message whose number rose, or whose step began, before the eyes of this actor.
        new = effect.message_no > last if last is not None else effect.attempt == 1 and text
        if text is None:  # recovered from the rows
            text = self._inputs[path] = json_text.dumps(self.run.steps[path].input)
        self._sent[path] = effect.message_no
        return calls.call_of(self.run, effect, text, maybe_sent=not new)

    async def _learn_if_doomed(self, path: StepPath, task: TaskRef) -> None:
        """Note the task of a call that was cancelled meanwhile, so that the agent hears of it."""
        if self._is_doomed():
            message = message_id(self.run.id, path, self.run.steps[path].message_no)
            await _patiently(lambda: self._ports.learn_task(self.run.id, message, task))

    def _is_doomed(self) -> bool:
        return self.doomed  # set from outside while this actor awaits

    # -- time -------------------------------------------------------------------------------------

    def _deadline(self, path: StepPath) -> float:
        """Return the step's end on the loop's clock; infinite where none was stored."""
        return self._deadlines.get(path, float("inf"))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask, again and again while the database is away; the caller's time bounds it."""
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(_DATABASE_PAUSE_S)


def _without_starts(decision: Decision) -> Decision:
    """Keep what is over and leave the next step to the next owner (the process drains).

    A run that is RUNNING with no step at work is taken up by its next owner at its next step.
    """
    events = decision.events
    for index, event in enumerate(events):
        if isinstance(event, StepStarted):
            return Decision(events[:index], ())
    return decision
