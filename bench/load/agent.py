"""The agent that `load` brings along: it answers at once, counts, and tells of each run's end.

It speaks A2A 1.0 and answers with a Message. Each call's metadata names the run and the step. Its
standard output begins with its port, in a line; then comes a line a run whose last step was
answered: the run's id, and the time by the machine's monotonic clock. GET /report has the counts.
"""

import argparse
import asyncio
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop
from aiohttp import web

_MAX_BODY = 64 * 2**20
_BACKLOG = 1024


@dataclass(slots=True)
class Agent:
    """What was asked of it; `last` is the step after whose answer a run has ended."""

    last: str
    delay_s: float
    echo: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    runs: dict[str, set[str]] = field(default_factory=dict)
    _untold: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        asked = orjson.loads(await request.read())
        message = asked["params"]["message"]
        metadata = message["metadata"]
        step, run = metadata["stepId"], metadata["runId"]
        self.calls[step] += 1
        self.runs.setdefault(step, set()).add(run)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if step == self.last:
            self._tell(run)
        data = {"step": step, "call": self.calls[step]}
        if self.echo:
            data["given"] = message["parts"][0]["data"]
        answer = {
            "messageId": f"answer-{message['messageId']}",
            "role": "ROLE_AGENT",
            "parts": [{"data": data}],
        }
        return _json({"jsonrpc": "2.0", "id": asked["id"], "result": {"message": answer}})

    def _tell(self, run: str) -> None:
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._flush)
        self._untold.append(f"{run} {time.monotonic():.6f}\n")

    def _flush(self) -> None:
        """Write what came together in one turn of the loop; its reader never waits long."""
        text = "".join(self._untold).encode()
        self._untold.clear()
        while text:
            text = text[os.write(sys.stdout.fileno(), text) :]

    async def report(self, _: web.Request) -> web.Response:
        """Answer, for each step, how many calls there were, and of how many runs."""
        return _json(
            {
                step: {"calls": calls, "runs": len(self.runs[step])}
                for step, calls in self.calls.items()
            }
        )


async def _card(request: web.Request) -> web.Response:
    url = f"http://{request.host}/"
    return _json(
        {
            "name": "bench",
            "description": "Answers at once.",
            "version": "1.0.0",
            "supportedInterfaces": [
                {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
            ],
            "capabilities": {},
            "defaultInputModes": ["application/json"],
            "defaultOutputModes": ["application/json"],
            "skills": [],
        }
    )


async def _health(_: web.Request) -> web.Response:
    return _json({"status": "ok"})


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


async def _serve(agent: Agent, host: str) -> None:
    app = web.Application(client_max_size=_MAX_BODY)
    app.add_routes(
        [
            web.post("/", agent.answer),
            web.get("/.well-known/agent-card.json", _card),
            web.get("/health", _health),
            web.get("/report", agent.report),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, 0, backlog=_BACKLOG).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def _die_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--last", required=True, help="the last step's id")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--echo", action="store_true", help="answer with what was given, too")
    options = parser.parse_args()
    threading.Thread(target=_die_with_stdin, daemon=True).start()
    agent = Agent(options.last, options.delay_ms / 1000, options.echo)
    uvloop.run(_serve(agent, options.host))


if __name__ == "__main__":
    main()
