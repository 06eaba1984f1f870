"""The application on a real database, and a client that holds every answer to the document."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from asyncpg import Pool
from cryptography.fernet import Fernet
from jsonschema_rs import Draft202012Validator
from pytest_aiohttp import AiohttpClient

from orchestrator.actors.watch import Watch
from orchestrator.agents.client import A2AClient
from orchestrator.api import openapi
from orchestrator.api.app import make_app
from orchestrator.api.deps import Check, Deps
from orchestrator.api.throttle import Throttle
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store import pool as pools
from orchestrator.store import runs
from orchestrator.store.creation import Created, Creator, NewRun
from orchestrator.store.definitions import Definitions
from orchestrator.store.sealing import Sealer
from orchestrator.telemetry.metrics import Metrics

DOCUMENT = openapi.document()
ENVELOPE = {"error", "detail", "status_code", "timestamp", "path", "request_id"}
# Quicker than a database of its own for each test.
_EMPTY = """
TRUNCATE agent, workflow, run, step_execution, run_event, task_cancellation, idempotency,
  partition_term
"""
_SENT = {"Step", "RetryConfig"}  # what users send may hold more than is documented


def _strict() -> dict[str, Any]:
    """Return the document's schemas, with no field allowed that is not documented."""
    schemas: dict[str, Any] = json.loads(json.dumps(DOCUMENT["components"]["schemas"]))
    for name, schema in schemas.items():
        if name not in _SENT and "properties" in schema:
            schema["additionalProperties"] = False
    return schemas


_STRICT = _strict()
_PATHS = [
    (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), described)
    for path, described in DOCUMENT["paths"].items()
]


@dataclass(slots=True)
class Api:
    """Sends requests; what an answer must be is what the document says."""

    client: TestClient[web.Request, web.Application]
    pool: Pool
    deps: Deps
    nudged: list[RunId] = field(default_factory=list)
    last: ClientResponse | None = None

    async def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        status: int = 200,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request; return the JSON answer, which must have this status."""
        data = json.dumps(body).encode() if body is not None else raw
        answer = await self.client.request(method, path, data=data, headers=headers)
        text = await answer.text()
        self.last = answer
        assert answer.status == status, text
        value = json.loads(text)
        check(method, path, status, value)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        if status >= 400:
            assert value.keys() >= ENVELOPE
            assert value["status_code"] == status
            assert value["request_id"] == answer.headers["X-Request-ID"]
            assert value["path"] == path.partition("?")[0]
        return value

    async def refused(self, method: str, path: str, body: Any = None, status: int = 400) -> str:
        """Send a request that is refused; return the sentence."""
        return str((await self(method, path, body, status))["detail"])

    async def faults(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Send a request with wrong fields; return where and what, as (field, type)."""
        said = await self(method, path, body, 422, **more)
        assert [e["type"] for e in said["errors"]] == [d["type"] for d in said["detail"]]
        return [(".".join(map(str, d["loc"])), d["type"]) for d in said["detail"]]

    async def agent(self, name: Any = "worker", **fields: Any) -> dict[str, Any]:
        body = {"name": name, "url": "http://127.0.0.1:9"} | fields
        return dict(await self("POST", "/api/v1/agents", body, 201))

    async def workflow(self, name: str = "flow", **fields: Any) -> dict[str, Any]:
        """Create a workflow of two steps, and its agent if there is none."""
        if not (await self("GET", "/api/v1/agents?name=worker"))["items"]:
            await self.agent()
        return dict(await self("POST", "/api/v1/workflows", definition(name) | fields, 201))

    async def run(self, workflow_id: str, **input_data: Any) -> dict[str, Any]:
        path = f"/api/v1/workflows/{workflow_id}/execute"
        return dict(await self("POST", path, {"input_data": input_data}, 202))

    async def set_run(self, run_id: str, **columns: Any) -> None:
        """Put a run into a state that only an engine would bring it to."""
        changes = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 2))
        async with self.pool.acquire() as conn:
            await conn.execute(
                f"UPDATE run SET {changes} WHERE id = $1",  # noqa: S608 - our own column names
                UUID(run_id.removeprefix("run-")),
                *columns.values(),
            )


def step(step_id: str, next_step: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a step's definition."""
    mapping = {"source": "${workflow.input.source}"}
    base = {"id": step_id, "agent_name": "worker", "next_step": next_step, "input_mapping": mapping}
    return base | fields


def definition(name: str = "flow") -> dict[str, Any]:
    """Return the body that creates a workflow of two steps."""
    steps = {"first": step("first", "second"), "second": step("second")}
    return {"name": name, "start_step": "first", "steps": steps}


def check(method: str, path: str, status: int, value: Any) -> None:
    """Assert that an answer is one that the document describes; it knows no unknown paths."""
    plain = path.partition("?")[0]
    for pattern, described in _PATHS:
        if pattern.fullmatch(plain) and method.lower() in described:
            responses = described[method.lower()]["responses"]
            assert str(status) in responses, f"{method} {path} does not document {status}"
            schema = responses[str(status)]["content"]["application/json"]["schema"]
            whole = {"allOf": [schema], "components": {"schemas": _STRICT}}
            Draft202012Validator(whole).validate(value)


@pytest.fixture
async def make_api(
    module_dsn: str, aiohttp_client: AiohttpClient
) -> AsyncIterator[Callable[..., Any]]:
    """Build the application on an empty database; fields of `Deps` may be given."""
    async with AsyncExitStack() as stack:
        pool = await pools.connect_pool(module_dsn, 5)
        stack.callback(pool.terminate)
        async with pools.acquire(pool) as conn:
            await conn.execute(_EMPTY)
        connect = lambda: pools.connect(module_dsn, application_name="creation")  # noqa: E731
        creator = await stack.enter_async_context(Creator(connect, 16))
        client = await stack.enter_async_context(A2AClient(max_answer_bytes=10_000, max_calls=5))
        nudged: list[RunId] = []

        async def statuses(ids: Any) -> Any:
            async with pools.acquire(pool) as conn:
                return {run_id: s for run_id, (s, _) in (await runs.state(conn, ids)).items()}

        watch = Watch(statuses, 2)
        looking = asyncio.ensure_future(watch.run())
        stack.callback(looking.cancel)

        async def execute(new: NewRun, _: Any) -> Created:
            return await creator.create(new)

        async def no_lags() -> dict[Partition, int]:
            return {}

        async def feed_check() -> Check:
            return Check("disabled", "The embedded feed is used")

        deps = Deps(
            pool=pool,
            sealer=Sealer([Fernet.generate_key().decode()]),
            definitions=Definitions(timedelta(hours=1)),
            metrics=Metrics("1.0.0"),
            throttle=Throttle(),
            execute=execute,
            nudge=lambda hint: nudged.append(hint.run_id),
            feed="embedded",
            lags=no_lags,
            agents_changed=lambda: None,
            agent_health=client.health,
            agent_view=client.view,
            agent_probe=client.probe,
            push_accepted=lambda *_: False,
            pushed=lambda _: None,
            wait_ended=watch.ended,
            feed_check=feed_check,
            draining=lambda: False,
            started=time.monotonic(),
            partitions=16,
            step_timeout=timedelta(hours=1),
            max_body_bytes=100_000,
        )

        async def make(**changes: Any) -> Api:
            changed = replace(deps, **changes)
            return Api(await aiohttp_client(make_app(changed)), pool, changed, nudged)

        yield make


@pytest.fixture
async def api(make_api: Callable[..., Any]) -> Api:
    """Build the application with its defaults."""
    made: Api = await make_api()
    return made
