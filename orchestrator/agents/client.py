"""The A2A client: send a step's message, follow a task to its end, cancel it, ask for health.

What a caller may rely on: every exchange ends within the agent's timeout; a call that brought no
result raises `CallFailed`, whose outcome says whether the agent may have done the work; credentials
go to the agent's own origin only, and stand in no error and no output.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from orchestrator.agents import auth, failures, health, tasks, view
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
from orchestrator.agents.tasks import Interrupted
from orchestrator.agents.wakes import Wakes
from orchestrator.domain.agent import Agent, Call, Cancellation, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed

_CANCEL_S = 10.0
_COURTESY_S = 3.0  # for cancelling a task whose question nobody answers; the step waits for it
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

    async def send(self, agent: Agent, call: Call) -> Output | TaskRef:
        """Send the message; return the result, or the task that the agent works on for it.

        Where nobody knows whether the message arrived, now or before, its task is looked for first
        (1.0 agents can tell). A task is to be followed next, or its stream ends after some seconds.
        Raises `CallFailed`.
        """
        credentials = _credentials(agent)
        done = await self._courtesy.begin(agent)
        stream: Listening | None = None
        kept = False
        try:
            sent = await self._sender.send(agent, credentials, call)
            if isinstance(sent, TaskRef):
                outcome: Output | TaskRef = sent
            else:
                answer, stream = sent
                outcome = await self._answered(agent, credentials, answer)
            if isinstance(outcome, TaskRef):
                self._keep.put((agent.id, outcome.task_id), stream, done)
                kept = True
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None
        else:
            return outcome
        finally:
            if not kept:
                done()
                if stream is not None:
                    stream.close()

    async def follow(self, agent: Agent, task: TaskRef) -> Output:
        """Follow the task until it has ended, however long that takes; return its result.

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
                    if answer is not None and (output := tasks.result(answer)) is not None:
                        return output
                elif kept is None:
                    await self._follower.catch_up(agent, credentials, task)
                return await self._follower.asked(agent, credentials, task)
            except Interrupted as waits:
                await self._give_up(agent, credentials, task.task_id)
                raise CallFailed(failures.failure(agent, credentials, waits)) from None
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
                answer = await self._cancel(agent, credentials, task.task_id)
        except (TimeoutError, auth.Unusable):
            return Cancellation.UNREACHABLE
        except Fault as fault:
            return _not_cancelled(fault)
        if isinstance(answer, Task) and answer.state == "canceled":
            return Cancellation.CONFIRMED
        if isinstance(answer, Message) or answer.state in TERMINAL:
            return Cancellation.ALREADY_FINISHED
        return Cancellation.REQUESTED

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

    # -- what answers mean ------------------------------------------------------------------------

    async def _answered(
        self, agent: Agent, credentials: Credentials, answer: Message | Task
    ) -> Output | TaskRef:
        """Return what came of a message; raise `Fault` where it led to nothing."""
        try:
            done = tasks.result(answer)
        except Interrupted:
            if isinstance(answer, Task) and answer.id is not None:
                await self._give_up(agent, credentials, answer.id)
            raise
        if done is not None:
            return done
        assert isinstance(answer, Task)  # noqa: S101 - a message is always a result
        if answer.id is None:
            raise malformed("answered a task without an id")
        return TaskRef(answer.id, answer.context_id)

    async def _cancel(self, agent: Agent, credentials: Credentials, task_id: str) -> Message | Task:
        """Ask to cancel, without queueing for a place: others may be waiting for this task."""
        question = Question(
            task_id, lambda there: there.dialect.cancel(task_id, Form(there.tenant))
        )
        return await self._asking.ask(agent, credentials, question)

    async def _give_up(self, agent: Agent, credentials: Credentials, task_id: str) -> None:
        """Cancel a task that waits for an answer it will not get; as a courtesy, not for sure."""
        with suppress(Fault, TimeoutError):
            async with asyncio.timeout(_COURTESY_S):
                await self._cancel(agent, credentials, task_id)


def _credentials(agent: Agent) -> Credentials:
    try:
        return auth.credentials(agent)
    except auth.Unusable as why:
        fault = Fault(str(why), Outcome.FINAL)
        raise CallFailed(failures.failure(agent, auth.NONE, fault)) from None


def _not_cancelled(fault: Fault) -> Cancellation:
    match fault.code:
        case failures.TASK_NOT_FOUND | failures.TASK_NOT_CANCELABLE:
            return Cancellation.ALREADY_FINISHED
        case failures.UNSUPPORTED_OPERATION | failures.METHOD_NOT_FOUND:
            return Cancellation.UNSUPPORTED
        case _:
            return Cancellation.UNREACHABLE
