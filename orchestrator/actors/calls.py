"""What an actor says to an agent: the message of an attempt, or the answer to a question."""

from orchestrator import json_text
from orchestrator.domain import run as runs
from orchestrator.domain.agent import Call, ContextScope
from orchestrator.domain.messages import CallAgent, FindTask, SendAnswer
from orchestrator.domain.run import Run, StepPath, external_id, message_id


def call_of(run: Run, effect: CallAgent, given: str, *, maybe_sent: bool) -> Call:
    """Return the call that an attempt makes; `given` is the step's input as JSON text.

    Raises `MissingReference`.
    """
    path = effect.path
    definition = runs.definition_of(run, path)
    return Call(
        run=external_id(run.id),
        step=definition.id,
        attempt=effect.attempt,
        message_id=message_id(run.id, path, effect.message_no),
        input=given,
        context_id=_context(run, path, definition.context),
        input_as=definition.input_as,
        prompt=runs.step_prompt(run, path),
        skill=definition.skill,
        maybe_sent=maybe_sent,
    )


def sent_before(run: Run, effect: FindTask) -> Call:
    """Return, of a call that may have been made, what its agent can know it by."""
    path = effect.path
    definition = runs.definition_of(run, path)
    return Call(
        run=external_id(run.id),
        step=definition.id,
        attempt=effect.attempt,
        message_id=message_id(run.id, path, effect.message_no),
        input=None,
        context_id=_context(run, path, definition.context),
    )


def answer_of(run: Run, effect: SendAnswer) -> Call:
    """Return the call that brings a task the answer to its question."""
    path = effect.path
    definition = runs.definition_of(run, path)
    answer = run.steps[path].answer
    return Call(
        run=external_id(run.id),
        step=definition.id,
        attempt=effect.attempt,
        message_id=message_id(run.id, path, effect.message_no),
        input=json_text.dumps(answer["input_data"]) if "input_data" in answer else None,
        context_id=effect.task.context_id or _context(run, path, definition.context),
        text=answer.get("text"),
        task_id=effect.task.task_id,
        input_as=definition.input_as,
    )


def _context(run: Run, path: StepPath, scope: ContextScope) -> str | None:
    match scope:
        case ContextScope.RUN:
            return external_id(run.id)
        case ContextScope.STEP:
            return f"{external_id(run.id)}.{path}"
        case ContextScope.NONE:
            return None
