"""What the two wire dialects have in common: one module each, `v03` and `v1`, of this form."""

from dataclasses import dataclass
from typing import Protocol

from orchestrator.domain.agent import Call

# What we can read; 0.2 requires it wherever a configuration is sent.
OUTPUT_MODES = b'"acceptedOutputModes":["application/json","text/plain"]'


@dataclass(frozen=True, slots=True)
class Form:
    """How this agent wants a message: its tenant (1.0 only), and JSON as text or as data."""

    tenant: str | None = None
    text_only: bool = False
    with_context: bool = True


class Dialect(Protocol):
    """Builds requests as bytes, with the step's input spliced in as it is."""

    @property
    def VERSION(self) -> str:  # noqa: N802 - a constant of the module
        """The value of the A2A-Version header; it must fit the body."""
        ...

    def send(self, call: Call, form: Form, /) -> bytes: ...
    def get(self, task_id: str, form: Form, /) -> bytes: ...
    def cancel(self, task_id: str, form: Form, /) -> bytes: ...
