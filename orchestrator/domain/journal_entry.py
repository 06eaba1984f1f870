"""What the journal writes for one decision."""

from dataclasses import dataclass

from orchestrator.domain.messages import Decision
from orchestrator.domain.run import Run


@dataclass(frozen=True, slots=True)
class Entry:
    """One decision: the run before and after it, and its JSON payloads, rendered once.

    `texts` is parallel to `decision.events`: the JSON text of the event's input or output, None
    for an event that carries neither.
    """

    run: Run
    decision: Decision
    after: Run
    texts: tuple[str | None, ...]
