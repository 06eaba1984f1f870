"""Health, readiness, metrics, the pages, and the one envelope of all errors."""

import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import structlog

from bench.stack.proxy import Proxy
from orchestrator.api import system
from orchestrator.api.deps import Check
from orchestrator.domain.errors import Fenced, Overloaded, Stale, Unavailable
from orchestrator.domain.term import Partition
from orchestrator.store import pool as pools
from orchestrator.store import terms
from tests.integration.api.conftest import ENVELOPE, Api

MADE = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def test_health_asks_nobody(api: Api) -> None:
    await api.pool.close()

    said = await api("GET", "/health")

    assert (said["status"], said["version"], said["services"]) == ("healthy", "1.0.0", None)
    assert said["uptime_seconds"] >= 0


async def test_readiness_shows_database_and_kafka(api: Api) -> None:
    said = await api("GET", "/health/ready")

    assert said["ready"] is True
    assert said["checks"]["database"]["status"] == "healthy"
    assert said["checks"]["database"]["message"] == "Database connection active"
    assert said["checks"]["database"]["response_time_ms"] > 0
    assert said["checks"]["kafka"]["status"] == "disabled"


async def test_without_its_database_it_is_not_ready(api: Api) -> None:
    await api.pool.close()

    said = await api("GET", "/health/ready", status=503)

    assert said["ready"] is False
    assert said["checks"]["database"]["status"] == "unhealthy"
    assert said["checks"]["database"]["message"].startswith("Database connection failed: ")
    assert said["checks"]["database"]["response_time_ms"] is None
    assert api.last is not None
    assert api.last.headers["Retry-After"] == "1"


async def test_readiness_does_not_wait_for_a_database_that_hangs(
    make_api: Callable[..., Any], module_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_CHECK_TIMEOUT", 0.3)
    async with Proxy(module_dsn) as proxy:
        pool = await pools.connect_pool(proxy.dsn, 1)
        api: Api = await make_api(pool=pool)
        proxy.swallow_requests()
        began = time.monotonic()

        said = await api("GET", "/health/ready", status=503)

        assert said["checks"]["database"]["message"] == "Database connection failed: Timeout"
        assert time.monotonic() - began < 3
        pool.terminate()


async def test_without_its_database_everything_is_503(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    never_executed = await api.workflow("other")
    await api.pool.close()

    for method, path, body in (
        ("GET", "/api/v1/agents", None),
        ("POST", "/api/v1/agents", {"name": "a", "url": "http://a"}),
        ("GET", f"/api/v1/runs/{run['id']}", None),
        ("POST", f"/api/v1/runs/{run['id']}/cancel", None),
        (
            "POST",
            f"/api/v1/workflows/{never_executed['id']}/execute",
            {"input_data": {}},
        ),
    ):
        said = await api(method, path, body, 503)
        assert said["error"] == "Service Unavailable"
        assert api.last is not None
        assert api.last.headers["Retry-After"] == "1"


async def test_while_draining_it_is_not_ready_but_answers(make_api: Callable[..., Any]) -> None:
    api: Api = await make_api(draining=lambda: True)

    said = await api("GET", "/health/ready", status=503)

    assert said["checks"]["database"]["status"] == "healthy"
    assert said["detail"] == "The server is shutting down"
    await api("GET", "/api/v1/runs")


@pytest.mark.parametrize(("required", "status"), [(False, 200), (True, 503)])
async def test_kafka_away_matters_where_the_setting_says_so(
    make_api: Callable[..., Any],
    required: bool,  # noqa: FBT001 - a parameter of the test
    status: int,
) -> None:
    async def away() -> Check:
        return Check("unhealthy", "Kafka connection failed: Connection refused")

    api: Api = await make_api(feed_check=away, readiness_requires_kafka=required)

    said = await api("GET", "/health/ready", status=status)

    assert said["checks"]["kafka"]["status"] == "unhealthy"


async def test_metrics_count_every_request_and_hold_no_id(api: Api) -> None:
    agent = await api.agent()
    await api("GET", f"/api/v1/agents/{agent['id']}")
    await api("GET", "/nowhere/at/all", status=404)
    await api.client.request("PROPFIND", "/health")

    text = await (await api.client.get("/metrics")).text()

    assert re.search(r'^api_info\{version="1\.0\.0"\} 1(\.0)?$', text, re.MULTILINE)
    assert re.search(r"^api_uptime_seconds [\d.]+$", text, re.MULTILINE)
    assert re.search(r"^api_requests_total 4(\.0)?$", text, re.MULTILINE)
    assert 'route="/api/v1/agents/{agent_id}"' in text
    assert 'route="unmatched"' in text
    assert 'method="other"' in text
    assert agent["id"] not in text
    assert "nowhere" not in text
    assert "PROPFIND" not in text


async def test_metrics_count_cancelled_runs_and_show_what_never_happened(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    await api("POST", f"/api/v1/runs/{run['id']}/cancel")
    await api("POST", f"/api/v1/runs/{run['id']}/cancel", status=400)

    text = await (await api.client.get("/metrics")).text()

    assert 'orchestrator_runs_ended_total{status="CANCELLED"} 1.0' in text
    assert 'orchestrator_runs_ended_total{status="FAILED"} 0.0' in text
    assert 'orchestrator_writes_refused_total{reason="fenced"} 0.0' in text
    assert 'orchestrator_steps_total{outcome="failed"} 0.0' in text


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
async def test_pages_are_served_under_a_strict_policy(api: Api, path: str) -> None:
    answer = await api.client.get(path)

    policy = answer.headers["Content-Security-Policy"]
    assert answer.status == 200
    assert answer.content_type == "text/html"
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    for name in re.findall(r"/docs/assets/([\w.-]+)", await answer.text()):
        assert (await api.client.get(f"/docs/assets/{name}")).status == 200


async def test_assets_are_kept_by_browsers(api: Api) -> None:
    first = await api.client.get("/docs/assets/swagger-ui.css")
    etag = {"If-None-Match": first.headers["ETag"]}

    again = await api.client.get("/docs/assets/swagger-ui.css", headers=etag)

    assert first.content_type == "text/css"
    assert "max-age" in first.headers["Cache-Control"]
    assert again.status == 304
    assert (await api.client.get("/docs/assets/core.py")).status == 404


async def test_the_document_is_served(api: Api) -> None:
    document = await (await api.client.get("/openapi.json")).json()

    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize("path", ["/nope", "/api/v1", "/api/v1/agents/", "/api/v2/runs"])
async def test_an_unknown_path_is_404_in_the_envelope(api: Api, path: str) -> None:
    said = await api("GET", path, status=404)

    assert said["error"] == "Not Found"
    assert said["detail"] == f"Path '{path}' not found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/api/v1/agents", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/api/v1/runs", "GET, HEAD, OPTIONS"),
        ("GET", "/api/v1/runs/x/cancel", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("TRACE", "/", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405_with_allow(
    api: Api, method: str, path: str, allow: str
) -> None:
    said = await api(method, path, status=405)

    assert said["error"] == "Method Not Allowed"
    assert api.last is not None
    assert api.last.headers["Allow"] == allow


async def test_options_names_methods_and_allows_no_other_origin(api: Api) -> None:
    origin = {"Origin": "http://evil", "Access-Control-Request-Method": "POST"}

    answer = await api.client.options("/api/v1/agents", headers=origin)

    assert answer.status == 204
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert not any(name.startswith("Access-Control") for name in answer.headers)


async def test_head_is_get_without_a_body(api: Api) -> None:
    answer = await api.client.head("/api/v1/agents")

    assert answer.status == 200
    assert int(answer.headers["Content-Length"]) > 0
    assert await answer.read() == b""


@pytest.mark.parametrize("given", ["abc", "A-1.b:c_d", "x" * 128])
async def test_a_sane_request_id_is_echoed(api: Api, given: str) -> None:
    said = await api("GET", "/nope", status=404, headers={"X-Request-ID": given})

    assert said["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a/b", "é", "<script>"])
async def test_any_other_request_id_is_replaced(api: Api, given: str) -> None:
    said = await api("GET", "/nope", status=404, headers={"X-Request-ID": given})

    assert MADE.fullmatch(said["request_id"])


async def test_a_crash_is_500_and_says_nothing(make_api: Callable[..., Any]) -> None:
    async def crash() -> Check:
        raise ZeroDivisionError("the secret of life")

    api: Api = await make_api(feed_check=crash)

    with structlog.testing.capture_logs(
        processors=[structlog.contextvars.merge_contextvars]
    ) as lines:
        answer = await api.client.get("/health/ready")

    said = await answer.json()
    assert answer.status == 500
    assert said["detail"] == "An unexpected error occurred"
    assert said.keys() == ENVELOPE
    [line] = [line for line in lines if line["event"] == "request_crashed"]
    assert line["request_id"] == said["request_id"]


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (Overloaded("Too many executions are waiting"), 429, "Too many executions are waiting"),
        (Unavailable("Database unavailable"), 503, "Database unavailable"),
        (Stale("always"), 503, "The workflow is being changed again and again: try again"),
        (Fenced("never leaves"), 500, "An unexpected error occurred"),
    ],
)
async def test_what_execute_may_meet(
    make_api: Callable[..., Any], error: Exception, status: int, detail: str
) -> None:
    async def execute(_: Any, __: Any) -> Any:
        raise error

    api: Api = await make_api(execute=execute)
    path = f"/api/v1/workflows/{(await api.workflow())['id']}/execute"

    said = await api("POST", path, {"input_data": {}}, status)

    assert said["detail"] == detail
    assert api.last is not None
    assert ("Retry-After" in api.last.headers) is (status != 500)


async def test_partitions_say_who_owns_them_and_what_waits_there(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    number = (await api("GET", f"/api/v1/runs/{run['id']}"))["partition"]
    gone, ours = (terms.Owner(uuid4(), f"{name}:8000") for name in ("gone", "ours"))
    async with api.pool.acquire() as conn, api.pool.acquire() as session:
        await terms.ensure(conn, 16)
        await terms.claim(conn, Partition(number), ours)
        await terms.claim(conn, Partition((number + 1) % 16), gone)
        await session.execute("SELECT pg_advisory_lock(owner_lock($1))", ours.id)

        listed = await api("GET", "/api/v1/system/partitions")

    items = {item["partition"]: item for item in listed["items"]}
    assert listed["feed"] == "embedded"
    assert sorted(items) == list(range(16))
    assert items[number] == {
        "partition": number,
        "epoch": 1,
        "owner": {"id": str(ours.id), "name": "ours:8000", "alive": True},
        "released": False,
        "claimed_at": items[number]["claimed_at"],
        "pending": 1,
        "lag": None,
    }
    assert items[(number + 1) % 16]["owner"]["alive"] is False
    assert items[(number + 2) % 16]["owner"] is None
    assert (await api("GET", f"/api/v1/runs/{run['id']}"))["owner"] == "ours:8000"
