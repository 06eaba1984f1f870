"""The A2A client: send a message, follow a task, answer its question, cancel it, ask for health.

What a caller may rely on: every exchange ends within the agent's timeout; a call that brought no
result raises `CallFailed`, whose outcome says whether the agent may have done the work; credentials
go to the agent's own origin only, and stand in no error and no output.
"""

import asyncio
import hashlib
import re
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
from orchestrator.domain.agent import Agent, Asked, Call, Cancellation, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed

_CANCEL_S = 10.0
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

    async def send(self, agent: Agent, call: Call) -> Output | TaskRef | Asked:
        """Send the message; return the result, the task that the agent works on, or its question.

        Raises `CallFailed`.
        """
        credentials = _credentials(agent)
        try:
            async with self._gate.place(agent.id):
                answer = await self._send(agent, credentials, call)
            return _answered(answer)
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

    async def answer(self, agent: Agent, call: Call, task: TaskRef) -> Output | TaskRef | Asked:
        """Send the answer to a task's question, like `send`.

        The task is looked at first: an answer that arrived although nobody heard of it, or that
        comes too late, is not sent. Raises `CallFailed`; its outcome is that of the answer.
        """
        credentials = _credentials(agent)
        try:
            stands = await self._news(agent, credentials, task)
            if not tasks.is_same_question(stands, task.asked):
                return _answered(stands, task)
            async with self._gate.place(agent.id):
                message = _message(call, with_context=True)
                return _answered(await self._asking.ask(agent, credentials, message), task)
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

    async def look(self, agent: Agent, task: TaskRef) -> Output | TaskRef | Asked | None:
        """Ask once for a task that waits; None: it still does, or the agent gives no news.

        Raises `CallFailed` when it has ended without a result, or is lost.
        """
        credentials = _credentials(agent)
        try:
            stands = await self._poll(agent, credentials, task, Rhythm())
            if stands is None or tasks.is_same_question(stands, task.asked):
                return None
            return _answered(stands, task)
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

    async def follow(self, agent: Agent, task: TaskRef) -> Output | Asked:
        """Ask for the task until it has ended or asks something new, however long that takes.

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
                done = tasks.result(answer, task.asked)
                if done is not None:
                    return done
        except Interrupted as waits:
            return waits.asked
        except Fault as fault:
            raise CallFailed(failures.failure(agent, credentials, fault)) from None

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
        try:
            async with self._gate.place(agent.id):
                answer = await self._asking.ask(agent, credentials, _get(task.task_id))
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

    async def _news(self, agent: Agent, credentials: Credentials, task: TaskRef) -> Message | Task:
        """Ask how a task that is to be answered stands, until it can be told."""
        rhythm = Rhythm()
        try:
            while True:
                if (answer := await self._poll(agent, credentials, task, rhythm)) is not None:
                    return answer
                await asyncio.sleep(rhythm.next_wait())
        except Fault as fault:
            if fault.outcome is not Outcome.TRANSIENT:
                raise
            raise Fault(fault.said, Outcome.FINAL) from None  # lost: nobody is left to be answered

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
            answer = await self._asking.ask(agent, credentials, _get(task.task_id))
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


def _gave_no_news(fault: Fault, polls: int) -> Fault:
    return Fault(
        f"gave no news of its task in {polls} polls in a row; the last one: {fault.said}",
        Outcome.UNKNOWN,
    )


def _not_cancelled(fault: Fault) -> Cancellation:
    match fault.code:
        case failures.TASK_NOT_FOUND:
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


def _get(task_id: str) -> Question:
    return Question(task_id, lambda there: there.dialect.get(task_id, asking.form(there)))


def _cancel(task_id: str) -> Question:
    return Question(task_id, lambda there: there.dialect.cancel(task_id, asking.form(there)))


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
