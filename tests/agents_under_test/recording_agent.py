"""A fast agent that keeps a log of every call, for tests that kill the orchestrator.

It speaks A2A 0.3 and 1.0 over JSON-RPC and answers with a Message or a Task; it lives in a process
of its own, so that its log and its tasks survive whoever called it. Run it with the main venv:

    recording_agent.py [--port N] [--mode message|task|ask] [--delay-ms N] [--log FILE]
        [--name NAME]

With mode ask it answers with a task that asks something; a message to that task ends it.

The input may say otherwise for one call: `mode`, `delay_ms`, `answer` (the output, instead of an
echo), `fail_first` (so many calls of a step in a run get HTTP 503 before one works), `error`
(a JSON-RPC error object to answer with), `tell` (a header of the request: it is answered as an
error, as an agent would that says aloud what it was sent).

GET  /calls   {"calls": [{"method", "message_id", "run_id", "step_id", "attempt", "task_id",
               "context_id", "at"}],
               "polls": n, "cancels": {task id: n}}; --log has the calls as lines of JSON too
GET  /count   {"calls": n, "done": n, "polls": n}
POST /reset   forgets all of it
GET  /health  200
"""

import argparse
import asyncio
import itertools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import orjson
import uvloop
from aiohttp import web

_SENDS = {"message/send": False, "SendMessage": True}
_GETS = {"tasks/get": False, "GetTask": True}
_CANCELS = {"tasks/cancel": False, "CancelTask": True}
_MAX_BODY = 64 * 2**20


@dataclass(slots=True)
class Task:
    id: str
    context_id: str | None
    done_at: float
    output: Any
    canceled: bool = False
    asking: str | None = None  # the messageId of its question

    @property
    def state(self) -> str:
        if self.canceled:
            return "canceled"
        if self.asking is not None:
            return "input-required"
        return "completed" if time.monotonic() >= self.done_at else "working"


@dataclass(slots=True)
class Agent:
    name: str
    mode: str
    delay_s: float
    log: TextIO | None
    calls: list[dict[str, Any]] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    cancels: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[Any, Any]] = field(default_factory=Counter)
    done: int = 0
    polls: int = 0
    numbers: Any = field(default_factory=itertools.count)

    async def rpc(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        method, params = body["method"], body.get("params") or {}
        if method in _SENDS:
            return await self._send(body["id"], method, params["message"], request.headers)
        if method in _GETS:
            self.polls += 1
            return self._task(body["id"], params["id"], v1=_GETS[method])
        if method in _CANCELS:
            self.cancels[params["id"]] += 1
            task = self.tasks.get(params["id"])
            if task is not None and task.state not in ("working", "input-required"):
                return _error(body["id"], {"code": -32002, "message": "it is over"})
            if task is not None:
                task.canceled = True
            return self._task(body["id"], params["id"], v1=_CANCELS[method])
        return _error(body["id"], {"code": -32601, "message": "no such method"})

    async def _send(
        self, rid: Any, method: str, message: dict[str, Any], headers: Mapping[str, str]
    ) -> web.Response:
        v1 = _SENDS[method]
        metadata = message.get("metadata") or {}
        entry = {
            "method": method,
            "message_id": message["messageId"],
            "run_id": metadata.get("runId"),
            "step_id": metadata.get("stepId"),
            "attempt": metadata.get("attempt"),
            "task_id": message.get("taskId"),
            "context_id": message.get("contextId"),
            "at": time.time(),
        }
        self.calls.append(entry)
        if self.log is not None:
            self.log.write(orjson.dumps(entry).decode() + "\n")
            self.log.flush()
        data = _data(message)
        key = (entry["run_id"], entry["step_id"])
        if self.failures[key] < data.get("fail_first", 0):
            self.failures[key] += 1
            return web.Response(status=503, text="told to fail")
        if told := data.get("tell"):
            return _error(rid, {"code": -32603, "message": f"{told}: {headers.get(told)}"})
        if error := data.get("error"):
            return _error(rid, error)
        if (asked := self.tasks.get(message.get("taskId", ""))) is not None:
            return self._answered(rid, asked, data, v1=v1)
        output = data.get("answer", {"echo": data, "agent": self.name, "n": len(self.calls)})
        delay = data.get("delay_ms", self.delay_s * 1000) / 1000
        mode = data.get("mode", self.mode)
        if mode in ("task", "ask"):
            task = Task(
                f"task-{os.getpid()}-{next(self.numbers)}",
                message.get("contextId"),
                time.monotonic() + delay,
                output,
                asking=f"question-{message['messageId']}" if mode == "ask" else None,
            )
            self.tasks[task.id] = task
            return self._task(rid, task.id, v1=v1, wrap=v1)
        if delay:
            await asyncio.sleep(delay)
        self.done += 1
        return _result(rid, _message(f"answer-{message['messageId']}", output, v1=v1))

    def _answered(self, rid: Any, task: Task, data: dict[str, Any], *, v1: bool) -> web.Response:
        if task.asking is None:
            return _error(rid, {"code": -32004, "message": "nobody asked"})
        task.asking, task.output = None, {"answered": data, "n": len(self.calls)}
        return self._task(rid, task.id, v1=v1, wrap=v1)

    def _task(self, rid: Any, task_id: str, *, v1: bool, wrap: bool = False) -> web.Response:
        task = self.tasks.get(task_id)
        if task is None:
            return _error(rid, {"code": -32001, "message": "there is no such task"})
        state = task.state
        shown: dict[str, Any] = {"id": task.id, "status": {"state": state}}
        if v1:
            shown["status"] = {"state": "TASK_STATE_" + state.upper().replace("-", "_")}
        else:
            shown["kind"] = "task"
        if task.asking is not None and not task.canceled:
            said = {"messageId": task.asking, "role": "ROLE_AGENT" if v1 else "agent"}
            part = {"text": "which?"} if v1 else {"kind": "text", "text": "which?"}
            shown["status"]["message"] = {**said, "parts": [part]}
        if task.context_id is not None:
            shown["contextId"] = task.context_id
        if state == "completed":
            shown["artifacts"] = [{"artifactId": "a1", "parts": [_part(task.output, v1=v1)]}]
        return _result(rid, {"task": shown} if wrap else shown)

    async def card(self, request: web.Request) -> web.Response:
        url = f"http://{request.host}/"
        return _json(
            {
                "name": self.name,
                "description": "records its calls",
                "version": "1.0.0",
                "protocolVersion": "0.3.0",
                "url": url,
                "preferredTransport": "JSONRPC",
                "supportedInterfaces": [
                    {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": version}
                    for version in ("1.0", "0.3")
                ],
                "capabilities": {},
                "defaultInputModes": ["application/json"],
                "defaultOutputModes": ["application/json"],
                "skills": [],
            }
        )

    async def record(self, _: web.Request) -> web.Response:
        return _json({"calls": self.calls, "polls": self.polls, "cancels": self.cancels})

    async def count(self, _: web.Request) -> web.Response:
        over = sum(task.state == "completed" for task in self.tasks.values())
        return _json({"calls": len(self.calls), "done": self.done + over, "polls": self.polls})

    async def reset(self, _: web.Request) -> web.Response:
        self.calls.clear()
        self.tasks.clear()
        self.cancels.clear()
        self.failures.clear()
        self.done = self.polls = 0
        return _json({})


def _data(message: dict[str, Any]) -> dict[str, Any]:
    for part in message["parts"]:
        if isinstance(part.get("data"), dict):
            data: dict[str, Any] = part["data"]
            return data
    return {}


def _part(output: Any, *, v1: bool) -> dict[str, Any]:
    return {"data": output} if v1 else {"kind": "data", "data": output}


def _message(message_id: str, output: Any, *, v1: bool) -> dict[str, Any]:
    message = {"messageId": message_id, "parts": [_part(output, v1=v1)]}
    if v1:
        return {"message": {**message, "role": "ROLE_AGENT"}}
    return {**message, "kind": "message", "role": "agent"}


def _result(rid: Any, result: dict[str, Any]) -> web.Response:
    return _json({"jsonrpc": "2.0", "id": rid, "result": result})


def _error(rid: Any, error: Any) -> web.Response:
    return _json({"jsonrpc": "2.0", "id": rid, "error": error})


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def make_app(agent: Agent) -> web.Application:
    app = web.Application(client_max_size=_MAX_BODY)
    app.add_routes(
        [
            web.post("/", agent.rpc),
            web.get("/.well-known/agent-card.json", agent.card),
            web.get("/health", agent.count),
            web.get("/count", agent.count),
            web.get("/calls", agent.record),
            web.post("/reset", agent.reset),
        ]
    )
    return app


async def _serve(agent: Agent, port: int) -> None:
    runner = web.AppRunner(make_app(agent), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True, backlog=1024)
    await site.start()
    print(orjson.dumps({"port": runner.addresses[0][1]}).decode(), flush=True)  # noqa: T201
    await asyncio.Event().wait()


def _die_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description="An agent that records its calls.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--mode", choices=("message", "task", "ask"), default="message")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--name", default="recorder")
    options = parser.parse_args()
    threading.Thread(target=_die_with_stdin, daemon=True).start()
    with options.log.open("a") if options.log else open(os.devnull, "a") as log:  # noqa: PTH123
        agent = Agent(
            options.name, options.mode, options.delay_ms / 1000, log if options.log else None
        )
        uvloop.run(_serve(agent, options.port))


if __name__ == "__main__":
    main()
