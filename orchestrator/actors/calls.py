"""What a step's call says to its agent."""

from orchestrator.domain import run as runs
from orchestrator.domain.agent import Call, ContextScope
from orchestrator.domain.messages import CallAgent
from orchestrator.domain.run import Run, StepPath, external_id, message_id


def call(run: Run, effect: CallAgent, text: str, *, maybe_sent: bool) -> Call:
    """Return the call of an attempt; `text` is its input. Raises `MissingReference`."""
    path = effect.path
    definition = runs.definition_of(run, path)
    return Call(
        run=external_id(run.id),
        step=definition.id,
        attempt=effect.attempt,
        message_id=message_id(run.id, path, effect.message_no),
        input=text,
        context_id=_context(run, path, definition.context),
        input_as=definition.input_as,
        prompt=runs.step_prompt(run, path),
        skill=definition.skill,
        maybe_sent=maybe_sent,
    )


def _context(run: Run, path: StepPath, scope: ContextScope) -> str | None:
    match scope:
        case ContextScope.RUN:
            return external_id(run.id)
        case ContextScope.STEP:
            return f"{external_id(run.id)}.{path}"
        case ContextScope.NONE:
            return None
