"""The A2A client: send a step's message, follow a task to its end, cancel it, ask for health.

What a caller may rely on: every exchange ends within the agent's timeout; a call that brought no
result raises `CallFailed`, whose outcome says whether the agent may have done the work; credentials
go to the agent's own origin only, and stand in no error and no output.
"""

import asyncio
import hashlib
import re
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import quote
from uuid import UUID

from orchestrator.agents import asking, auth, failures, health, tasks
from orchestrator.agents.answers import TERMINAL, Message, Task
from orchestrator.agents.asking import Asking, Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.cards import Cards
from orchestrator.agents.exchange import Exchange
from orchestrator.agents.failures import Fault, malformed
from orchestrator.agents.gate import Gate
from orchestrator.agents.health import Health
from orchestrator.agents.tasks import Interrupted, Rhythm
from orchestrator.domain.agent import Agent, Call, Cancellation, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed

_CANCEL_S = 10.0
_COURTESY_S = 3.0  # for cancelling a task whose question nobody answers; the step waits for it
_BESIDE_THE_GATE = 64  # connections for cancels and health checks, which never queue for a place
# An agent that takes no contexts of ours; "context length", a model's complaint, is another thing.
_ABOUT_CONTEXT = re.compile(r"context(?!.{0,2}(?:length|window|size|limit))", re.IGNORECASE)


class A2AClient:
    """An async context manager; `max_calls` bounds the exchanges with one agent at a time."""

    def __init__(
        self, *, max_answer_bytes: int, max_calls: int, max_connections: int = 1_000
    ) -> None:
        self._exchange = Exchange(max_connections + _BESIDE_THE_GATE)
        self._cards = Cards(self._exchange)
        self._asking = Asking(self._exchange, self._cards, max_answer_bytes)
        self._gate = Gate(max_calls, max_connections)

    async def __aenter__(self) -> Self:
        await self._exchange.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)

    async def send(self, agent: Agent, call: Call) -> Output | TaskRef:
        """Send the message; return the result, or the task that the agent works on for it.

        Raises `CallFailed`.
        """
        credentials = _credentials(agent)
        try:
            async with self._gate.place(agent.id):
                answer = await self._send(agent, credentials, call)
            try:
                return _answered(answer)
            except Interrupted:
                await self._give_up(agent, credentials, answer)
                raise
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

    async def follow(self, agent: Agent, task: TaskRef) -> Output:
        """Ask for the task until it has ended, however long that takes; return its result.

        A poll that fails is repeated: the task goes on without us. Raises `CallFailed`; with an
        unknown outcome when the agent stays away (`tasks.POLL_ERRORS` polls in a row).
        """
        credentials = _credentials(agent)
        rhythm = Rhythm()
        try:
            while True:
                await asyncio.sleep(rhythm.next_wait())
                answer = await self._poll(agent, credentials, task, rhythm)
                if answer is None:
                    continue
                try:
                    done = tasks.result(answer)
                except Interrupted:
                    await self._give_up(agent, credentials, answer)
                    raise
                if done is not None:
                    return done
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

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

    # -- exchanges --------------------------------------------------------------------------------

    async def _send(self, agent: Agent, credentials: Credentials, call: Call) -> Message | Task:
        try:
            return await self._asking.ask(agent, credentials, _message(call, with_context=True))
        except Fault as fault:
            # A definite refusal that names the context: the agent wants to make its own.
            refused = fault.code is not None and fault.outcome is Outcome.FINAL
            if not (refused and _ABOUT_CONTEXT.search(fault.said)):
                raise
        return await self._asking.ask(agent, credentials, _message(call, with_context=False))

    async def _poll(
        self, agent: Agent, credentials: Credentials, task: TaskRef, rhythm: Rhythm
    ) -> Message | Task | None:
        """Ask once how the task stands; None: it could not be told, ask again."""
        question = Question(
            task.task_id, lambda there: there.dialect.get(task.task_id, asking.form(there))
        )
        try:
            async with self._gate.place(agent.id):
                answer = await self._asking.ask(agent, credentials, question)
        except Fault as fault:
            if fault.code == failures.TASK_NOT_FOUND:
                lost = f"no longer knows the task {task.task_id}: {fault.said}"
                raise Fault(lost, Outcome.TRANSIENT) from None
            rhythm.failed(fault)
            if fault.outcome is Outcome.FINAL:
                raise
            if rhythm.errors >= tasks.POLL_ERRORS:
                raise _gave_no_news(fault, rhythm.errors) from None
            return None
        rhythm.answered()
        if isinstance(answer, Task) and answer.id not in (None, task.task_id):
            raise malformed(f"answered the task {answer.id} when asked for {task.task_id}")
        return answer

    async def _cancel(self, agent: Agent, credentials: Credentials, task_id: str) -> Message | Task:
        """Ask to cancel, without queueing for a place: others may be waiting for this task."""
        question = Question(
            task_id, lambda there: there.dialect.cancel(task_id, asking.form(there))
        )
        return await self._asking.ask(agent, credentials, question)

    async def _give_up(
        self, agent: Agent, credentials: Credentials, answer: Message | Task
    ) -> None:
        """Cancel a task that waits for an answer it will not get; as a courtesy, not for sure."""
        if isinstance(answer, Task) and answer.id is not None:
            with suppress(Fault, TimeoutError):
                async with asyncio.timeout(_COURTESY_S):
                    await self._cancel(agent, credentials, answer.id)


def _credentials(agent: Agent) -> Credentials:
    try:
        return auth.credentials(agent)
    except auth.Unusable as why:
        fault = Fault(str(why), Outcome.FINAL)
        raise CallFailed(failures.failure(agent, auth.NONE, fault)) from None


def _answered(answer: Message | Task) -> Output | TaskRef:
    done = tasks.result(answer)
    if done is not None:
        return done
    assert isinstance(answer, Task)  # noqa: S101 - a message is always a result
    if answer.id is None:
        raise malformed("answered a task without an id")
    return TaskRef(answer.id, answer.context_id)


def _gave_no_news(fault: Fault, polls: int) -> Fault:
    return Fault(
        f"gave no news of its task in {polls} polls in a row; the last one: {fault.said}",
        Outcome.UNKNOWN,
    )


def _not_cancelled(fault: Fault) -> Cancellation:
    match fault.code:
        case failures.TASK_NOT_FOUND | failures.TASK_NOT_CANCELABLE:
            return Cancellation.ALREADY_FINISHED
        case failures.UNSUPPORTED_OPERATION | failures.METHOD_NOT_FOUND:
            return Cancellation.UNSUPPORTED
        case _:
            return Cancellation.UNREACHABLE


def _message(call: Call, *, with_context: bool) -> Question:
    return Question(
        call.message_id,
        lambda there: there.dialect.send(call, asking.form(there, with_context=with_context)),
        {"Idempotency-Key": _header(call.message_id), "traceparent": _traceparent(call)},
    )


def _header(text: str) -> str:
    """Return `text` as a header may carry it; step ids may hold anything."""
    return text if text.isascii() and text.isprintable() else quote(text)


def _traceparent(call: Call) -> str:
    """Return the W3C trace context: one trace a run, one span an attempt, the same every time."""
    digest = hashlib.blake2b(f"{call.message_id}/{call.attempt}".encode(), digest_size=8)
    return f"00-{_trace_id(call.run)}-{digest.hexdigest()}-01"


def _trace_id(run: str) -> str:
    try:
        trace_id = UUID(run.removeprefix("run-")).hex
    except ValueError:
        trace_id = ""
    if not trace_id.strip("0"):  # all zeros would be an invalid trace
        return hashlib.blake2b(run.encode(), digest_size=16).hexdigest()
    return trace_id
