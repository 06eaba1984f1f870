"""The A2A client: send a message, follow a task, answer its question, cancel it, ask for health.

What a caller may rely on: every exchange ends within the agent's timeout; a call that brought no
result raises `CallFailed`, whose outcome says whether the agent may have done the work; credentials
go to the agent's own origin only, and stand in no error and no output.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from orchestrator.agents import auth, failures, following, health, tasks, view
from orchestrator.agents.answers import TERMINAL, Message, Task
from orchestrator.agents.asking import Asking, Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.cards import Cards
from orchestrator.agents.courtesy import Courtesy
from orchestrator.agents.dialect import Form, PushTarget
from orchestrator.agents.egress import Egress
from orchestrator.agents.exchange import Exchange
from orchestrator.agents.failures import Fault, malformed
from orchestrator.agents.following import Follower
from orchestrator.agents.gate import Gate, Streams
from orchestrator.agents.health import Health
from orchestrator.agents.listening import Listener
from orchestrator.agents.probe import Prober
from orchestrator.agents.reach import Reach
from orchestrator.agents.sending import Sender
from orchestrator.agents.stream_exchange import StreamExchange
from orchestrator.agents.streams import Keep, Listening
from orchestrator.agents.tasks import Interrupted, Rhythm
from orchestrator.agents.wakes import Wakes
from orchestrator.domain.agent import Agent, Asked, Call, Cancellation, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed

_CANCEL_S = 10.0
_BESIDE_THE_GATE = 64  # connections for cancels and health checks, which never queue for a place


class A2AClient:
    """An async context manager; `max_calls` bounds the exchanges with one agent at a time.

    `target` tells the place for push notifications about a call; None: there is none.
    """

    def __init__(
        self,
        *,
        max_answer_bytes: int,
        max_calls: int,
        max_connections: int = 1_000,
        egress: Egress | None = None,
        target: Callable[[Call], PushTarget] | None = None,
    ) -> None:
        listened = max(1, max_connections // 4)  # beyond it is polled, which needs no connection
        policy = egress if egress is not None else Egress()
        self._exchange = Exchange(max_connections + _BESIDE_THE_GATE, policy)
        self._streams = StreamExchange(listened, policy)
        self._cards = Cards(self._exchange)
        self._asking = Asking(self._exchange, self._streams, self._cards, max_answer_bytes)
        listener = Listener(self._asking, Streams(max_calls, listened))
        self._courtesy = Courtesy()
        reach = Reach(self._asking, listener, Gate(max_calls, max_connections), self._courtesy)
        self._wakes = Wakes()
        self._sender = Sender(reach, target)
        self._follower = Follower(reach, self._wakes)
        self._prober = Prober(reach, self._sender, self._follower)
        self._keep = Keep()

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        await self._streams.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._keep.close()
        await self._streams.__aexit__(kind, error, trace)
        await self._exchange.__aexit__(kind, error, trace)

    def share_with_others(self, share: Callable[[], float]) -> None:
        """Keep agents' limits together with other processes: `share` is our part of the work."""
        self._courtesy.share = share

    async def send(self, agent: Agent, call: Call) -> Output | TaskRef | Asked:
        """Send the message; return the result, the task that the agent works on, or its question.

        Where nobody knows whether the message arrived, now or before, its task is looked for first
        (1.0 agents can tell). A task is to be followed next, or its stream ends after some seconds.
        Raises `CallFailed`.
        """
        credentials = _credentials(agent)
        return await self._talk(agent, credentials, call, None)

    async def answer(self, agent: Agent, call: Call, task: TaskRef) -> Output | TaskRef | Asked:
        """Send the answer to a task's question, like `send`.

        The task is looked at first: an answer that arrived although nobody heard of it, or that
        comes too late, is not sent. Raises `CallFailed`; its outcome is that of the answer.
        """
        credentials = _credentials(agent)
        try:
            stands = await self._follower.news(agent, credentials, task)
            if not tasks.is_same_question(stands, task.asked):
                return _answered(stands, task)
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None
        return await self._talk(agent, credentials, call, task)

    async def look(self, agent: Agent, task: TaskRef) -> Output | TaskRef | Asked | None:
        """Ask once for a task that waits; None: it still does, or the agent gives no news.

        Raises `CallFailed` when it has ended without a result, or is lost.
        """
        credentials = _credentials(agent)
        try:
            stands = await self._follower.poll(agent, credentials, task, Rhythm())
            if stands is None or tasks.is_same_question(stands, task.asked):
                return None
            return _answered(stands, task)
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

    async def find(self, agent: Agent, call: Call) -> TaskRef | None:
        """Return the task that the agent made of a message which may have reached it.

        None: it shows none, cannot tell (before 1.0) or is away. Raises `CallFailed` where the
        agent cannot be asked at all.
        """
        return await self._sender.find(agent, _credentials(agent), call)

    async def follow(self, agent: Agent, task: TaskRef) -> Output | Asked:
        """Follow the task until it has ended or asks something new, however long that takes.

        A poll that fails is repeated: the task goes on without us. Raises `CallFailed`; with an
        unknown outcome when the agent stays away (`tasks.POLL_ERRORS` polls in a row).
        """
        kept = self._keep.take((agent.id, task.task_id))
        stream, done = (None, self._courtesy.resume(agent)) if kept is None else kept
        try:
            credentials = _credentials(agent)
            try:
                if stream is not None:
                    answer = await self._follower.heard(stream)
                    if answer is not None:
                        output = tasks.result(answer, task.asked)
                        if output is not None:
                            return output
                elif kept is None:
                    await self._follower.catch_up(agent, credentials, task)
                return await self._follower.asked(agent, credentials, task)
            except Interrupted as waits:
                return waits.asked
            except Fault as fault:
                raise CallFailed(failures.failure(agent, credentials, fault)) from None
        finally:
            if stream is not None:
                stream.close()
            done()

    async def cancel(self, agent: Agent, task: TaskRef) -> Cancellation:
        """Ask the agent to cancel the task, in at most ten seconds; return what came of it."""
        try:
            credentials = auth.credentials(agent)
            async with asyncio.timeout(_CANCEL_S):
                return await self._cancelled(agent, credentials, task)
        except (TimeoutError, auth.Unusable):
            return Cancellation.UNREACHABLE
        except Fault as fault:
            return _not_cancelled(fault)

    async def health(self, agent: Agent) -> Health:
        """Return how the agent is; never raises for what the agent does."""
        return await health.check(agent, self._exchange, self._cards)

    async def view(self, agent: Agent) -> dict[str, Any]:
        """Return the card as it is understood; never raises for what the agent does."""
        return await view.look(agent, self._cards)

    async def probe(self, agent: Agent, given: str) -> dict[str, Any]:
        """Try what the agent really does with this input (JSON); never raises for what it does."""
        return (await self._prober.probe(agent, given, self.cancel)).shown()

    def pushed(self, task_id: str) -> bool:
        """Look at the task now: there is news of it; return whether it is followed here."""
        return self._wakes.wake(task_id)

    # -- exchanges --------------------------------------------------------------------------------

    async def _talk(
        self, agent: Agent, credentials: Credentials, call: Call, task: TaskRef | None
    ) -> Output | TaskRef | Asked:
        """Send a message, to `task` or to nobody yet, and say what came of it."""
        done = await self._courtesy.begin(agent)
        stream: Listening | None = None
        kept = False
        try:
            sent = await self._sender.send(agent, credentials, call)
            if isinstance(sent, TaskRef):
                outcome: Output | TaskRef = replace(sent, asked=task.asked if task else None)
            else:
                answer, stream = sent
                outcome = _answered(answer, task)
            if isinstance(outcome, TaskRef):
                self._keep.put((agent.id, outcome.task_id), stream, done)
                kept = True
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None
        else:
            return outcome
        finally:
            if not kept:
                done()
                if stream is not None:
                    stream.close()

    async def _cancelled(
        self, agent: Agent, credentials: Credentials, task: TaskRef
    ) -> Cancellation:
        """Ask without queueing for a place: others may be waiting for this very task."""
        try:
            answer = await self._asking.ask(agent, credentials, _cancel(task.task_id))
        except Fault as fault:
            if fault.code != failures.TASK_NOT_CANCELABLE:
                raise
            # It has ended, perhaps because we have asked before; or its agent does not cancel it.
            answer = await self._asking.ask(agent, credentials, following.get(task.task_id))
            if isinstance(answer, Task) and answer.state not in TERMINAL:
                return Cancellation.UNSUPPORTED
        if isinstance(answer, Task) and answer.state == "canceled":
            return Cancellation.CONFIRMED
        if isinstance(answer, Message) or answer.state in TERMINAL:
            return Cancellation.ALREADY_FINISHED
        return Cancellation.REQUESTED


def _credentials(agent: Agent) -> Credentials:
    try:
        return auth.credentials(agent)
    except auth.Unusable as why:
        fault = Fault(str(why), Outcome.FINAL)
        raise CallFailed(failures.failure(agent, auth.NONE, fault)) from None


def _answered(answer: Message | Task, task: TaskRef | None = None) -> Output | TaskRef:
    """Return what came of a message; `task` is the one that it went to.

    Raises `Fault`, and `Interrupted` when the task asks something new.
    """
    known = TaskRef("", None) if task is None else task
    done = tasks.result(answer, known.asked)
    if done is not None:
        return done
    assert isinstance(answer, Task)  # noqa: S101 - a message is always a result
    if answer.id is None:
        raise malformed("answered a task without an id")
    return TaskRef(answer.id, answer.context_id or known.context_id, known.asked)


def _not_cancelled(fault: Fault) -> Cancellation:
    match fault.code:
        case failures.TASK_NOT_FOUND:
            return Cancellation.ALREADY_FINISHED
        case failures.UNSUPPORTED_OPERATION | failures.METHOD_NOT_FOUND:
            return Cancellation.UNSUPPORTED
        case _:
            return Cancellation.UNREACHABLE


def _cancel(task_id: str) -> Question:
    return Question(task_id, lambda there: there.dialect.cancel(task_id, Form(there.tenant)))
