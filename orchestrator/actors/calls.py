"""What an actor says to an agent: the message of an attempt, or the answer to a question."""

from orchestrator import json_text
from orchestrator.domain.agent import Call
from orchestrator.domain.messages import CallAgent, SendAnswer
from orchestrator.domain.run import Run, external_id, message_id


def call_of(run: Run, effect: CallAgent, given: str) -> Call:
    """Return the call that an attempt makes; `given` is the step's input as JSON text."""
    run_id = external_id(run.id)
    return Call(
        run=run_id,
        step=run.definition.steps[effect.path].id,
        attempt=effect.attempt,
        message_id=message_id(run.id, effect.path, effect.message_no),
        input=given,
        context_id=run_id,
    )


def answer_of(run: Run, effect: SendAnswer) -> Call:
    """Return the call that brings a task the answer to its question."""
    run_id = external_id(run.id)
    answer = run.steps[effect.path].answer
    return Call(
        run=run_id,
        step=run.definition.steps[effect.path].id,
        attempt=effect.attempt,
        message_id=message_id(run.id, effect.path, effect.message_no),
        input=json_text.dumps(answer["input_data"]) if "input_data" in answer else None,
        context_id=effect.task.context_id or run_id,
        text=answer.get("text"),
        task_id=effect.task.task_id,
    )
