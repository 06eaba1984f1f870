"""Requests of A2A 1.x over JSON-RPC (ProtoJSON: no `kind`, upper-case roles)."""

from collections.abc import Iterator

from orchestrator.agents.dialect import OUTPUT_MODES, Form
from orchestrator.domain.agent import Call
from orchestrator.json_text import dump_bytes

VERSION = "1.0"

_CONFIGURATION = (
    b'"configuration":{' + OUTPUT_MODES + b',"returnImmediately":true,"historyLength":0}}}'
)


def send(call: Call, form: Form) -> bytes:
    """Ask for the work; the agent need not wait for its end."""
    message_id = dump_bytes(call.message_id)
    return b"".join(
        (
            b'{"jsonrpc":"2.0","id":',
            message_id,
            b',"method":"SendMessage","params":{',
            _tenant(form),
            b'"message":{"messageId":',
            message_id,
            b',"contextId":' + dump_bytes(call.context_id) if form.with_context else b"",
            b"" if call.task_id is None else b',"taskId":' + dump_bytes(call.task_id),
            b',"role":"ROLE_USER","parts":[',
            b",".join(_parts(call, form)),
            b'],"metadata":{"runId":',
            dump_bytes(call.run),
            b',"stepId":',
            dump_bytes(call.step),
            b',"attempt":%d}},' % call.attempt,
            _CONFIGURATION,
        )
    )


def get(task_id: str, form: Form) -> bytes:
    """Ask how a task stands, without its history."""
    return _of_task(b"GetTask", task_id, form, b',"historyLength":0')


def cancel(task_id: str, form: Form) -> bytes:
    """Ask to cancel a task."""
    return _of_task(b"CancelTask", task_id, form, b"")


def _tenant(form: Form) -> bytes:
    return b'"tenant":' + dump_bytes(form.tenant) + b"," if form.tenant else b""


def _parts(call: Call, form: Form) -> Iterator[bytes]:
    if call.input is not None:
        if form.text_only:
            yield b'{"text":' + dump_bytes(call.input) + b"}"
        else:
            yield b'{"data":' + call.input.encode() + b',"mediaType":"application/json"}'
    if call.text is not None:
        yield b'{"text":' + dump_bytes(call.text) + b"}"


def _of_task(method: bytes, task_id: str, form: Form, more: bytes) -> bytes:
    name = dump_bytes(task_id)
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":{%b"id":%b%b}}' % (
        name,
        method,
        _tenant(form),
        name,
        more,
    )
