"""Health, readiness, metrics, and who owns what."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from orchestrator.api import answers, problems
from orchestrator.api.deps import DEPS, VERSION, Check, Deps
from orchestrator.api.middleware import REQUEST_ID
from orchestrator.api.operations import UNAVAILABLE, Answer, Operation, ok
from orchestrator.api.render import answer, maybe_utc, utc
from orchestrator.domain.errors import Unavailable
from orchestrator.store import pool, terms

_CHECK_TIMEOUT = 3.0  # seconds; a probe wants an answer, not the truth in half a minute
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


async def health(request: web.Request) -> web.Response:
    return answer(
        {
            "status": "healthy",
            "timestamp": _now(),
            "version": VERSION,
            "uptime_seconds": round(time.monotonic() - request.app[DEPS].started, 2),
            "services": None,
        }
    )


async def ready(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    database, kafka = await asyncio.gather(
        _within(_check_database(deps), "Database connection failed: Timeout"),
        _within(deps.feed_check(), "Kafka connection failed: Timeout"),
    )
    reasons = []
    if deps.draining():
        reasons.append("The server is shutting down")
    if database.status != "healthy":
        reasons.append(database.message)
    if deps.readiness_requires_kafka and kafka.status == "unhealthy":
        reasons.append(kafka.message)
    state = {
        "ready": not reasons,
        "timestamp": _now(),
        "checks": {"database": asdict(database), "kafka": asdict(kafka)},
    }
    if not reasons:
        return answer(state)
    return problems.problem(request, request[REQUEST_ID], 503, "; ".join(reasons), **state)


async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=request.app[DEPS].metrics.render(), headers={"Content-Type": _EXPOSITION}
    )


async def partitions(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    async with pool.acquire(deps.pool) as conn:
        rows = await terms.overview(conn)
    lags = await deps.lags()
    items = [_shown(row, lags.get(row.partition)) for row in rows]
    return answer({"feed": deps.feed, "items": items})


def _shown(row: terms.Ownership, lag: int | None) -> dict[str, Any]:
    owner = None
    if row.owner is not None:
        owner = {"id": str(row.owner), "name": row.owner_name, "alive": row.alive}
    return {
        "partition": row.partition,
        "epoch": row.epoch,
        "owner": owner,
        "released": row.released,
        "claimed_at": maybe_utc(row.claimed_at),
        "pending": row.pending,
        "lag": lag,
    }


async def _within(check: Awaitable[Check], late: str) -> Check:
    """Return what `check` finds in time; nobody waits until its connection is put away."""
    task = asyncio.ensure_future(check)
    try:
        done, _ = await asyncio.wait((task,), timeout=_CHECK_TIMEOUT)
        return task.result() if done else Check("unhealthy", late)
    finally:
        task.cancel()


async def _check_database(deps: Deps) -> Check:
    began = time.monotonic()
    try:
        async with pool.acquire(deps.pool) as conn:
            await conn.fetchval("SELECT 1")
    except Unavailable as error:
        return Check("unhealthy", error.message)
    return Check("healthy", "Database connection active", _ms_since(began))


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 2)


def _now() -> str:
    return utc(datetime.now(UTC))


_READY: dict[int, Answer] = {
    200: ok(answers.Readiness, "Ready for requests."),
    503: Answer(
        "Not ready: the database is away, or the server is shutting down (or Kafka is away, where"
        " the setting readiness_requires_kafka says so).",
        answers.NotReady,
        headers={"Retry-After": "Seconds after which to try again."},
    ),
}
_CHECKS = "Checks the database and Kafka (`disabled` with the embedded feed)."

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/health",
        health,
        "getHealth",
        "System",
        "Basic health check",
        "Whether the process is alive; no dependency is checked.",
        {200: ok(answers.Health, "The process is alive.")},
    ),
    Operation(
        "GET", "/health/ready", ready, "getReadiness", "System", "Readiness check", _CHECKS, _READY
    ),
    Operation(
        "GET",
        "/api/v1/system/partitions",
        partitions,
        "listPartitions",
        "System",
        "Who owns which partition",
        "Runs are spread over partitions; each is owned by one process of the deployment.",
        {200: ok(answers.PartitionList, "All partitions, by number."), 503: UNAVAILABLE},
    ),
    Operation(
        "GET",
        "/metrics",
        metrics,
        "getMetrics",
        "System",
        "Prometheus metrics",
        "Metrics of this process in Prometheus' text format.",
        {200: Answer("The metrics.", None, media_type="text/plain")},
    ),
)
