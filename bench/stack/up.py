"""The whole stack on this machine: PostgreSQL, Kafka, orchestrators, and the demo's agents."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from bench.stack import child, kafka_jars
from bench.stack.failure import StackFailed
from bench.stack.home import Home
from bench.stack.kafka import START_S, Kafka
from bench.stack.part import Part, end_all
from orchestrator.demo.api import Api
from orchestrator.demo.failure import DemoFailed
from orchestrator.demo.guide import AGENTS, WORKFLOW
from orchestrator.domain.errors import Misconfigured
from orchestrator.store.embedded import EmbeddedPostgres

_READY_S = 60.0
_STOP_S = 30.0
_TICK = 0.1
_HTTP_OK = 200

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start: in which folder, how many orchestrators, which ports to try first."""

    home: Home
    orchestrators: int = 2
    port: int = 8000
    kafka_port: int = 9092


@dataclass(slots=True)
class Stack:
    """What runs: the addresses, and what must not end by itself."""

    plan: Plan
    say: Say
    parts: list[Part] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    postgres: EmbeddedPostgres | None = None
    postgres_pid: int | None = None
    urls: list[str] = field(default_factory=list)
    agents: dict[str, str] = field(default_factory=dict)
    workflow: str | None = None

    def check(self) -> None:
        """Raise `StackFailed`, with its last words, if a part has ended."""
        for part in self.parts:
            part.check()
        if self.postgres is not None and self.postgres.pid != self.postgres_pid:
            raise StackFailed(f"PostgreSQL ended\n{child.tail(self.plan.home.postgres_log)}")

    async def watch(self) -> None:
        """Never return; raise `StackFailed` as soon as a part has ended."""
        while True:
            self.check()
            await asyncio.sleep(_TICK)

    def kill(self) -> None:
        """End all processes at once; PostgreSQL is still stopped in order."""
        for part in self.parts:
            part.process.kill()

    def start(self, part: Part) -> Part:
        self.parts.append(part)
        return part

    def module(
        self,
        name: str,
        command: Sequence[str],
        settings: Mapping[str, str] | None = None,
        *,
        piped: bool = False,
    ) -> Part:
        """Start a Python module of ours as a part, with these settings of the orchestrator."""
        ours = {f"ORCHESTRATOR_{key}": value for key, value in (settings or {}).items()}
        log = self.plan.home.log(name)
        python = [sys.executable, "-m", *command]
        process = child.spawn(python, log, os.environ | ours, piped=piped)
        return self.start(Part(name, process, log))


@asynccontextmanager
async def started(stack: Stack) -> AsyncIterator[None]:
    """Start everything, from the main thread; stop it in order at the end.

    Raise `StackFailed`, with what the failing part said, if something does not come up.
    """
    home = stack.plan.home
    async with AsyncExitStack() as exits:
        exits.enter_context(home.locked())
        home.prepare()
        try:
            await _start_postgres(stack, exits)
            exits.push_async_callback(_end, stack)
            await _start_others(stack)
        except Misconfigured as wrong:
            raise StackFailed(f"PostgreSQL: {wrong}") from wrong
        except DemoFailed as failed:
            stack.check()  # the reason may be that something ended
            raise StackFailed(str(failed)) from failed
        yield


async def _start_postgres(stack: Stack, exits: AsyncExitStack) -> None:
    began = time.monotonic()
    server = EmbeddedPostgres(stack.plan.home.postgres)
    stack.postgres = await exits.enter_async_context(server)
    stack.postgres_pid = server.pid
    stack.settings["DATABASE_URL"] = server.dsn
    stack.settings["SECRET_KEYS"] = stack.plan.home.secret_key()
    _done(stack, "PostgreSQL", began)


async def _start_others(stack: Stack) -> None:
    """Start the rest, side by side where one does not need the other."""
    agents = {
        name: stack.module(f"agent-{name}", ["orchestrator.demo.agents", name], piped=True)
        for name in AGENTS
    }
    kafka = await _start_kafka(stack)
    for name, part in agents.items():
        stack.agents[f"demo-{name}"] = await part.first_line(_READY_S)
    stack.settings["KAFKA_BOOTSTRAP_SERVERS"] = kafka.bootstrap
    began = time.monotonic()
    for number in range(1, stack.plan.orchestrators + 1):
        port = child.free_port(stack.plan.port + number - 1)
        own = {"PORT": str(port), "DATA_DIR": str(stack.plan.home.folder / f"data-{number}")}
        stack.module(f"orchestrator-{number}", ["orchestrator"], stack.settings | own)
        stack.urls.append(f"http://127.0.0.1:{port}")
    if stack.urls:
        await _meet(stack, began)


async def _start_kafka(stack: Stack) -> Kafka:
    began = time.monotonic()
    if not kafka_jars.are_there():
        stack.say("  … fetching Kafka's jars, once (43 MB)")
    await asyncio.to_thread(kafka_jars.provide)
    kafka = Kafka(stack.plan.home.kafka, child.free_port(stack.plan.kafka_port))
    stack.start(Part("Kafka", kafka.spawn(), kafka.log))

    async def ready() -> bool:
        return await asyncio.to_thread(kafka.is_ready)

    await _until(stack, "Kafka", ready, START_S)
    _done(stack, "Kafka", began)
    return kafka


async def _meet(stack: Stack, began: float) -> None:
    """Wait for the orchestrators, and introduce the agents and a workflow to them."""
    async with aiohttp.ClientSession() as session:
        for number, url in enumerate(stack.urls, 1):
            await _until(stack, f"orchestrator {number}", _answers(session, url), _READY_S)
        _done(stack, f"{len(stack.urls)} orchestrators", began)
        api = Api(session, stack.urls[0])
        for name, about in AGENTS.items():
            await api.put_agent(f"demo-{name}", stack.agents[f"demo-{name}"], about)
        stack.workflow = str((await api.put_workflow(WORKFLOW))["id"])


def _answers(session: aiohttp.ClientSession, url: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        try:
            async with session.get(f"{url}/health/ready") as answer:
                return answer.status == _HTTP_OK
        except aiohttp.ClientError:
            return False

    return ask


async def _until(
    stack: Stack, name: str, ready: Callable[[], Awaitable[bool]], within: float
) -> None:
    """Wait until a part is ready; raise `StackFailed` if it, or any other, is not to be had."""
    try:
        async with asyncio.timeout(within):
            while not await ready():
                stack.check()
                await asyncio.sleep(_TICK)
    except TimeoutError:
        raise StackFailed(
            f"{name} was not ready after {within:.0f} s: see {stack.plan.home.logs}"
        ) from None


def _done(stack: Stack, what: str, began: float) -> None:
    stack.say(f"  ✓ {what} ({time.monotonic() - began:.1f} s)")


async def _end(stack: Stack) -> None:
    """Stop in order: who uses something ends before it."""
    for kind in ("orchestrator-", "agent-", "Kafka"):
        await end_all([part for part in stack.parts if part.name.startswith(kind)], _STOP_S)
