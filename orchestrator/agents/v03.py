"""Requests of A2A 0.2 and 0.3 over JSON-RPC."""

from collections.abc import Iterator

from orchestrator.agents.dialect import OUTPUT_MODES, Form
from orchestrator.domain.agent import Call
from orchestrator.json_text import dump_bytes

VERSION = "0.3"

_CONFIGURATION = b'"configuration":{' + OUTPUT_MODES + b',"blocking":false}}}'


def send(call: Call, form: Form) -> bytes:
    """Ask for the work; the agent need not wait for its end."""
    message_id = dump_bytes(call.message_id)
    return b"".join(
        (
            b'{"jsonrpc":"2.0","id":',
            message_id,
            b',"method":"message/send","params":{"message":{"kind":"message","messageId":',
            message_id,
            b',"contextId":' + dump_bytes(call.context_id) if form.with_context else b"",
            b"" if call.task_id is None else b',"taskId":' + dump_bytes(call.task_id),
            b',"role":"user","parts":[',
            b",".join(_parts(call, form)),
            b'],"metadata":{"runId":',
            dump_bytes(call.run),
            b',"stepId":',
            dump_bytes(call.step),
            b',"attempt":%d}},' % call.attempt,
            _CONFIGURATION,
        )
    )


def get(task_id: str, _form: Form) -> bytes:
    """Ask how a task stands, without its history."""
    return _of_task(b"tasks/get", task_id, b',"historyLength":0')


def cancel(task_id: str, _form: Form) -> bytes:
    """Ask to cancel a task."""
    return _of_task(b"tasks/cancel", task_id, b"")


def _parts(call: Call, form: Form) -> Iterator[bytes]:
    if call.input is not None:
        if form.text_only:
            yield b'{"kind":"text","text":' + dump_bytes(call.input) + b"}"
        else:
            yield b'{"kind":"data","data":' + call.input.encode() + b"}"
    if call.text is not None:
        yield b'{"kind":"text","text":' + dump_bytes(call.text) + b"}"


def _of_task(method: bytes, task_id: str, more: bytes) -> bytes:
    name = dump_bytes(task_id)
    return b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":{"id":%b%b}}' % (
        name,
        method,
        name,
        more,
    )
