"""What the A2A client costs: calls/s of it, and of bare aiohttp and orjson, on the same agent.

`python -m bench.client`: a process beside this one answers every message at once. Both ways send
the same request, with the same headers, and take short turns, so that whatever else the machine
does hits both. The exit code is 1 when the client makes fewer than 1/1.3 of the bare calls.
"""

import argparse
import asyncio
import gc
import multiprocessing
import multiprocessing.connection
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID

import aiohttp
import orjson
import uvloop

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import Agent, AgentId, AgentStatus, AuthType, Call, Output
from orchestrator.domain.retry import RetryPolicy

MOST = 1.3
_VALUE = {
    "order": 4711,
    "customer": "Ada Lovelace",
    "lines": [{"sku": "a-1", "n": 2, "price": 9.5}],
}
_INPUT = orjson.dumps(_VALUE).decode()
_RUN = "run-0193a5c0-0000-7000-8000-000000000001"
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "agent-orchestrator",
    "A2A-Version": "1.0",
    "traceparent": "00-0193a5c0000070008000000000000001-00f067aa0ba902b7-01",
}


# -- the agent ------------------------------------------------------------------------------------


class _Answering(asyncio.Protocol):
    """Answers HTTP/1.1 as one must that is not to be what is measured."""

    def __init__(self, card: bytes) -> None:
        self._card = card
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end]
            if head.startswith(b"GET"):
                self._rest = self._rest[end + 4 :]
                self._send(self._card)
                continue
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(self._rest) < end + 4 + length:
                return
            body = orjson.loads(self._rest[end + 4 : end + 4 + length])
            self._rest = self._rest[end + 4 + length :]
            part = {"data": {"ok": True, "n": 42}, "mediaType": "application/json"}
            message = {"messageId": "m", "role": "ROLE_AGENT", "parts": [part]}
            answer = {"jsonrpc": "2.0", "id": body["id"], "result": {"message": message}}
            self._send(orjson.dumps(answer))

    def _send(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


def _serve(told: multiprocessing.connection.Connection) -> None:
    async def serving() -> None:
        loop = asyncio.get_running_loop()
        card = bytearray()
        server = await loop.create_server(lambda: _Answering(bytes(card)), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        interface = {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        card += orjson.dumps({"name": "bench", "supportedInterfaces": [interface]})
        told.send(url)
        await server.serve_forever()

    uvloop.run(serving())


# -- the two ways ---------------------------------------------------------------------------------

Way = Callable[[int], Awaitable[None]]


def _bare(session: aiohttp.ClientSession, url: str) -> Way:
    configuration = {
        "acceptedOutputModes": ["application/json", "text/plain"],
        "returnImmediately": True,
        "historyLength": 0,
    }

    async def call(number: int) -> None:
        name = f"{_RUN}.step.{number}"
        message = {
            "messageId": name,
            "contextId": _RUN,
            "role": "ROLE_USER",
            "parts": [{"data": _VALUE, "mediaType": "application/json"}],
            "metadata": {"runId": _RUN, "stepId": "step", "attempt": 1},
        }
        params = {"message": message, "configuration": configuration}
        request = {"jsonrpc": "2.0", "id": name, "method": "SendMessage", "params": params}
        headers = {**_HEADERS, "Idempotency-Key": name}
        async with session.post(url, data=orjson.dumps(request), headers=headers) as response:
            answer = orjson.loads(await response.read())
        if not answer["result"]["message"]["parts"][0]["data"]["ok"]:
            raise ValueError(answer)

    return call


def _ours(client: A2AClient, agent: Agent) -> Way:
    async def call(number: int) -> None:
        sent = Call(_RUN, "step", 1, f"{_RUN}.step.{number}", _INPUT, _RUN)
        output = await client.send(agent, sent)
        if not isinstance(output, Output) or not output.value["ok"]:
            raise ValueError(output)

    return call


async def _round(way: Way, calls: int, at_once: int) -> tuple[float, float]:
    """Return calls/s, and the CPU of this process for one call in microseconds."""
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await way(number)

    cpu, began = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    took = time.perf_counter() - began
    return calls / took, (time.process_time() - cpu) / calls * 1e6


async def _compare(url: str, at_once: int, calls: int, rounds: int) -> float:
    """Print both ways at so many calls at a time; return how many bare calls one of ours costs."""
    agent = _agent(url)
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        A2AClient(max_answer_bytes=2**20, max_calls=at_once) as client,
    ):
        ways = {"bare aiohttp + orjson": _bare(session, url), "client": _ours(client, agent)}
        for way in ways.values():
            await _round(way, calls // 5, at_once)  # warm
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                seen[name].append(await _round(way, calls, at_once))
    for name, rates in seen.items():
        rate, cpu = (statistics.median(column) for column in zip(*rates, strict=True))
        print(f"{at_once:3} at a time  {name:22} {rate:8.0f} calls/s  {cpu:6.0f} µs CPU a call")
    bare, ours = seen.values()
    return statistics.median(b[0] / o[0] for b, o in zip(bare, ours, strict=True))


def _agent(url: str) -> Agent:
    now = datetime.now(UTC)
    none = AuthType.NONE
    second = timedelta(seconds=30)
    status = AgentStatus.ACTIVE
    return Agent(
        AgentId(UUID(int=1)), "bench", url, None, none, {}, second, RetryPolicy(), status, now, now
    )


async def _main(url: str, calls: int, rounds: int) -> int:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the service has it
    worst = 0.0
    for at_once in (1, 32):
        ratio = await _compare(url, at_once, calls, rounds)
        print(f"{at_once:3} at a time  one call costs {ratio:.2f} bare ones")
        worst = max(worst, ratio)
    return 0 if worst <= MOST else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=600, help="in one round")
    parser.add_argument("--rounds", type=int, default=41, help="of each way")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    agent = context.Process(target=_serve, args=(theirs,), daemon=True)
    agent.start()
    try:
        return uvloop.run(_main(ours.recv(), options.calls, options.rounds))
    finally:
        agent.kill()
        agent.join()


if __name__ == "__main__":
    sys.exit(main())
