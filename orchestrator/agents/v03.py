"""Requests of A2A 0.2 and 0.3 over JSON-RPC."""

from orchestrator.agents.dialect import OUTPUT_MODES, Form, Wire, addressed, data, metadata, texts
from orchestrator.domain.agent import Call
from orchestrator.json_text import dump_bytes

VERSION = "0.3"
ENVELOPED = True


def send(call: Call, form: Form) -> Wire:
    """Ask for the work."""
    return Wire(_message(b"message/send", call, form))


def stream(call: Call, form: Form) -> Wire:
    """Ask for the work, and for all news of it."""
    return Wire(_message(b"message/stream", call, form))


def get(task_id: str, _form: Form) -> Wire:
    """Ask how a task stands, without its history."""
    return _of_task(b"tasks/get", task_id, b',"historyLength":0')


def cancel(task_id: str, _form: Form) -> Wire:
    """Ask to cancel a task."""
    return _of_task(b"tasks/cancel", task_id, b"")


def subscribe(task_id: str, _form: Form) -> Wire:
    """Ask for the news of a task from now on."""
    return _of_task(b"tasks/resubscribe", task_id, b"")


def find(_context_id: str, _form: Form) -> Wire | None:
    """Return None: there is no request that lists tasks."""
    return None


def _message(method: bytes, call: Call, form: Form) -> bytes:
    message_id = dump_bytes(call.message_id)
    return b"".join(
        (
            b'{"jsonrpc":"2.0","id":',
            message_id,
            b',"method":"%b","params":{"message":{"kind":"message","messageId":' % method,
            message_id,
            addressed(call, form),
            b',"role":"user","parts":[',
            b",".join(_parts(call, form)),
            b"],",
            metadata(call),
            b'},"configuration":{',
            OUTPUT_MODES,
            b',"blocking":true' if form.wait else b',"blocking":false',
            _push(form),
            b"}}}",
        )
    )


def _parts(call: Call, form: Form) -> list[bytes]:
    parts = []
    if (given := data(call, form)) is not None:
        parts.append(b'{"kind":"data","data":' + given.encode() + b"}")
    if (text := texts(call, form)) is not None:
        parts.append(b'{"kind":"text","text":' + dump_bytes(text) + b"}")
    return parts


def _push(form: Form) -> bytes:
    if form.push is None:
        return b""
    secret = dump_bytes(form.push.secret)
    return (
        b',"pushNotificationConfig":{"url":%b,"token":%b,'
        b'"authentication":{"schemes":["Bearer"],"credentials":%b}}'
        % (dump_bytes(form.push.url), secret, secret)
    )


def _of_task(method: bytes, task_id: str, more: bytes) -> Wire:
    name = dump_bytes(task_id)
    return Wire(
        b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":{"id":%b%b}}' % (name, method, name, more)
    )
