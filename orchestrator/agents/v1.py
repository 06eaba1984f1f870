"""Requests of A2A 1.x over JSON-RPC (ProtoJSON: no `kind`, upper-case roles)."""

from orchestrator.agents.dialect import (
    LISTED,
    OUTPUT_MODES,
    Form,
    Wire,
    addressed,
    data,
    metadata,
    texts,
)
from orchestrator.domain.agent import Call
from orchestrator.json_text import dump_bytes

VERSION = "1.0"
ENVELOPED = True


def send(call: Call, form: Form) -> Wire:
    """Ask for the work."""
    return _rpc(b"SendMessage", dump_bytes(call.message_id), message(call, form))


def stream(call: Call, form: Form) -> Wire:
    """Ask for the work, and for all news of it."""
    return _rpc(b"SendStreamingMessage", dump_bytes(call.message_id), message(call, form))


def get(task_id: str, form: Form) -> Wire:
    """Ask how a task stands, without its history."""
    return _of_task(b"GetTask", task_id, form, b',"historyLength":0')


def cancel(task_id: str, form: Form) -> Wire:
    """Ask to cancel a task."""
    return _of_task(b"CancelTask", task_id, form, b"")


def subscribe(task_id: str, form: Form) -> Wire:
    """Ask for a task, and for its news from now on."""
    return _of_task(b"SubscribeToTask", task_id, form, b"")


def find(context_id: str, form: Form) -> Wire:
    """Ask for the context's newest tasks, with the messages that they began with."""
    name = dump_bytes(context_id)
    wanted = b'{%b"contextId":%b,"pageSize":%d,"historyLength":%d}' % (
        _tenant(form),
        name,
        LISTED,
        LISTED,
    )
    return _rpc(b"ListTasks", name, wanted)


def message(call: Call, form: Form) -> bytes:
    """Return the parameters of a message, which are the body of HTTP+JSON too."""
    return b"".join(
        (
            b"{",
            _tenant(form),
            b'"message":{"messageId":',
            dump_bytes(call.message_id),
            addressed(call, form),
            b',"role":"ROLE_USER","parts":[',
            b",".join(_parts(call, form)),
            b"],",
            metadata(call),
            b'},"configuration":{',
            OUTPUT_MODES,
            b"" if form.wait else b',"returnImmediately":true',
            b',"historyLength":0',
            _push(form),
            b"}}",
        )
    )


def _rpc(method: bytes, request_id: bytes, params: bytes) -> Wire:
    return Wire(
        b'{"jsonrpc":"2.0","id":%b,"method":"%b","params":%b}' % (request_id, method, params)
    )


def _tenant(form: Form) -> bytes:
    return b'"tenant":' + dump_bytes(form.tenant) + b"," if form.tenant else b""


def _parts(call: Call, form: Form) -> list[bytes]:
    parts = []
    if (given := data(call, form)) is not None:
        parts.append(b'{"data":' + given.encode() + b',"mediaType":"application/json"}')
    if (text := texts(call, form)) is not None:
        parts.append(b'{"text":' + dump_bytes(text) + b"}")
    return parts


def _push(form: Form) -> bytes:
    if form.push is None:
        return b""
    secret = dump_bytes(form.push.secret)
    return (
        b',"taskPushNotificationConfig":{"url":%b,"token":%b,'
        b'"authentication":{"scheme":"Bearer","credentials":%b}}'
        % (dump_bytes(form.push.url), secret, secret)
    )


def _of_task(method: bytes, task_id: str, form: Form, more: bytes) -> Wire:
    name = dump_bytes(task_id)
    return _rpc(method, name, b'{%b"id":%b%b}' % (_tenant(form), name, more))
