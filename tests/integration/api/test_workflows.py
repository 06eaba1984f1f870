"""The operations on workflow definitions, on a real database."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.api.conftest import Api, definition, step

PATH = "/api/v1/workflows"


async def test_a_workflow_is_created_and_comes_back_as_it_was_sent(api: Api) -> None:
    await api.agent()
    strange = step("first", "second", input_mapping={"z": 1, "a": {"m": [1.0, 10**30], "b": None}})
    steps = {"second": step("second"), "first": strange}
    raw = json.dumps({"steps": steps, "name": "w", "start_step": "first", "description": "d"})

    made = await api("POST", PATH, raw=raw.encode(), status=201)
    got = await api("GET", f"{PATH}/{made['id']}")

    assert got == made
    assert UUID(made["id"]).version == 7
    assert (made["name"], made["description"], made["version"]) == ("w", "d", 1)
    assert made["status"] == "active"
    expected = {"steps": steps, "start_step": "first"}
    assert json.dumps(got["workflow_data"]) == json.dumps(expected)  # the order too


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"start_step": "x"}, "Start step 'x' not found in steps"),
        ({"steps": {}}, "Workflow has no steps"),
        (
            {"steps": {"first": step("first", "gone")}},
            "Step 'first': next step 'gone' not found in steps",
        ),
        (
            {"steps": {"first": step("first", "second"), "second": step("second", "first")}},
            "Circular reference at step 'first': first -> second -> first",
        ),
        (
            {"steps": {"first": step("first"), "second": step("second")}},
            "Step 'second' is not reachable from start step 'first'",
        ),
        ({"steps": {"first": step("other")}}, "Step 'first' has another id: 'other'"),
        (
            {"steps": {"first": step("first", agent_name="NonExistentAgent")}},
            "Agent 'NonExistentAgent' not found or inactive",
        ),
    ],
)
async def test_a_wrong_structure_is_400_and_named(
    api: Api, changed: dict[str, Any], sentence: str
) -> None:
    await api.agent()

    assert await api.refused("POST", PATH, definition() | changed) == sentence


@pytest.mark.parametrize(
    "reference", ["${", "${x", "${nowhere.output.x}", "${first.output.x}", "${workflow.other.x}"]
)
async def test_a_wrong_reference_is_400_and_names_the_step(api: Api, reference: str) -> None:
    await api.agent()
    steps = {"first": step("first", input_mapping={"a": [{"b": reference}]})}

    sentence = await api.refused("POST", PATH, definition() | {"steps": steps})

    assert "Step 'first'" in sentence


async def test_an_inactive_agent_cannot_be_used(api: Api) -> None:
    agent = await api.agent()
    await api("PUT", f"/api/v1/agents/{agent['id']}", {"status": "inactive"})

    sentence = await api.refused("POST", PATH, definition())

    assert sentence == "Agent 'worker' not found or inactive"


async def test_field_faults_are_422(api: Api) -> None:
    body = {"name": "", "steps": {"s": {"id": "s", "input_mapping": []}}}

    assert await api.faults("POST", PATH, body) == [
        ("body.name", "string_too_short"),
        ("body.start_step", "missing"),
        ("body.steps.s.agent_name", "missing"),
        ("body.steps.s.input_mapping", "dict_type"),
    ]


async def test_a_name_is_taken_until_its_workflow_is_deleted(api: Api) -> None:
    workflow = await api.workflow("pipeline")

    sentence = await api.refused("POST", PATH, definition("pipeline"))
    await api("DELETE", f"{PATH}/{workflow['id']}")

    assert sentence == "Workflow name 'pipeline' already exists"
    await api.workflow("pipeline")


async def test_the_human_key_is_made_of_the_name_and_stays(api: Api) -> None:
    first = await api.workflow("Data Pipeline!")
    second = await api.workflow("data pipeline")
    await api("PUT", f"{PATH}/{first['id']}", {"name": "renamed"})

    keys = [(await api.run(w["id"]))["workflow_id"] for w in (first, second)]

    assert keys == ["wf-data-pipeline-001", "wf-data-pipeline-002"]


async def test_a_change_of_structure_makes_a_version(api: Api) -> None:
    old = await api.workflow()
    path = f"{PATH}/{old['id']}"

    new = await api("PUT", path, {"steps": {"first": step("first")}, "description": "shorter"})
    listed = await api("GET", f"{path}/versions")

    assert (new["id"], new["version"], new["description"]) == (old["id"], 2, "shorter")
    assert new["workflow_data"] == {"start_step": "first", "steps": {"first": step("first")}}
    assert new["created_at"] >= old["created_at"]
    assert [v["version"] for v in listed["items"]] == [2, 1]
    archived = listed["items"][1]
    assert archived["id"] != old["id"]
    assert archived["status"] == "inactive"
    assert archived["workflow_data"] == old["workflow_data"]
    assert await api("GET", f"{PATH}/{archived['id']}") == archived
    assert await api("GET", f"{PATH}/{archived['id']}/versions") == listed
    assert (await api("GET", PATH))["total"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"description": "other"},
        {"status": "active"},
        {"name": "other"},
        {"start_step": "first"},
        {"steps": definition()["steps"]},
        {"steps": dict(reversed(definition()["steps"].items()))},
        {"steps": None, "start_step": None},
        {},
    ],
)
async def test_nothing_else_makes_a_version(api: Api, body: dict[str, Any]) -> None:
    workflow = await api.workflow()

    changed = await api("PUT", f"{PATH}/{workflow['id']}", body)

    assert changed["version"] == 1
    assert changed["created_at"] == workflow["created_at"]


async def test_a_change_of_a_type_makes_a_version(api: Api) -> None:
    before = {"first": step("first", input_mapping={"a": 1})}
    after = {"first": step("first", input_mapping={"a": True})}
    workflow = await api.workflow(steps=before)

    assert (await api("PUT", f"{PATH}/{workflow['id']}", {"steps": after}))["version"] == 2


async def test_an_update_is_validated_as_a_whole(api: Api) -> None:
    workflow = await api.workflow()
    path = f"{PATH}/{workflow['id']}"

    sentence = await api.refused("PUT", path, {"start_step": "second"})
    unknown = {"first": step("first", agent_name="gone")}

    assert sentence == "Step 'first' is not reachable from start step 'second'"
    assert await api.refused("PUT", path, {"steps": unknown}) == (
        "Agent 'gone' not found or inactive"
    )
    assert (await api("GET", path))["version"] == 1


async def test_an_archived_version_takes_no_change(api: Api) -> None:
    live = await api.workflow()
    await api("PUT", f"{PATH}/{live['id']}", {"steps": {"first": step("first")}})
    archived = (await api("GET", f"{PATH}/{live['id']}/versions"))["items"][1]["id"]

    for method, tail, body in (
        ("PUT", "", {}),
        ("DELETE", "", None),
        ("POST", "/execute", {"input_data": {}}),
    ):
        sentence = await api.refused(method, f"{PATH}/{archived}{tail}", body)
        assert live["id"] in sentence


async def test_an_update_may_rename_within_uniqueness(api: Api) -> None:
    await api.workflow("a")
    workflow = await api.workflow("b")
    path = f"{PATH}/{workflow['id']}"

    assert await api.refused("PUT", path, {"name": "a"}) == "Workflow name 'a' already exists"
    assert (await api("PUT", path, {"name": "c"}))["name"] == "c"


async def test_a_deleted_workflow_is_shown_but_not_changed(api: Api) -> None:
    workflow = await api.workflow()
    path = f"{PATH}/{workflow['id']}"

    deleted = await api("DELETE", path)

    missing = f"Workflow with id '{workflow['id']}' not found"
    assert deleted == {"message": f"Workflow '{workflow['id']}' deleted successfully"}
    assert (await api("GET", path))["status"] == "deleted"
    assert (await api("GET", PATH))["items"] == []
    assert [w["id"] for w in (await api("GET", PATH + "?status=deleted"))["items"]] == [
        workflow["id"]
    ]
    assert await api.refused("DELETE", path, status=404) == missing
    assert await api.refused("PUT", path, {}, 404) == missing


@pytest.mark.parametrize(
    ("method", "tail", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {}),
        ("DELETE", "", None),
        ("GET", "/versions", None),
        ("POST", "/execute", {"input_data": {}}),
    ],
)
async def test_an_unknown_workflow_is_404_and_no_uuid_is_422(
    api: Api, method: str, tail: str, body: Any
) -> None:
    unknown = uuid4()

    sentence = await api.refused(method, f"{PATH}/{unknown}{tail}", body, 404)
    faults = await api.faults(method, f"{PATH}/x{tail}", body)

    assert sentence == f"Workflow with id '{unknown}' not found"
    assert faults == [("path.workflow_id", "uuid_parsing")]


async def test_the_list_sorts_by_each_field_in_each_order(api: Api) -> None:
    b, a, c = [await api.workflow(name) for name in "bac"]
    await api("PUT", f"{PATH}/{a['id']}", {"steps": {"first": step("first")}})
    await api("PUT", f"{PATH}/{b['id']}", {"description": "touched last"})

    async def names(query: str) -> str:
        return "".join(w["name"] for w in (await api("GET", f"{PATH}?{query}"))["items"])

    assert await names("") == await names("sort_by=created_at&sort_order=desc") == "acb"
    assert await names("sort_by=created_at&sort_order=asc") == "bca"
    assert await names("sort_by=name&sort_order=asc") == "abc"
    assert await names("sort_by=name") == "cba"
    assert await names("sort_by=updated_at") == "bac"
    assert await names("sort_by=version&sort_order=asc") == "bca"  # ties by id
    assert await names("sort_by=version") == "acb"
    assert await names("name=b") == "b"
    assert c["version"] == 1
    assert await api.faults("GET", f"{PATH}?sort_by=id&sort_order=up") == [
        ("query.sort_by", "literal_error"),
        ("query.sort_order", "literal_error"),
    ]


async def test_versions_are_paged(api: Api) -> None:
    workflow = await api.workflow()
    for number in range(3):
        steps = {"first": step("first", input_mapping={"n": number})}
        await api("PUT", f"{PATH}/{workflow['id']}", {"steps": steps})

    page = await api("GET", f"{PATH}/{workflow['id']}/versions?page=2&page_size=3")

    assert [v["version"] for v in page["items"]] == [1]
    assert (page["total"], page["total_pages"]) == (4, 2)


async def test_of_updates_at_once_none_is_lost(api: Api) -> None:
    workflow = await api.workflow()
    bodies = [
        json.dumps({"steps": {"first": step("first", input_mapping={"n": n})}}) for n in range(6)
    ]

    path = f"{PATH}/{workflow['id']}"
    answers = await asyncio.gather(*(api.client.put(path, data=body) for body in bodies))

    assert [answer.status for answer in answers] == [200] * 6
    versions = (await api("GET", f"{path}/versions"))["items"]
    assert [v["version"] for v in versions] == [7, 6, 5, 4, 3, 2, 1]
    assert [v["status"] for v in versions] == ["active"] + ["inactive"] * 6


async def test_unknown_fields_are_named_in_warnings(api: Api) -> None:
    made = await api.workflow(steps={"first": step("first", timeout=5)}, retries=3)

    assert made["warnings"] == [
        "Unknown field 'steps.first.timeout' was ignored; did you mean 'timeout_ms'?",
        "Unknown field 'retries' was ignored",
    ]
    assert made["workflow_data"]["steps"]["first"]["timeout"] == 5
