"""What the wire dialects have in common: one module each, `v03`, `v1` and `rest`, of this form."""

from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

from orchestrator.domain.agent import Call, InputAs
from orchestrator.domain.record import record
from orchestrator.json_text import dump_bytes

# What we can read; 0.2 requires it wherever a configuration is sent.
OUTPUT_MODES = b'"acceptedOutputModes":["application/json","text/plain"]'

LISTED = 50  # tasks of a context that one request lists, and messages of each


@record
class PushTarget:
    """Where an agent may send news of a task, and the secret that proves that it does."""

    url: str
    secret: str


@record
class Form:
    """How this agent wants a message: its tenant (1.0 only), its parts, and who waits how."""

    tenant: str | None = None
    input_as: InputAs = InputAs.DATA  # never AUTO
    with_context: bool = True
    wait: bool = False  # the agent answers when it is done
    push: PushTarget | None = None


@record
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


def data(call: Call, form: Form) -> str | None:
    """Return the JSON that the message brings as data."""
    return None if form.input_as is InputAs.TEXT else call.input


def texts(call: Call, form: Form) -> str | None:
    """Return what it says as text: the prompt, the input where it goes as text, its own text."""
    as_text = call.input if form.input_as is not InputAs.DATA else None
    if as_text == "{}" and call.prompt is not None:
        as_text = None
    said = [each for each in (call.prompt, as_text, call.text) if each is not None]
    return "\n\n".join(said) if said else None


def metadata(call: Call) -> bytes:
    """Return the message's metadata: by which step of which run it was sent."""
    skill = b"" if call.skill is None else b',"skillId":' + dump_bytes(call.skill)
    return b'"metadata":{"runId":%b,"stepId":%b,"attempt":%d%b}' % (
        dump_bytes(call.run),
        dump_bytes(call.step),
        call.attempt,
        skill,
    )


def addressed(call: Call, form: Form) -> bytes:
    """Return the conversation and the task that the message belongs to, if any."""
    context, task = b"", b""
    if call.context_id is not None and form.with_context:
        context = b',"contextId":' + dump_bytes(call.context_id)
    if call.task_id is not None:
        task = b',"taskId":' + dump_bytes(call.task_id)
    return context + task
