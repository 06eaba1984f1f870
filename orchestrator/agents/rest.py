"""Requests of A2A 1.x over HTTP+JSON: the same bodies, but the path says what is asked."""

from dataclasses import replace
from urllib.parse import quote

from orchestrator.agents import v1
from orchestrator.agents.dialect import LISTED, Form, Wire
from orchestrator.domain.agent import Call

VERSION = "1.0"
ENVELOPED = False


def send(call: Call, form: Form) -> Wire:
    """Ask for the work."""
    return Wire(v1.message(call, replace(form, tenant=None)), _path(form, "message:send"))


def stream(call: Call, form: Form) -> Wire:
    """Ask for the work, and for all news of it."""
    return Wire(v1.message(call, replace(form, tenant=None)), _path(form, "message:stream"))


def get(task_id: str, form: Form) -> Wire:
    """Ask how a task stands, without its history."""
    return Wire(None, _task(form, task_id), "GET", {"historyLength": "0"})


def cancel(task_id: str, form: Form) -> Wire:
    """Ask to cancel a task."""
    return Wire(b"{}", _task(form, task_id) + ":cancel")


def subscribe(task_id: str, form: Form) -> Wire:
    """Ask for a task, and for its news from now on."""
    return Wire(None, _task(form, task_id) + ":subscribe", "GET")


def find(context_id: str, form: Form) -> Wire:
    """Ask for the context's newest tasks, with the messages that they began with."""
    number = str(LISTED)
    wanted = {"contextId": context_id, "pageSize": number, "historyLength": number}
    return Wire(None, _path(form, "tasks"), "GET", wanted)


def _task(form: Form, task_id: str) -> str:
    return _path(form, "tasks/" + quote(task_id, safe=""))


def _path(form: Form, rest: str) -> str:
    return f"/{quote(form.tenant, safe='')}/{rest}" if form.tenant else f"/{rest}"
