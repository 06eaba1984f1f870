"""What the wire dialects have in common: one module each, `v03`, `v1` and `rest`, of this form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.domain.agent import Call, InputAs
from orchestrator.json_text import dump_bytes

# What we can read; 0.2 requires it wherever a configuration is sent.
OUTPUT_MODES = b'"acceptedOutputModes":["application/json","text/plain"]'

LISTED = 50  # tasks of a context that one request lists, and messages of each


@dataclass(frozen=True, slots=True)
class PushTarget:
    """Where an agent may send news of a task, and the secret that proves that it does."""

    url: str
    secret: str


@dataclass(frozen=True, slots=True)
class Form:
    """How this agent wants a message: its tenant (1.0 only), its parts, and who waits how."""

    tenant: str | None = None
    input_as: InputAs = InputAs.DATA  # never AUTO
    with_context: bool = True
    wait: bool = False  # the agent answers when it is done
    push: PushTarget | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """A request; `path` and `query` are put to the interface's url."""

    body: bytes | None = None
    path: str = ""
    method: str = "POST"
    query: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """Builds requests as bytes, with the step's input spliced in as it is."""

    @property
    def VERSION(self) -> str:  # noqa: N802 - a constant of the module
        """The value of the A2A-Version header; it must fit the body."""
        ...

    @property
    def ENVELOPED(self) -> bool:  # noqa: N802 - a constant of the module
        """Whether answers are wrapped in JSON-RPC."""
        ...

    def send(self, call: Call, form: Form, /) -> Wire: ...
    def stream(self, call: Call, form: Form, /) -> Wire: ...
    def get(self, task_id: str, form: Form, /) -> Wire: ...
    def cancel(self, task_id: str, form: Form, /) -> Wire: ...
    def subscribe(self, task_id: str, form: Form, /) -> Wire: ...

    def find(self, context_id: str, form: Form, /) -> Wire | None:
        """Ask for the context's newest tasks; None: the dialect has no such request."""
        ...


def texts(call: Call, form: Form) -> str | None:
    """Return what the message says as text: the prompt, and the input where it goes as text."""
    if form.input_as is InputAs.DATA:
        return call.prompt
    if call.prompt is None:
        return call.input
    return call.prompt if call.input == "{}" else f"{call.prompt}\n\n{call.input}"


def metadata(call: Call) -> bytes:
    """Return the message's metadata: by which step of which run it was sent."""
    skill = b"" if call.skill is None else b',"skillId":' + dump_bytes(call.skill)
    return b'"metadata":{"runId":%b,"stepId":%b,"attempt":%d%b}' % (
        dump_bytes(call.run),
        dump_bytes(call.step),
        call.attempt,
        skill,
    )


def context(call: Call, form: Form) -> bytes:
    if call.context_id is None or not form.with_context:
        return b""
    return b',"contextId":' + dump_bytes(call.context_id)
