"""The operations on runs, on a real database; the states that only an engine makes are seeded."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.api.conftest import Api

PATH = "/api/v1/runs"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def insert_run(api: Api, run_id: UUID, workflow_id: str, **columns: Any) -> str:
    """Insert a run whose id is not of now."""
    row = {
        "id": run_id,
        "partition": 0,
        "workflow_id": UUID(workflow_id),
        "workflow_version": 1,
        "workflow_key": "wf-flow-001",
        "workflow_name": "flow",
        "status": "PENDING",
        "seq": 1,
        "input": "{}",
        "created_at": NOW,
        "updated_at": NOW,
    } | columns
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    async with api.pool.acquire() as conn:
        statement = f"INSERT INTO run ({', '.join(row)}) VALUES ({places})"  # noqa: S608 - ours
        await conn.execute(statement, *row.values())
    return f"run-{run_id}"


UNKNOWN = [
    f"run-{UUID(int=7)}",
    "x",
    "run-x",
    str(uuid4()),
    f"RUN-{UUID(int=7)}",
    f"run-{UUID(int=10**38)}".upper(),
    "run-{}",
    "%00",
    "run-%F0%9F%98%80",
]


@pytest.mark.parametrize(
    ("method", "tail"),
    [("GET", ""), ("GET", "/steps"), ("GET", "/logs"), ("POST", "/retry"), ("POST", "/cancel")],
)
async def test_an_unknown_run_id_of_any_form_is_404(api: Api, method: str, tail: str) -> None:
    for run_id in UNKNOWN:
        answer = await api.client.request(method, f"{PATH}/{run_id}{tail}")

        said = await answer.json()
        assert answer.status == 404
        assert said["detail"].startswith("Run with id '")
        assert said["detail"].endswith("' not found")


async def test_a_cancelled_run_says_why(api: Api) -> None:
    run = await api.run((await api.workflow())["id"], a=1)
    path = f"{PATH}/{run['id']}/cancel"

    cancelled = await api("POST", path, {"reason": "Incorrect input data provided"})
    again = await api.refused("POST", path)

    assert cancelled["status"] == "CANCELLED"
    assert cancelled["error_message"] == "Cancelled: Incorrect input data provided"
    assert cancelled["cancelled_by"] == "system"
    assert cancelled["cancelled_at"] == cancelled["updated_at"]
    assert cancelled["completed_at"] is None
    assert cancelled["input_data"] == {"a": 1}
    assert cancelled.items() <= (await api("GET", f"{PATH}/{run['id']}")).items()
    assert "cannot be cancelled" in again
    assert [f"run-{run_id}" for run_id in api.nudged] == [run["id"]]


@pytest.mark.parametrize("raw", [None, b"", b" \n", b"{}", b"null", b'{"reason": null}'])
async def test_a_reason_may_be_missing(api: Api, raw: bytes | None) -> None:
    run = await api.run((await api.workflow())["id"])

    cancelled = await api("POST", f"{PATH}/{run['id']}/cancel", raw=raw)

    assert cancelled["error_message"] == "Cancelled"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"reason": 5}', ("body.reason", "string_type")),
        (b'{"reason": "\\u0000"}', ("body.reason", "value_error")),
        (b"[]", ("body", "dict_type")),
        (b"{", ("body", "json_invalid")),
    ],
)
async def test_a_wrong_reason_is_422(api: Api, raw: bytes, fault: tuple[str, str]) -> None:
    run = await api.run((await api.workflow())["id"])

    assert await api.faults("POST", f"{PATH}/{run['id']}/cancel", raw=raw) == [fault]


async def test_an_ended_run_is_retried_and_pending_again(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    path = f"{PATH}/{run['id']}"
    await api("POST", f"{path}/cancel")

    retried = await api("POST", f"{path}/retry", {}, 202)
    again = await api.refused("POST", f"{path}/retry")

    assert retried["status"] == "PENDING"
    for name in ("completed_at", "cancelled_at", "cancelled_by", "error_message"):
        assert retried[name] is None
    assert "cannot be retried" in again
    assert len(api.nudged) == 2


@pytest.mark.parametrize("raw", [None, b"", b"null", b"{}"])
async def test_the_body_of_a_retry_may_be_missing(api: Api, raw: bytes | None) -> None:
    run = await api.run((await api.workflow())["id"])
    await api.set_run(run["id"], status="FAILED", error_message="x", completed_at=NOW)

    await api("POST", f"{PATH}/{run['id']}/retry", raw=raw, status=202)


async def test_a_retry_names_what_it_cannot_do(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    await api("POST", f"{PATH}/{run['id']}/cancel", {"why": "typo"})

    retried = await api("POST", f"{PATH}/{run['id']}/retry", {"from_step": "second"}, 202)

    assert retried["warnings"] == ["Unknown field 'from_step' was ignored"]


@pytest.mark.parametrize(("action", "status"), [("cancel", 200), ("retry", 202)])
async def test_of_several_at_once_exactly_one_succeeds(api: Api, action: str, status: int) -> None:
    run = await api.run((await api.workflow())["id"])
    if action == "retry":
        await api("POST", f"{PATH}/{run['id']}/cancel")

    answers = await asyncio.gather(
        *(api.client.post(f"{PATH}/{run['id']}/{action}") for _ in range(6))
    )

    assert sorted(answer.status for answer in answers) == [status] + [400] * 5


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
async def test_an_ended_run_cannot_be_cancelled(api: Api, status: str) -> None:
    run = await api.run((await api.workflow())["id"])
    await api.set_run(run["id"], status=status)

    assert status in await api.refused("POST", f"{PATH}/{run['id']}/cancel")


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "COMPLETED"])
async def test_a_run_that_did_not_fail_cannot_be_retried(api: Api, status: str) -> None:
    run = await api.run((await api.workflow())["id"])
    await api.set_run(run["id"], status=status)

    assert status in await api.refused("POST", f"{PATH}/{run['id']}/retry")


async def test_every_step_is_shown_with_what_went_in_and_out(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    path = f"{PATH}/{run['id']}/steps"
    run_id = UUID(run["id"].removeprefix("run-"))

    before = await api("GET", path)
    async with api.pool.acquire() as conn:
        await conn.execute(
            "INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt,"
            " message_no, input, output, started_at, completed_at, artifacts)"
            " VALUES ($1, 'first', 0, 'worker', 'COMPLETED', 2, 1,"
            """ '{"z": 1, "a": 2}', '{"y": [1.0]}', $2, $2,"""
            """ '[{"artifactId": "b", "parts": []}]')""",
            run_id,
            NOW,
        )
    after = await api("GET", path)
    await api("POST", f"{PATH}/{run['id']}/cancel")
    ended = await api("GET", path)

    assert [(s["step_id"], s["step_name"], s["status"]) for s in before] == [
        ("first", "first", "PENDING"),
        ("second", "second", "PENDING"),
    ]
    assert after[0] == {
        "id": before[0]["id"],
        "run_id": run["id"],
        "step_id": "first",
        "step_name": "first",
        "agent_name": "worker",
        "status": "COMPLETED",
        "attempt": 2,
        "input_data": {"z": 1, "a": 2},
        "output_data": {"y": [1.0]},
        "started_at": "2026-01-01T00:00:00.000Z",
        "completed_at": "2026-01-01T00:00:00.000Z",
        "error_message": None,
        "waiting_for": None,
        "question": None,
        "cancel": None,
        "artifacts": [{"artifactId": "b", "parts": []}],
    }
    assert list(after[0]["input_data"]) == ["z", "a"]
    assert before[0]["id"].startswith("step-exec-")
    assert [s["status"] for s in ended] == ["COMPLETED", "SKIPPED"]


async def test_the_history_is_shown_in_order_and_paged(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    path = f"{PATH}/{run['id']}"
    await api("POST", f"{path}/cancel", {"reason": "why not"})
    await api("POST", f"{path}/retry", status=202)

    whole = await api("GET", f"{path}/logs")
    page = await api("GET", f"{path}/logs?page=2&page_size=1")

    assert [(i["seq"], i["event"], i["message"]) for i in whole["items"]] == [
        (1, "RunCreated", "Run created"),
        (2, "RunCancelled", "Cancelled: why not"),
        (3, "RunRetried", "Retry requested"),
    ]
    assert whole["items"][1]["details"] == {"reason": "why not"}
    assert page["items"] == [whole["items"][1]]
    assert (page["total"], page["total_pages"]) == (3, 3)


async def test_logs_can_be_the_guides_placeholder(make_api: Callable[..., Any]) -> None:
    api: Api = await make_api(logs_endpoint="placeholder")
    run = await api.run((await api.workflow())["id"])

    said = await api("GET", f"{PATH}/{run['id']}/logs", status=501)
    unknown = await api.refused("GET", f"{PATH}/run-{uuid4()}/logs", status=404)

    assert said["detail"] == {
        "message": "Log retrieval not yet implemented",
        "run_id": run["id"],
        "note": "This endpoint will be implemented in a future release to integrate with a logging"
        " system",
    }
    assert unknown.startswith("Run with id")


async def test_the_list_filters(api: Api) -> None:
    flow, other = [await api.workflow(name) for name in ("flow", "other")]
    runs = [await api.run(flow["id"]), await api.run(flow["id"]), await api.run(other["id"])]
    await api.set_run(runs[0]["id"], status="FAILED", completed_at=NOW, error_message="x")

    async def found(query: str) -> list[int]:
        items = (await api("GET", f"{PATH}?{query}"))["items"]
        return [[r["id"] for r in runs].index(item["id"]) for item in items]

    assert await found("") == [2, 1, 0]
    assert await found("status=FAILED") == [0]
    assert await found("status=RUNNING") == []
    assert await found("workflow_id=wf-flow-001") == [1, 0]
    assert await found("workflow_id=wf-none-001") == []
    assert await found(f"workflow_definition_id={other['id']}") == [2]
    assert await found(f"workflow_definition_id={other['id']}&workflow_id=wf-flow-001") == []
    assert await found(f"workflow_definition_id={uuid4()}") == []


async def test_dates_are_exclusive_and_exact(api: Api) -> None:
    workflow = await api.workflow()
    run = await api.run(workflow["id"])
    at = run["created_at"]
    moment = datetime.fromisoformat(at)
    before = (moment - timedelta(milliseconds=1)).isoformat()
    later = (moment + timedelta(milliseconds=1)).isoformat().replace("+", "%2B")

    async def total(query: str) -> int:
        return int((await api("GET", f"{PATH}?{query}"))["total"])

    assert await total(f"created_after={at}") == 0
    assert await total(f"created_before={at}") == 0
    assert await total(f"created_after={before}") == 1  # a bare + is understood
    assert await total(f"created_before={later}") == 1
    assert await total(f"created_after={before}&created_before={later}") == 1
    assert await total("created_after=0001-01-01") == 1
    assert await total("created_before=9999-12-31T23:59:59Z") == 1
    assert await total("created_before=1900-01-01") == 0


async def test_the_list_sorts_by_each_field_in_each_order(api: Api) -> None:
    workflow = (await api.workflow())["id"]
    a, b, c, d = [(await api.run(workflow))["id"] for _ in range(4)]
    ended = {"completed_at": NOW, "updated_at": NOW}
    await api.set_run(a, status="FAILED", **ended)
    await api.set_run(b, status="COMPLETED", **ended)
    later = NOW + timedelta(seconds=1)
    await api.set_run(c, status="COMPLETED", completed_at=later, updated_at=later)

    async def order(query: str) -> str:
        items = (await api("GET", f"{PATH}?{query}"))["items"]
        return "".join("abcd"[[a, b, c, d].index(item["id"])] for item in items)

    assert await order("sort_order=asc") == "abcd"
    assert await order("sort_by=created_at") == "dcba"
    assert await order("sort_by=updated_at") == "dcba"
    assert await order("sort_by=updated_at&sort_order=asc") == "abcd"
    assert await order("sort_by=completed_at&sort_order=asc") == "abcd"  # null comes last
    assert await order("sort_by=completed_at&sort_order=desc") == "cbad"  # also here
    assert await order("sort_by=status&sort_order=asc") == "bcad"
    assert await order("sort_by=status&sort_order=desc") == "dacb"
    assert await order("sort_by=status&sort_order=asc&page=2&page_size=3") == "d"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=failed", "status"),
        ("sort_by=id", "sort_by"),
        ("sort_order=x", "sort_order"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2024-02-30", "created_before"),
        ("workflow_definition_id=wf-1", "workflow_definition_id"),
        ("workflow_id=%00", "workflow_id"),
        ("page=99999999999999999999", "page"),
    ],
)
async def test_a_wrong_query_is_named(api: Api, query: str, field: str) -> None:
    [(where, _)] = await api.faults("GET", f"{PATH}?{query}")

    assert where == f"query.{field}"


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["created_at", "updated_at", "completed_at", "status"])
async def test_cursors_walk_a_list_as_its_pages_do(api: Api, sort: str, order: str) -> None:
    workflow = (await api.workflow())["id"]
    made = [(await api.run(workflow))["id"] for _ in range(7)]
    for number, status in enumerate(["FAILED", "COMPLETED", "COMPLETED", "RUNNING"]):
        ended = {"completed_at": NOW, "updated_at": NOW} if status != "RUNNING" else {}
        await api.set_run(made[number], status=status, **ended)
    await api("POST", f"{PATH}/{made[4]}/cancel")
    query = f"sort_by={sort}&sort_order={order}&page_size=3"

    pages = [await api("GET", f"{PATH}?{query}&page={number}") for number in (1, 2, 3)]
    walked = [await api("GET", f"{PATH}?{query}")]
    while (cursor := walked[-1]["next_cursor"]) is not None:
        walked.append(await api("GET", f"{PATH}?{query}&page=1&cursor={cursor}"))

    assert walked == pages
    assert {(page["total"], page["total_pages"]) for page in walked} == {(7, 3)}
    assert sorted(item["id"] for page in pages for item in page["items"]) == sorted(made)


async def test_a_cursor_of_another_list_or_of_nobody_is_422(api: Api) -> None:
    workflow = (await api.workflow())["id"]
    for _ in range(2):
        await api.run(workflow)
    cursor = (await api("GET", f"{PATH}?page_size=1"))["next_cursor"]
    cut = cursor[:-3]

    await api("GET", f"{PATH}?page_size=2&cursor={cursor}")  # of another size it is the same list
    for query in (
        f"cursor={cursor}&status=PENDING",
        f"cursor={cursor}&sort_order=asc",
        f"cursor={cursor}&sort_by=status",
        f"cursor={cursor}&created_after=2024-01-01",
        f"cursor={cut}",
        f"cursor={cursor}x",
        "cursor=",
        "cursor=%F0%9F%98%80",
        "cursor=e30",
        "cursor=bnVsbA",
    ):
        assert await api.faults("GET", f"{PATH}?{query}") == [("query.cursor", "value_error")], (
            query
        )


async def test_ids_that_are_no_uuidv7_are_found_too(api: Api) -> None:
    workflow = await api.workflow()
    literal = UUID("789e0123-e89b-12d3-a456-426614174000")

    run_id = await insert_run(api, literal, workflow["id"])

    assert (await api("GET", f"{PATH}/{run_id}"))["created_at"] == "2026-01-01T00:00:00.000Z"
    assert [r["id"] for r in (await api("GET", PATH))["items"]] == [run_id]
    assert (await api("POST", f"{PATH}/{run_id}/cancel"))["status"] == "CANCELLED"


async def test_a_wait_ends_with_the_run(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])

    async def wait() -> tuple[dict[str, Any], float]:
        began = time.monotonic()
        return await api("GET", f"{PATH}/{run['id']}?wait=30"), time.monotonic() - began

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    await api("POST", f"{PATH}/{run['id']}/cancel")
    shown, seconds = await waiting

    assert shown["status"] == "CANCELLED"
    assert seconds < 10


async def test_a_wait_ends_with_its_seconds(api: Api) -> None:
    run = await api.run((await api.workflow())["id"])
    began = time.monotonic()

    shown = await api("GET", f"{PATH}/{run['id']}?wait=0.2")

    assert shown["status"] == "PENDING"
    assert 0.2 <= time.monotonic() - began < 10


async def test_an_ended_run_is_not_waited_for(make_api: Callable[..., Any]) -> None:
    async def never(run_id: Any, seconds: float) -> None:
        raise AssertionError((run_id, seconds))

    api: Api = await make_api(wait_ended=never)
    run = await api.run((await api.workflow())["id"])
    await api("GET", f"{PATH}/{run['id']}?wait=0")
    await api("POST", f"{PATH}/{run['id']}/cancel")

    assert (await api("GET", f"{PATH}/{run['id']}?wait=60"))["status"] == "CANCELLED"


@pytest.mark.parametrize("wait", ["61", "-1", "x", "nan"])
async def test_a_wrong_wait_is_422(api: Api, wait: str) -> None:
    run = await api.run((await api.workflow())["id"])

    [(where, _)] = await api.faults("GET", f"{PATH}/{run['id']}?wait={wait}")

    assert where == "query.wait"
