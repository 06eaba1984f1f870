"""What a task's state means for the step that waits for it, and how often to ask."""

import random

from orchestrator.agents import output
from orchestrator.agents.answers import Message, Task
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Outcome, Output

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
_QUESTIONS = {
    "input-required": "asks for input",
    "auth-required": "asks for authentication",
}


class Interrupted(Fault):
    """The task waits for something that nobody will give it."""


def result(answer: Message | Task) -> Output | None:
    """Return the output if the work is done, None if it goes on (any unknown state does).

    Raises `Fault` when it ended otherwise, `Interrupted` when it waits for us.
    """
    if isinstance(answer, Message) or answer.state == "completed":
        return output.of(answer)
    if end := _ENDS.get(answer.state):
        raise Fault(_with_reason(end, answer), Outcome.FINAL)
    if question := _QUESTIONS.get(answer.state):
        raise Interrupted(_with_reason(question, answer), Outcome.FINAL)
    return None


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
