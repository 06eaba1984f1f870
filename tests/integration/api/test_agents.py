"""The operations on agents, on a real database."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from orchestrator.domain.agent import Agent
from tests.integration.api.conftest import Api, step

PATH = "/api/v1/agents"
SECRET = "hunter2-hunter2"  # noqa: S105 - to be found nowhere
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_an_agent_is_created_with_defaults(api: Api) -> None:
    agent = await api("POST", PATH, {"name": "a", "url": "http://a:8080"}, 201)

    assert UUID(agent.pop("id")).version == 7
    assert TIME.fullmatch(agent["created_at"])
    assert agent.pop("created_at") == agent.pop("updated_at")
    assert agent == {
        "name": "a",
        "url": "http://a:8080",
        "description": None,
        "auth_type": "none",
        "timeout_ms": 30000,
        "retry_config": {
            "max_retries": 3,
            "initial_delay_ms": 1000,
            "max_delay_ms": 30000,
            "backoff_multiplier": 2.0,
        },
        "status": "active",
        "protocol": "auto",
        "interface_url": None,
        "headers": {},
        "card_path": None,
        "call_mode": "auto",
        "push": False,
        "max_concurrency": None,
        "rate_limit": None,
        "probe": None,
    }


async def test_how_an_agent_is_talked_to_can_be_set_changed_and_cleared(api: Api) -> None:
    given = {
        "protocol": "1.0-rest",
        "interface_url": "https://proxy/a",
        "headers": {"X-Tenant": "blue"},
        "card_path": "/card.json",
        "call_mode": "wait",
        "push": True,
        "max_concurrency": 3,
        "rate_limit": 0.5,
    }
    agent = await api.agent("a", **given)
    assert {name: agent[name] for name in given} == given

    path = f"{PATH}/{agent['id']}"
    changed = await api("PUT", path, {"call_mode": "poll", "headers": None, "rate_limit": None})
    merged = given | {"call_mode": "poll", "headers": {}, "rate_limit": None}
    assert {name: changed[name] for name in given} == merged

    cleared = await api("PUT", path, dict.fromkeys(given))
    kept = {"protocol": "1.0-rest", "call_mode": "poll", "push": True, "headers": {}}
    assert {name: cleared[name] for name in given} == dict.fromkeys(given) | kept


async def test_the_guides_validation_error_word_for_word(api: Api) -> None:
    said = await api("POST", PATH, {"url": ""}, 422)

    assert said["detail"] == [
        {"type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {}},
        {
            "type": "string_too_short",
            "loc": ["body", "url"],
            "msg": "String should have at least 1 character",
            "input": "",
        },
    ]
    assert said["errors"] == [
        {"field": "name", "message": "Field required", "type": "missing"},
        {
            "field": "url",
            "message": "String should have at least 1 character",
            "type": "string_too_short",
        },
    ]
    assert said["error"] == "Unprocessable Entity"


async def test_a_name_is_taken_until_its_agent_is_deleted(api: Api) -> None:
    agent = await api.agent("data-processor")

    sentence = await api.refused("POST", PATH, {"name": "data-processor", "url": "http://b"})
    await api("DELETE", f"{PATH}/{agent['id']}")
    again = await api.agent("data-processor")

    assert sentence == "Agent name 'data-processor' already exists"
    assert again["id"] != agent["id"]


async def test_secrets_never_come_out(api: Api) -> None:
    auth = {"auth_type": "bearer", "auth_config": {"token": SECRET}}

    agent = await api.agent("a", **auth)
    shown = [
        agent,
        await api("GET", f"{PATH}/{agent['id']}"),
        await api("GET", PATH),
        await api("PUT", f"{PATH}/{agent['id']}", {"auth_config": {"token": SECRET + "2"}}),
        await api("POST", PATH, {"name": "a", "url": "http://a"} | auth, 400),
        await api("POST", PATH, {"name": 5, "url": "x"} | auth, 422),
        await api("POST", PATH, auth, 422),
        await api("POST", PATH, [auth], 422),
        await api("POST", PATH, {"auth_config": SECRET}, 422),
        await api("POST", PATH, {"auth_config": {"token": SECRET + "\n"}}, 422),
        await api("POST", PATH, raw=f'{{"auth_config": "{SECRET}",'.encode(), status=422),
        await api("GET", f"{PATH}/{agent['id']}/health"),
    ]

    assert "hunter2" not in json.dumps(shown)
    assert not any("auth_config" in each for each in shown)
    async with api.pool.acquire() as conn:
        sealed = await conn.fetchval("SELECT auth_sealed FROM agent")
    assert b"hunter2" not in sealed


@pytest.mark.parametrize(("auth_type", "name"), [("bearer", "token"), ("apikey", "key")])
async def test_a_missing_secret_is_422_at_creation(api: Api, auth_type: str, name: str) -> None:
    body = {"name": "a", "url": "http://a", "auth_type": auth_type}
    missing = [(f"body.auth_config.{name}", "missing")]

    assert await api.faults("POST", PATH, body) == missing
    assert await api.faults("POST", PATH, body | {"auth_config": None}) == missing
    assert await api.faults("POST", PATH, body | {"auth_config": {"other": "x"}}) == missing
    await api("POST", PATH, body | {"auth_config": {name: "x"}}, 201)


async def test_a_missing_secret_is_422_after_a_merge(api: Api) -> None:
    agent = await api.agent(auth_type="bearer", auth_config={"token": SECRET})
    path = f"{PATH}/{agent['id']}"

    wrong = await api.faults("PUT", path, {"auth_type": "apikey"})
    cleared = await api.faults("PUT", path, {"auth_config": None})
    changed = await api("PUT", path, {"auth_type": "apikey", "auth_config": {"key": "k"}})

    assert wrong == [("body.auth_config.key", "missing")]
    assert cleared == [("body.auth_config.token", "missing")]
    assert changed["auth_type"] == "apikey"


async def test_an_update_changes_what_it_names(api: Api) -> None:
    agent = await api.agent(description="before", timeout_ms=5000)
    path = f"{PATH}/{agent['id']}"

    changed = await api("PUT", path, {"timeout_ms": 60000, "retry_config": {"max_retries": 5}})
    cleared = await api("PUT", path, {"description": None, "name": None, "url": None})

    expected = agent["retry_config"] | {"max_retries": 5}
    assert changed["retry_config"] == cleared["retry_config"] == expected
    assert (changed["description"], changed["timeout_ms"]) == ("before", 60000)
    assert (cleared["description"], cleared["name"]) == (None, "worker")
    assert changed["created_at"] == agent["created_at"]


async def test_an_empty_update_changes_nothing(api: Api) -> None:
    agent = await api.agent()

    changed = await api("PUT", f"{PATH}/{agent['id']}", {})

    assert changed | {"updated_at": None} == agent | {"updated_at": None}


async def test_an_update_may_rename_within_uniqueness(api: Api) -> None:
    await api.agent("a")
    agent = await api.agent("b")
    path = f"{PATH}/{agent['id']}"

    sentence = await api.refused("PUT", path, {"name": "a"})
    renamed = await api("PUT", path, {"name": "c"})

    assert sentence == "Agent name 'a' already exists"
    assert renamed["name"] == "c"


async def test_a_deleted_agent_is_shown_but_not_changed(api: Api) -> None:
    agent = await api.agent()
    path = f"{PATH}/{agent['id']}"

    deleted = await api("DELETE", path)

    assert deleted == {"message": f"Agent '{agent['id']}' deleted successfully"}
    missing = f"Agent with id '{agent['id']}' not found"
    assert (await api("GET", path))["status"] == "deleted"
    assert await api.refused("DELETE", path, status=404) == missing
    assert await api.refused("PUT", path, {"description": "x"}, 404) == missing


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("DELETE", ""), ("GET", "/health")])
async def test_an_unknown_agent_is_404_and_no_uuid_is_422(api: Api, method: str, tail: str) -> None:
    unknown = uuid4()

    sentence = await api.refused(method, f"{PATH}/{unknown}{tail}", status=404)
    faults = await api.faults(method, f"{PATH}/not-a-uuid{tail}")
    strange = await api.faults(method, f"{PATH}/{{x}}{tail}")

    assert sentence == f"Agent with id '{unknown}' not found"
    assert faults == strange == [("path.agent_id", "uuid_parsing")]


async def test_the_list_filters_and_leaves_deleted_ones_out(api: Api) -> None:
    active, inactive, deleted = [await api.agent(name) for name in "abc"]
    await api("PUT", f"{PATH}/{inactive['id']}", {"status": "inactive"})
    await api("DELETE", f"{PATH}/{deleted['id']}")

    async def names(query: str) -> list[str]:
        return [agent["name"] for agent in (await api("GET", PATH + query))["items"]]

    assert await names("") == ["b", "a"]
    assert await names("?status=active") == ["a"]
    assert await names("?status=inactive") == ["b"]
    assert await names("?status=deleted") == ["c"]
    assert await names("?name=a") == ["a"]
    assert await names("?name=A") == await names("?name=c") == []
    assert active["status"] == "active"


async def test_pages_have_totals_and_may_lie_beyond_the_end(api: Api) -> None:
    for number in range(5):
        await api.agent(f"a{number}")

    first = await api("GET", f"{PATH}?page_size=2")
    last = await api("GET", f"{PATH}?page=3&page_size=2")
    beyond = await api("GET", f"{PATH}?page=2147483647&page_size=100")

    assert [a["name"] for a in first["items"]] == ["a4", "a3"]
    assert [a["name"] for a in last["items"]] == ["a0"]
    assert (first["total"], first["page"], first["page_size"], first["total_pages"]) == (5, 1, 2, 3)
    assert beyond["items"] == []
    assert (beyond["total"], beyond["total_pages"], beyond["page"]) == (5, 1, 2147483647)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=2147483648", "page"),
        ("page=x", "page"),
        ("page_size=101", "page_size"),
        ("status=gone", "status"),
        ("name=%00", "name"),
    ],
)
async def test_a_wrong_query_is_named(api: Api, query: str, field: str) -> None:
    [(where, _)] = await api.faults("GET", f"{PATH}?{query}")

    assert where == f"query.{field}"


async def test_unknown_fields_are_named_in_warnings(api: Api) -> None:
    agent = await api.agent("a", timeout=5, retry_config={"retries": 1})

    assert agent["warnings"] == [
        "Unknown field 'timeout' was ignored; did you mean 'timeout_ms'?",
        "Unknown field 'retry_config.retries' was ignored; did you mean 'max_retries'?",
    ]
    sent_back = await api("PUT", f"{PATH}/{agent['id']}", agent)
    assert "warnings" not in sent_back


async def test_health_calls_the_agent_with_its_authentication(
    api: Api, aiohttp_server: AiohttpServer
) -> None:
    seen = []

    async def health(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(status=200 if len(seen) == 1 else 503)

    app = web.Application()
    app.router.add_get("/health", health)
    server = await aiohttp_server(app)
    auth = {"auth_type": "bearer", "auth_config": {"token": SECRET}}
    agent = await api.agent(url=str(server.make_url("")), **auth)

    healthy = await api("GET", f"{PATH}/{agent['id']}/health")
    unhealthy = await api("GET", f"{PATH}/{agent['id']}/health")

    assert seen[0] == f"Bearer {SECRET}"
    assert healthy | {"response_time_ms": None} == {
        "healthy": True,
        "status_code": 200,
        "response_time_ms": None,
        "error": None,
        "card_reachable": False,
    }
    assert healthy["response_time_ms"] > 0
    assert (unhealthy["healthy"], unhealthy["status_code"]) == (False, 503)
    assert unhealthy["error"]


async def test_health_of_an_agent_that_is_away_has_all_fields(
    api: Api, unused_tcp_port: int
) -> None:
    agent = await api.agent(url=f"http://127.0.0.1:{unused_tcp_port}")

    found = await api("GET", f"{PATH}/{agent['id']}/health")

    assert found["healthy"] is found["card_reachable"] is False
    assert found["status_code"] is found["response_time_ms"] is None
    assert found["error"]


async def test_of_agents_created_at_once_under_one_name_one_is(api: Api) -> None:
    body = json.dumps({"name": "same", "url": "http://a"})

    answers = await asyncio.gather(*(api.client.post(PATH, data=body) for _ in range(8)))

    assert sorted(answer.status for answer in answers) == [201] + [400] * 7


async def test_a_probe_is_kept_and_shown_and_warns_who_uses_the_agent(
    make_api: Callable[..., Any],
) -> None:
    probed = {
        "grade": "C",
        "version": "1.0",
        "answers": "task",
        "poll": "ok",
        "cancel": "unsupported",
        "stream": "unsupported",
        "dedupe": "no",
        "lookup": "no",
        "error": None,
    }
    given = []

    async def probe(agent: Agent, text: str) -> dict[str, Any]:
        given.append((agent.name, text))
        return probed

    api = await make_api(agent_probe=probe)
    agent = await api.agent()
    path = f"{PATH}/{agent['id']}"

    found = await api("POST", f"{path}/probe", {"input_data": {"a": 1}})
    await api("POST", f"{path}/probe")

    assert given == [("worker", '{"a":1}'), ("worker", '{"probe":true}')]
    assert found == probed | {"probed_at": found["probed_at"]}
    shown = await api("GET", path)
    assert TIME.fullmatch(shown["probe"]["probed_at"])
    assert shown["updated_at"] == agent["updated_at"]
    warning = (
        "Step 'first': agent 'worker' takes no cancel, so that its work goes on when a run is"
        " cancelled"
    )
    workflow = await api.workflow()
    assert workflow["warnings"] == [warning]
    changed = {"start_step": "second", "steps": {"second": step("second")}}
    update = await api("PUT", f"/api/v1/workflows/{workflow['id']}", changed)
    assert update["warnings"] == [warning.replace("first", "second")]


async def test_a_card_is_shown_as_understood_and_an_absent_agent_says_why(api: Api) -> None:
    agent = await api.agent(interface_url="http://127.0.0.1:9/x")

    shown = await api("GET", f"{PATH}/{agent['id']}/card")

    assert shown["interface_url"] is None
    assert "cannot be reached" in shown["error"]
    await api("GET", f"{PATH}/{uuid4()}/card", status=404)
    await api("POST", f"{PATH}/{uuid4()}/probe", status=404)
