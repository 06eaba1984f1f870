"""What a task's state means for the step that waits for it, and how often to ask."""

import hashlib
import random

from orchestrator import json_text
from orchestrator.agents import output
from orchestrator.agents.answers import INTERRUPTED, Message, Task
from orchestrator.agents.failures import Fault, malformed
from orchestrator.domain.agent import Asked, Outcome, Output, TaskRef, WaitingFor

_FIRST_S, _GROWTH, _LONGEST_S = 0.02, 1.5, 15.0
_AFTER_ERROR_S = 0.25
_LONGEST_WISH_S = 60.0  # how far an agent may put the next poll off by Retry-After

# So many polls in a row may fail (about a minute of them: an agent that is being restarted).
POLL_ERRORS = 10

_ENDS = {
    "failed": "failed the task",
    "rejected": "rejected the task",
    "canceled": "canceled the task",
}
_BY_CONTENT = "="  # how the name of a question begins that has neither a time nor an id


class Interrupted(Exception):
    """The task waits for somebody: `asked` says for whom, and what the agent wants to know."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked.waiting_for)
        self.asked = asked


def result(answer: Message | Task, answered: str | None = None) -> Output | None:
    """Return the output if the work is done, None if it goes on (any unknown state does).

    Raises `Fault` when it ended otherwise, `Interrupted` when it waits for somebody. A task that
    still shows the question that was `answered` goes on: its agent has not got to the answer yet.
    """
    if isinstance(answer, Message) or answer.state == "completed":
        return output.of(answer)
    if end := _ENDS.get(answer.state):
        raise Fault(_with_reason(end, answer), Outcome.FINAL)
    if answer.state in INTERRUPTED:
        if is_same_question(answer, answered) and not _name(answer).startswith(_BY_CONTENT):
            return None
        raise Interrupted(_asked(answer))
    return None


def is_same_question(answer: Message | Task, asked: str | None) -> bool:
    """Whether a task waits for what it waited for when its question was named so.

    An agent may take the message out of the status as soon as somebody has answered it.
    """
    if isinstance(answer, Message) or answer.state not in INTERRUPTED or asked is None:
        return False
    name = _name(answer)
    moment, _, message = name.partition("|")
    return name == asked or bool(moment and not message and asked.startswith(f"{moment}|"))


def _asked(task: Task) -> Asked:
    waiting_for = WaitingFor.AUTH if task.state == "auth-required" else WaitingFor.INPUT
    if task.id is None:
        raise malformed(f"asks for {waiting_for} in a task without an id")
    ref = TaskRef(task.id, task.context_id, _name(task))
    return Asked(ref, waiting_for, output.question(task))


def _name(task: Task) -> str:
    """Name the question of a task: by its time and message, else by what it says."""
    status = task.body["status"]
    message = status.get("message")
    moment, message_id = (
        value if isinstance(value, str) else ""
        for value in (
            status.get("timestamp"),
            message.get("messageId") if isinstance(message, dict) else None,
        )
    )
    if moment or message_id:
        return f"{moment}|{message_id}"
    said = json_text.dumps([task.state, output.question(task)])
    return _BY_CONTENT + hashlib.blake2b(said.encode(), digest_size=16).hexdigest()


def tells_all(answer: Message | Task) -> bool:
    """Whether a task that was put together from a stream holds what there is to know."""
    if isinstance(answer, Message) or answer.state != "completed":
        return True
    return bool(answer.body.get("artifacts")) or bool(answer.body["status"].get("message"))


def _with_reason(sentence: str, task: Task) -> str:
    reason = output.said(task)
    return f"{sentence}: {reason}" if reason else f"{sentence} and did not say why"


class Rhythm:
    """The waits between polls: growing, jittered, slower while polls fail."""

    def __init__(self) -> None:
        self._base = _FIRST_S
        self._wish = 0.0
        self.errors = 0  # in a row

    def next_wait(self) -> float:
        """Return the seconds to wait before the next poll."""
        wait = max(self._base * random.uniform(0.8, 1.2), self._wish)  # noqa: S311 - jitter
        self._wish = 0.0
        return wait

    def answered(self) -> None:
        self.errors = 0
        self._base = min(self._base * _GROWTH, _LONGEST_S)

    def failed(self, fault: Fault) -> None:
        self.errors += 1
        self._base = min(max(self._base * 2, _AFTER_ERROR_S), _LONGEST_S)
        if fault.retry_after is not None:
            self._wish = min(fault.retry_after.total_seconds(), _LONGEST_WISH_S)
