"""Executing a workflow: who may, what the answer is, and the Idempotency-Key."""

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.api.throttle import Throttle
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store import workflows
from orchestrator.store.creation import Created, NewRun
from tests.integration.api.conftest import Api, step

RUN = re.compile(r"run-[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


async def test_a_run_is_created_pending_and_shown_as_stored(api: Api) -> None:
    workflow = await api.workflow("data-processing-pipeline")

    run = await api.run(workflow["id"], data_source="https://api.example.com/data", format="json")

    found = await api("GET", f"/api/v1/runs/{run['run_id']}")
    assert found == run | {"partition": found["partition"], "owner": None}
    assert 0 <= found["partition"] < api.deps.partitions
    assert RUN.fullmatch(run["id"])
    assert run["created_at"] == run["updated_at"]
    assert run | {"created_at": 0, "updated_at": 0} == {
        "id": run["id"],
        "run_id": run["id"],
        "workflow_id": "wf-data-processing-pipeline-001",
        "workflow_name": "data-processing-pipeline",
        "workflow_definition_id": workflow["id"],
        "workflow_version": 1,
        "status": "PENDING",
        "input_data": {"data_source": "https://api.example.com/data", "format": "json"},
        "triggered_by": "system",
        "created_at": 0,
        "updated_at": 0,
        "completed_at": None,
        "cancelled_at": None,
        "cancelled_by": None,
        "error_message": None,
    }


async def test_input_is_kept_as_it_came(api: Api) -> None:
    workflow = await api.workflow()
    text = (
        '{"z":1,"a":{"y":[1.0,1e22,123456789012345678901234567890],"b":"\\u00e9 \\ud83d\\ude00"}}'
    )
    path = f"/api/v1/workflows/{workflow['id']}/execute"

    made = await api("POST", path, raw=f'{{"input_data": {text}}}'.encode(), status=202)
    got = await api("GET", f"/api/v1/runs/{made['id']}")

    assert (
        json.dumps(made["input_data"])
        == json.dumps(got["input_data"])
        == json.dumps(json.loads(text))
    )


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"{}", ("body.input_data", "missing")),
        (b'{"input_data": null}', ("body.input_data", "dict_type")),
        (b'{"input_data": []}', ("body.input_data", "dict_type")),
        (b"[]", ("body", "dict_type")),
        (b"", ("body", "missing")),
        (b"null", ("body", "dict_type")),
        (b"{", ("body", "json_invalid")),
        (b'{"input_data": {"a": "\\u0000"}}', ("body.input_data.a", "value_error")),
        (b'{"input_data": {"a": NaN}}', ("body.input_data.a", "finite_number")),
        (b'{"input_data": {"a": "\\udc00"}}', ("body.input_data.a", "string_unicode")),
        (b'{"input_data": {"a": -1e400}}', ("body.input_data.a", "finite_number")),
    ],
)
async def test_bad_input_is_422_and_named(api: Api, raw: bytes, fault: tuple[str, str]) -> None:
    workflow = await api.workflow()

    path = f"/api/v1/workflows/{workflow['id']}/execute"

    assert await api.faults("POST", path, raw=raw) == [fault]
    assert (await api("GET", "/api/v1/runs"))["total"] == 0


async def test_a_workflow_that_is_not_active_is_refused_at_once(api: Api) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}"
    body: dict[str, Any] = {"input_data": {}}
    await api.run(workflow["id"])

    await api("PUT", path, {"status": "inactive"})
    inactive = await api.refused("POST", f"{path}/execute", body)
    await api("PUT", path, {"status": "active"})
    await api("POST", f"{path}/execute", body, 202)
    await api("DELETE", path)
    deleted = await api.refused("POST", f"{path}/execute", body)

    assert inactive == deleted == f"Workflow '{workflow['id']}' is not active"


async def test_an_agent_that_is_no_longer_active_is_named(api: Api) -> None:
    agent = await api.agent()
    workflow = await api.workflow()
    await api("DELETE", f"/api/v1/agents/{agent['id']}")

    path = f"/api/v1/workflows/{workflow['id']}/execute"

    sentence = await api.refused("POST", path, {"input_data": {}})
    assert sentence == "Agent 'worker' not found or inactive"


async def test_the_agents_asked_about_are_those_of_the_version_of_the_moment(api: Api) -> None:
    first, other = await api.agent(), await api.agent("other")
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}"
    await api.run(workflow["id"])  # what it needs is known from now on

    await api("PUT", path, {"steps": {"first": step("first", agent_name="other")}})
    await api("DELETE", f"/api/v1/agents/{first['id']}")
    await api.run(workflow["id"])  # needs the other agent only
    await api("PUT", f"/api/v1/agents/{other['id']}", {"status": "inactive"})
    sentence = await api.refused("POST", f"{path}/execute", {"input_data": {}})
    await api("PUT", f"/api/v1/agents/{other['id']}", {"status": "active"})
    await api.run(workflow["id"])

    assert sentence == "Agent 'other' not found or inactive"


async def test_a_run_is_pinned_to_the_version_of_its_moment(api: Api) -> None:
    workflow = await api.workflow()
    before = await api.run(workflow["id"])
    await api("PUT", f"/api/v1/workflows/{workflow['id']}", {"steps": {"first": step("first")}})
    after = await api.run(workflow["id"])

    shown = await api("GET", f"/api/v1/runs/{before['id']}")

    assert (shown["workflow_version"], after["workflow_version"]) == (1, 2)
    assert shown["workflow_definition_id"] == after["workflow_definition_id"] == workflow["id"]
    assert len(await api("GET", f"/api/v1/runs/{before['id']}/steps")) == 2
    assert len(await api("GET", f"/api/v1/runs/{after['id']}/steps")) == 1


async def test_what_was_executed_before_is_executed_without_asking(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = await api.workflow()
    looks = 0
    state = workflows.state

    async def counted(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        return await state(*args)

    monkeypatch.setattr(workflows, "state", counted)
    path = f"/api/v1/workflows/{workflow['id']}/execute"
    body = b'{"input_data": {}}'

    await api.run(workflow["id"])
    first = looks
    answers = await asyncio.gather(*(api.client.post(path, data=body) for _ in range(40)))

    assert {answer.status for answer in answers} == {202}
    assert (first, looks) == (2, 2)  # the version, and its agents, once
    assert (await api("GET", "/api/v1/runs"))["total"] == 41


async def test_a_change_is_seen_by_whoever_asks_after_it(api: Api) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}"
    body = b'{"input_data": {}}'
    late: list[int] = []

    async def execute() -> None:
        changed = done.is_set()
        status = (await api.client.post(f"{path}/execute", data=body)).status
        if changed:
            late.append(status)

    async def ask() -> None:
        while len(late) < 10:
            await execute()

    done = asyncio.Event()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(ask())
        await execute()
        await api("PUT", path, {"status": "inactive"})
        done.set()

    assert set(late) == {400}


async def test_the_same_key_and_body_give_the_same_run(api: Api) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"
    key = {"Idempotency-Key": "order 66"}
    spaced, dense = b'{"input_data": {"a": 1}}', b'{"input_data":{"a":1}}'

    first = await api("POST", path, raw=spaced, status=202, headers=key)
    await api.set_run(first["id"], status="RUNNING")
    again = await api("POST", path, raw=dense, status=202, headers=key)
    await api("PUT", f"/api/v1/workflows/{workflow['id']}", {"status": "inactive"})
    inactive = await api("POST", path, raw=spaced, status=202, headers=key)

    assert first == again == inactive
    assert (await api("GET", "/api/v1/runs"))["total"] == 1
    assert [str(run_id) for run_id in api.nudged] == [first["id"].removeprefix("run-")]


async def test_the_same_key_with_another_body_is_422(api: Api) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"
    key = {"Idempotency-Key": "k"}
    await api("POST", path, {"input_data": {}}, 202, headers=key)

    faults = await api.faults("POST", path, {"input_data": {"a": 1}}, headers=key)

    assert faults == [("body", "value_error")]


async def test_keys_belong_to_their_workflow(api: Api) -> None:
    key = {"Idempotency-Key": "k"}
    ids = set()
    for name in "ab":
        workflow = await api.workflow(name)
        path = f"/api/v1/workflows/{workflow['id']}/execute"
        ids.add((await api("POST", path, {"input_data": {}}, 202, headers=key))["id"])

    assert len(ids) == 2


async def test_of_requests_at_once_with_one_key_one_creates(api: Api) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"
    body, key = b'{"input_data": {}}', {"Idempotency-Key": "k"}

    answers = await asyncio.gather(
        *(api.client.post(path, data=body, headers=key) for _ in range(8))
    )

    assert {answer.status for answer in answers} == {202}
    assert len({(await answer.json())["id"] for answer in answers}) == 1
    assert len(api.nudged) == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ü", "a\tb"])
async def test_a_strange_key_is_422(api: Api, key: str) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"

    answer = await api.client.post(
        path, data=b'{"input_data": {}}', headers={"Idempotency-Key": key}
    )

    assert answer.status == 422
    [fault] = (await answer.json())["detail"]
    assert fault["loc"] == ["header", "Idempotency-Key"]


async def test_unknown_fields_are_named_in_warnings(api: Api) -> None:
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"

    run = await api("POST", path, {"input_data": {"whatever": 1}, "input": {}}, 202)

    assert run["warnings"] == ["Unknown field 'input' was ignored; did you mean 'input_data'?"]


async def test_more_at_once_than_are_answered_soon_are_429_at_once(
    make_api: Callable[..., Any],
) -> None:
    throttle = Throttle()
    under_way = asyncio.Event()
    go_on = asyncio.Event()

    async def execute(_: NewRun, __: Any) -> Created:
        if throttle.under_way == throttle.limit:
            under_way.set()
        await go_on.wait()
        return Created(RunId(uuid4()), Partition(0), datetime.now(UTC), "wf")

    api: Api = await make_api(throttle=throttle, execute=execute)
    throttle.limit = 3
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"
    going = [asyncio.create_task(api("POST", path, {"input_data": {}}, 202)) for _ in range(3)]
    await asyncio.wait_for(under_way.wait(), 10)

    answer = await api.client.post(path, json={"input_data": {}})

    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    assert (await answer.json())["detail"] == "Too many executions at once: try again later"
    go_on.set()
    await asyncio.gather(*going)
    assert throttle.under_way == 0


async def test_too_large_an_input_is_413(make_api: Callable[..., Any]) -> None:
    api: Api = await make_api(max_body_bytes=2000)
    workflow = await api.workflow()
    path = f"/api/v1/workflows/{workflow['id']}/execute"

    sentence = await api.refused("POST", path, {"input_data": {"a": "x" * 3000}}, 413)

    assert sentence == "Request body is too large"
