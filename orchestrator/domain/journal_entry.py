"""What the journal writes for one decision."""

from collections.abc import Mapping
from dataclasses import field

from orchestrator.domain.messages import Decision
from orchestrator.domain.record import record
from orchestrator.domain.run import Run, StepPath


@record
class Entry:
    """One decision: the run before and after it, and its JSON payloads, rendered once.

    `texts` is parallel to `decision.events`: the JSON text of the event's input or output, None
    for an event that carries neither. `artifacts` are those, as JSON text, of the steps that the
    decision completes.
    """

    run: Run
    decision: Decision
    after: Run
    texts: tuple[str | None, ...]
    artifacts: Mapping[StepPath, str] = field(default_factory=dict)
