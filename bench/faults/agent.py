"""An agent that keeps a log of every call and misbehaves as each call's input says.

It speaks A2A 1.0. A step's input has `behave`, a list: what the n-th call of this step of this run
meets (beyond its end: `well`), `delay_ms`, and `mode`: message or task. Its output is
`{"nonce": …}`, unlike that of any other call.

Standard output: its port, in a line. GET /record has the log: each call with `how` it was met:
`answered`, `refused` (a definite failure) or `unknown` (its answer got lost, or is of no use).
"""

import asyncio
import itertools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop
from aiohttp import web

_MAX_BODY = 64 * 2**20
_HANG_S = 3600.0
_DRIP_S = 0.2
_HUGE = 50 * 2**20


@dataclass(slots=True)
class Task:
    done_at: float
    output: Any
    state: str = "TASK_STATE_WORKING"


@dataclass(slots=True)
class Call:
    """One call on its way: what it was, and what is to be answered."""

    request: web.Request
    rid: Any
    entry: dict[str, Any]
    output: dict[str, Any]
    task: bool
    delay_s: float


@dataclass(slots=True)
class Agent:
    calls: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    cancels: Counter[str] = field(default_factory=Counter)
    of_step: Counter[tuple[str, str]] = field(default_factory=Counter)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    at_work: int = 0
    most_at_work: int = 0

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        rid, method, params = body["id"], body["method"], body["params"]
        if method == "SendMessage":
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
            try:
                return await self._send(request, rid, params["message"])
            finally:
                self.at_work -= 1
        if method == "GetTask":
            return self._shown(rid, params["id"])
        if method == "CancelTask":
            return self._cancel(rid, params["id"])
        return _error(rid, -32601, "no such method")

    async def _send(
        self, request: web.Request, rid: Any, message: dict[str, Any]
    ) -> web.StreamResponse:
        said = _data(message)
        metadata = message["metadata"]
        key = metadata["runId"], metadata["stepId"]
        number = self.of_step[key]
        self.of_step[key] += 1
        behave = said.get("behave") or []
        how = behave[number] if number < len(behave) else "well"
        entry = {
            "run": key[0],
            "step": key[1],
            "message_id": message["messageId"],
            "attempt": metadata["attempt"],
            "at": time.time(),
            "behaviour": how,
            "how": "unknown",
            "nonce": f"{os.getpid()}-{next(self.numbers)}",
        }
        self.calls.append(entry)
        call = Call(
            request,
            rid,
            entry,
            {"nonce": entry["nonce"]},
            said.get("mode") == "task",
            said.get("delay_ms", 0) / 1000,
        )
        return await _BEHAVIOURS[how](self, call)

    async def well(self, call: Call) -> web.StreamResponse:
        call.entry["how"] = "answered"
        if call.task:
            return self._as_task(call, call.delay_s)
        await asyncio.sleep(call.delay_s)
        return _result(call.rid, {"message": _message(call.output)})

    async def endless(self, call: Call) -> web.StreamResponse:
        """Work for ever, on a task that can be asked for and cancelled."""
        return self._as_task(call, _HANG_S)

    def _as_task(self, call: Call, seconds: float) -> web.Response:
        task_id = f"task-{call.entry['nonce']}"
        call.entry["task"] = task_id
        self.tasks[task_id] = Task(time.monotonic() + seconds, call.output)
        return self._shown(call.rid, task_id, wrap=True)

    def _shown(self, rid: Any, task_id: str, *, wrap: bool = False) -> web.Response:
        task = self.tasks.get(task_id)
        if task is None:
            return _error(rid, -32001, "there is no such task")
        if task.state == "TASK_STATE_WORKING" and time.monotonic() >= task.done_at:
            task.state = "TASK_STATE_COMPLETED"
        shown: dict[str, Any] = {"id": task_id, "status": {"state": task.state}}
        if task.state == "TASK_STATE_COMPLETED":
            shown["artifacts"] = [{"artifactId": "a", "parts": [{"data": task.output}]}]
        return _result(rid, {"task": shown} if wrap else shown)

    def _cancel(self, rid: Any, task_id: str) -> web.Response:
        self.cancels[task_id] += 1
        task = self.tasks.get(task_id)
        if task is None:
            return _error(rid, -32001, "there is no such task")
        if task.state != "TASK_STATE_WORKING" or time.monotonic() >= task.done_at:
            return _error(rid, -32002, "it is over")
        task.state = "TASK_STATE_CANCELED"
        return self._shown(rid, task_id)

    # -- what goes wrong --------------------------------------------------------------------------

    async def busy(self, call: Call) -> web.StreamResponse:
        call.entry["how"] = "refused"
        return web.Response(status=503, text="busy")

    async def throttled(self, call: Call) -> web.StreamResponse:
        call.entry["how"] = "refused"
        return web.Response(status=429, headers={"Retry-After": "1"})

    async def internal(self, call: Call) -> web.StreamResponse:
        call.entry["how"] = "refused"
        return _error(call.rid, -32603, "it broke")

    async def redirect(self, call: Call) -> web.StreamResponse:
        call.entry["how"] = "refused"
        return web.Response(status=307, headers={"Location": str(call.request.url)})

    async def lost(self, call: Call) -> web.StreamResponse:
        """Do the work, and hang up instead of answering."""
        await asyncio.sleep(call.delay_s)
        return _hang_up(call.request)

    async def reset(self, call: Call) -> web.StreamResponse:
        return _hang_up(call.request)

    async def hang(self, call: Call) -> web.StreamResponse:
        await asyncio.sleep(_HANG_S)
        return _hang_up(call.request)

    async def drip(self, call: Call) -> web.StreamResponse:
        """Answer so slowly that it never ends."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(call.request)
        for _ in range(int(_HANG_S / _DRIP_S)):
            await response.write(b" ")
            await asyncio.sleep(_DRIP_S)
        return response

    async def huge(self, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(call.request)
        await response.write(b'{"jsonrpc": "2.0", "result": "')
        for _ in range(_HUGE // 65_536):
            await response.write(b"x" * 65_536)
        await response.write(b'"}')
        return response

    async def not_utf8(self, call: Call) -> web.StreamResponse:
        rid = orjson.dumps(call.rid)
        body = b'{"jsonrpc": "2.0", "id": ' + rid + b', "result": {"message": "\xff\xfe"}}'
        return web.Response(body=body, content_type="application/json")

    async def wrong_id(self, call: Call) -> web.StreamResponse:
        call.entry["how"] = "answered"  # it is told apart by its connection, not by its id
        return _result("somebody-else", {"message": _message(call.output)})

    async def record(self, _: web.Request) -> web.Response:
        return _json(
            {"calls": self.calls, "cancels": self.cancels, "most_at_work": self.most_at_work}
        )


_BEHAVIOURS: dict[str, Callable[[Agent, Call], Awaitable[web.StreamResponse]]] = {
    "well": Agent.well,
    "endless": Agent.endless,
    "busy": Agent.busy,
    "throttled": Agent.throttled,
    "internal": Agent.internal,
    "redirect": Agent.redirect,
    "lost": Agent.lost,
    "reset": Agent.reset,
    "hang": Agent.hang,
    "drip": Agent.drip,
    "huge": Agent.huge,
    "not_utf8": Agent.not_utf8,
    "wrong_id": Agent.wrong_id,
}


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _data(message: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = message["parts"][0]["data"]
    return data


def _message(output: Any) -> dict[str, Any]:
    return {"messageId": "answer", "role": "ROLE_AGENT", "parts": [{"data": output}]}


def _result(rid: Any, result: dict[str, Any]) -> web.Response:
    return _json({"jsonrpc": "2.0", "id": rid, "result": result})


def _error(rid: Any, code: int, message: str) -> web.Response:
    return _json({"jsonrpc": "2.0", "id": rid, "error": {"code": code, "message": message}})


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def _card(request: web.Request) -> web.Response:
    interface = {
        "url": f"http://{request.host}/",
        "protocolBinding": "JSONRPC",
        "protocolVersion": "1.0",
    }
    return _json(
        {
            "name": "recorder",
            "description": "records its calls",
            "version": "1.0.0",
            "supportedInterfaces": [interface],
            "capabilities": {},
            "defaultInputModes": ["application/json"],
            "defaultOutputModes": ["application/json"],
            "skills": [],
        }
    )


async def _serve(agent: Agent) -> None:
    app = web.Application(client_max_size=_MAX_BODY)
    app.add_routes(
        [
            web.post("/", agent.rpc),
            web.get("/.well-known/agent-card.json", _card),
            web.get("/record", agent.record),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _die_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    threading.Thread(target=_die_with_stdin, daemon=True).start()
    uvloop.run(_serve(Agent()))


if __name__ == "__main__":
    main()
