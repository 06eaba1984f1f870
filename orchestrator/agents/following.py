"""Follows a task to its end: by the stream that tells of it, else by asking again and again."""

import asyncio
from contextlib import suppress

from orchestrator.agents import failures, listening, streams, tasks
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.asking import Question
from orchestrator.agents.auth import Credentials
from orchestrator.agents.dialect import Form
from orchestrator.agents.failures import Fault, malformed
from orchestrator.agents.reach import Reach
from orchestrator.agents.streams import Listening
from orchestrator.agents.tasks import Rhythm
from orchestrator.agents.wakes import Wakes
from orchestrator.domain.agent import Agent, Outcome, Output, TaskRef


class Follower:
    def __init__(self, reach: Reach, wakes: Wakes) -> None:
        self._reach = reach
        self._wakes = wakes

    async def heard(self, stream: Listening) -> Message | Task | None:
        """Return the end that a stream from the task's beginning tells; None: it is to be asked."""
        try:
            answer = await stream.result()
        except Fault:
            return None  # what broke the stream did not end the task
        finally:
            stream.close()
        # Some agents stream that they are done, and have the result only in the task.
        return answer if answer is not None and tasks.tells_all(answer) else None

    async def catch_up(self, agent: Agent, credentials: Credentials, task: TaskRef) -> None:
        """Listen to a task that is under way, if the agent streams, until there is news to ask for.

        What was streamed before is lost, so that the result is always asked for afterwards.
        """
        with suppress(Fault, listening.Refused):
            if not listening.wanted(agent, await self._reach.endpoint(agent, credentials)):
                return
            question = Question(
                task.task_id,
                lambda there: there.dialect.subscribe(task.task_id, Form(there.tenant)),
            )
            known, stream = await self._reach.listen(agent, credentials, question)
            if stream is not None:
                try:
                    if not streams.decisive(known):
                        await stream.result()
                finally:
                    stream.close()

    async def asked(self, agent: Agent, credentials: Credentials, task: TaskRef) -> Output:
        """Ask for the task until it has ended; return its result.

        Raises `Fault`, and `Interrupted` when it waits for something new.
        """
        rhythm = Rhythm()
        with self._wakes.of(task.task_id) as wake:
            while True:
                await _pause(rhythm.next_wait(), wake)
                answer = await self.poll(agent, credentials, task, rhythm)
                if answer is None:
                    continue
                if (done := tasks.result(answer, task.asked)) is not None:
                    return done

    async def news(self, agent: Agent, credentials: Credentials, task: TaskRef) -> Message | Task:
        """Ask how a task that is to be answered stands, until it can be told."""
        rhythm = Rhythm()
        try:
            while True:
                answer = await self.poll(agent, credentials, task, rhythm)
                if answer is not None:
                    return answer
                await asyncio.sleep(rhythm.next_wait())
        except Fault as fault:
            if fault.outcome is not Outcome.TRANSIENT:
                raise
            raise Fault(fault.said, Outcome.FINAL) from None  # lost: nobody is left to be answered

    async def poll(
        self, agent: Agent, credentials: Credentials, task: TaskRef, rhythm: Rhythm
    ) -> Message | Task | None:
        """Ask once how the task stands; None: it could not be told, ask again."""
        try:
            answer = await self._reach.ask(agent, credentials, get(task.task_id))
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


def get(task_id: str) -> Question:
    """Ask how a task stands."""
    return Question(task_id, lambda there: there.dialect.get(task_id, Form(there.tenant)))


async def _pause(seconds: float, wake: asyncio.Event) -> None:
    """Wait so long, or until somebody says that there is news."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()


def _gave_no_news(fault: Fault, polls: int) -> Fault:
    return Fault(
        f"gave no news of its task in {polls} polls in a row; the last one: {fault.said}",
        Outcome.UNKNOWN,
    )
