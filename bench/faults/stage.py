"""The stage of a scenario: a database and a topic of its own, orchestrators, agents, clients."""

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
from cryptography.fernet import Fernet

from bench.faults.evidence import Ledger
from bench.faults.process import Process
from bench.stack import child
from bench.stack.failure import StackFailed
from bench.stack.kafka import START_S, Kafka
from bench.stack.part import Part, end_all
from bench.stack.postgres import Postgres
from bench.stack.proxy import Proxy
from bench.stack.small_disk import small_disk

STEPS = ("extract", "transform", "load")
PARTITIONS = 16
MAX_RETRIES = 3
_REQUEST_S = 20.0
_AGENT_START_S = 30.0
_DATABASE_S = 60.0
_TICK = 0.05
_STEP_TIMEOUT_MS = 600_000
_SMALL = {"max_wal_size": "64MB", "min_wal_size": "32MB"}


@dataclass(slots=True)
class Services:
    """What all scenarios share."""

    postgres: Postgres
    kafka: Kafka
    folder: Path


@asynccontextmanager
async def services() -> AsyncIterator[Services]:
    """Start PostgreSQL and Kafka for as long as the block lasts; in the main thread."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-faults-")))
        kafka = Kafka(folder / "kafka")
        kafka.spawn()
        stack.callback(kafka.kill)
        postgres = await stack.enter_async_context(Postgres())
        await kafka_ready(kafka)
        yield Services(postgres, kafka, folder)


async def kafka_ready(kafka: Kafka) -> None:
    """Return once a broker that was spawned takes clients."""
    deadline = time.monotonic() + START_S
    while not await asyncio.to_thread(kafka.is_ready):
        if time.monotonic() > deadline:
            raise StackFailed(f"Kafka was not ready\n{child.tail(kafka.log)}")
        await asyncio.sleep(_TICK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a scenario is played on."""

    orchestrators: int = 2
    kafka: bool = True
    agents: int = 2
    agent_timeout_ms: int = 30_000
    step_timeout_ms: int = _STEP_TIMEOUT_MS
    on_unknown_outcome: str = "resend"
    settings: Mapping[str, str] = field(default_factory=dict)
    disk_mb: int | None = None  # a database of its own, on a disk of this size


@dataclass(slots=True)
class Stage:
    """What acts and clients work with."""

    services: Services
    setup: Setup
    folder: Path
    dsn: str
    topic: str
    session: aiohttp.ClientSession
    began: float = field(default_factory=time.monotonic)
    processes: list[Process] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)  # their urls
    workflow: str = ""
    ledger: Ledger = field(default_factory=Ledger)
    notes: list[str] = field(default_factory=list)

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        """Ask the scenario's database, past all proxies, as soon as it takes connections."""
        conn = await self._connected()
        try:
            return list(await conn.fetch(statement, *values))
        finally:
            await conn.close()

    async def _connected(self) -> asyncpg.Connection:
        deadline = time.monotonic() + _DATABASE_S
        while True:
            try:
                return await asyncpg.connect(self.dsn)
            except (OSError, asyncpg.PostgresError):  # it is down, or is coming up
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_TICK)

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request that has to work to the first orchestrator that is up."""
        process = next(process for process in self.processes if process.is_up)
        async with self.session.request(method, process.url + path, json=body) as answer:
            said = await answer.json()
            if not answer.ok:
                raise StackFailed(f"{method} {path}: {answer.status} {said}")
            return said

    async def all_ready(self) -> None:
        """Start those that are down; return when all serve."""
        for process in self.processes:
            if not process.look():
                process.start()
        for process in self.processes:
            await process.ready(self.session)


@asynccontextmanager
async def set_up(services: Services, setup: Setup) -> AsyncIterator[Stage]:
    """Set a stage; everything on it ends with the block."""
    name = f"s{secrets.token_hex(4)}"
    folder = services.folder / name
    folder.mkdir()
    async with AsyncExitStack() as stack:
        if setup.disk_mb is not None:
            disk = stack.enter_context(small_disk(setup.disk_mb))
            own = await stack.enter_async_context(Postgres(_SMALL, parent=disk))
            services = Services(own, services.kafka, services.folder)
        dsn = await _database(services.postgres, name)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=_REQUEST_S),
            )
        )
        stage = Stage(services, setup, folder, dsn, f"commands-{name}", session)
        settings = {
            "PARTITIONS": str(PARTITIONS),
            "SECRET_KEYS": Fernet.generate_key().decode(),
            "KAFKA_TOPIC": stage.topic,
            **({"KAFKA_BOOTSTRAP_SERVERS": services.kafka.bootstrap} if setup.kafka else {}),
            **setup.settings,
        }
        stage.agents += await _agents(stack, folder, setup.agents)
        for number in range(setup.orchestrators):
            proxy = await stack.enter_async_context(Proxy(dsn))
            process = Process(number, folder, proxy, settings)
            stack.callback(process.kill)
            stage.processes.append(process)
        stage.processes[0].start()  # alone at first: it makes the schema
        await stage.processes[0].ready(session)
        await stage.all_ready()
        await _introduce(stage)
        if setup.kafka:
            await owned(stage)
        yield stage


async def _database(postgres: Postgres, name: str) -> str:
    conn = await asyncpg.connect(postgres.dsn)
    try:
        await conn.execute(f"CREATE DATABASE {name}")
    finally:
        await conn.close()
    parts = urlsplit(postgres.dsn)
    return urlunsplit(parts._replace(path=f"/{name}"))


async def _agents(stack: AsyncExitStack, folder: Path, count: int) -> list[str]:
    urls = []
    for number in range(count):
        log = folder / f"agent-{number}.log"
        command = [sys.executable, "-m", "bench.faults.agent"]
        process = child.spawn(command, log, piped=True, folder=Path.cwd())
        part = Part(f"agent-{number}", process, log)
        stack.push_async_callback(end_all, [part], 5.0)
        urls.append(f"http://127.0.0.1:{await part.first_line(_AGENT_START_S)}")
    return urls


async def _introduce(stage: Stage) -> None:
    """Register the agents, and a workflow whose steps take turns on them."""
    setup = stage.setup
    for number, url in enumerate(stage.agents):
        await stage.call(
            "POST",
            "/api/v1/agents",
            {
                "name": f"recorder-{number}",
                "url": url,
                "timeout_ms": setup.agent_timeout_ms,
                "retry_config": {
                    "max_retries": MAX_RETRIES,
                    "initial_delay_ms": 100,
                    "max_delay_ms": 1_000,
                },
            },
        )
    steps = {}
    for index, step in enumerate(STEPS):
        steps[step] = {
            "id": step,
            "agent_name": f"recorder-{index % setup.agents}",
            "next_step": STEPS[index + 1] if index + 1 < len(STEPS) else None,
            "timeout_ms": setup.step_timeout_ms,
            "on_unknown_outcome": setup.on_unknown_outcome,
            "input_mapping": {
                "behave": f"${{workflow.input.behave.{step}}}",
                "delay_ms": "${workflow.input.delay_ms}",
                "mode": "${workflow.input.mode}",
                "before": f"${{{STEPS[index - 1]}.output.nonce}}" if index else None,
            },
        }
    body = {"name": "faults", "start_step": STEPS[0], "steps": steps}
    stage.workflow = str((await stage.call("POST", "/api/v1/workflows", body))["id"])


async def owned(stage: Stage, within: float = 60.0) -> None:
    """Return once living processes own all partitions."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        (row,) = await stage.sql(
            "SELECT count(*) FROM partition_term t WHERE NOT t.released AND"
            " NOT pg_try_advisory_xact_lock_shared(owner_lock(t.owner))"
        )
        if row[0] == PARTITIONS:
            return
        await asyncio.sleep(4 * _TICK)
    raise StackFailed("the partitions were not owned in time")
