"""The deployments that are measured: PostgreSQL, orchestrators, and Kafka where it is wanted."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from cryptography.fernet import Fernet

from bench.engine.failure import EngineFailed
from bench.stack import child
from bench.stack.kafka import Kafka
from orchestrator.store.embedded import EmbeddedPostgres

_READY_S = 60.0
_SHARED_S = 60.0
_STOP_S = 20.0
_TICK_S = 0.01
_HTTP_OK = 200


@dataclass(frozen=True, slots=True)
class Variant:
    """How the product is run; `settings` are the orchestrator's that differ from the defaults."""

    name: str
    processes: int = 1
    kafka: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment that serves; the process ids are for their CPU and memory."""

    urls: tuple[str, ...]
    orchestrators: tuple[int, ...]
    postgres: int
    dsn: str
    ready_s: float  # from the start of the (last) process until it was ready


@asynccontextmanager
async def running(
    variant: Variant,
    folder: Path,
    kafka: Kafka | None = None,
    settings: Mapping[str, object] | None = None,
) -> AsyncIterator[Deployed]:
    """Run a deployment with its data in `folder`; from the main thread."""
    async with AsyncExitStack() as exits:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        server = await exits.enter_async_context(EmbeddedPostgres(folder / "postgresql"))
        assert server.pid is not None  # noqa: S101 - it has started
        chosen: dict[str, object] = {
            "database_url": server.dsn,
            "secret_keys": Fernet.generate_key().decode(),
            "log_level": "warning",
            **(settings or {}),
        }
        if variant.kafka and kafka is not None:
            chosen |= {"kafka_bootstrap_servers": kafka.bootstrap, "kafka_topic": variant.name}
        pids, urls, ready_s = [], [], 0.0
        async with aiohttp.ClientSession() as session:
            for number in range(variant.processes):
                url, pid, ready_s = await start(exits, session, folder, number, chosen)
                urls.append(url)
                pids.append(pid)
            await _until_owned(session, urls)
        yield Deployed(tuple(urls), tuple(pids), server.pid, server.dsn, ready_s)


async def start(
    exits: AsyncExitStack,
    session: aiohttp.ClientSession,
    folder: Path,
    number: int,
    settings: Mapping[str, object],
) -> tuple[str, int, float]:
    """Start an orchestrator; return its url, its process id and the seconds until it was ready."""
    port = child.free_port()
    own = {"port": port, "data_dir": folder / f"data-{number}"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCHESTRATOR_")}
    environment |= {f"ORCHESTRATOR_{k.upper()}": str(v) for k, v in {**settings, **own}.items()}
    log = folder / f"orchestrator-{number}.log"
    began = time.monotonic()
    process = child.spawn([sys.executable, "-m", "orchestrator"], log, environment)
    exits.callback(child.end, process, _STOP_S)
    url = f"http://127.0.0.1:{port}"
    while not await _answers(session, url):
        if process.poll() is not None or time.monotonic() - began > _READY_S:
            raise EngineFailed(f"the orchestrator did not start\n{child.tail(log)}")
        await asyncio.sleep(_TICK_S)
    return url, process.pid, time.monotonic() - began


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/ready") as answer:
            return answer.status == _HTTP_OK
    except aiohttp.ClientError:
        return False


async def _until_owned(session: aiohttp.ClientSession, urls: Sequence[str]) -> None:
    """Wait until every partition has a living owner, and every process some of them."""
    ports = {url.rpartition(":")[2] for url in urls}
    deadline = time.monotonic() + _SHARED_S
    while True:
        async with session.get(f"{urls[0]}/api/v1/system/partitions") as answer:
            items = (await answer.json())["items"]
        owners = {
            item["owner"]["name"].rpartition(":")[2]
            for item in items
            if item["owner"] and item["owner"]["alive"] and not item["released"]
        }
        owned = all(item["owner"] and not item["released"] for item in items)
        if owned and owners == ports:
            return
        if time.monotonic() > deadline:
            raise EngineFailed(f"the partitions are not shared: {owners} of {ports} own some")
        await asyncio.sleep(_TICK_S)


def cpu_s(*pids: int) -> float:
    """Return the CPU seconds of processes and all their children, also those that have ended."""
    used = 0.0
    for pid in pids:
        top = psutil.Process(pid)
        times = top.cpu_times()
        used += times.user + times.system + times.children_user + times.children_system
        for each in top.children(recursive=True):
            try:
                times = each.cpu_times()
            except psutil.NoSuchProcess:
                continue
            used += times.user + times.system
    return used


def rss(*pids: int) -> int:
    """Return the bytes of memory that processes hold, without their children."""
    return sum(psutil.Process(pid).memory_info().rss for pid in pids)
