"""The operations on agents."""

from typing import Any

from aiohttp import web

from orchestrator.api import agent_answers, answers, parse, render
from orchestrator.api.agent_schemas import AgentCreate, AgentUpdate, AuthConfig
from orchestrator.api.deps import DEPS
from orchestrator.api.operations import (
    AGENT_ID,
    INVALID,
    TOO_LARGE,
    UNAVAILABLE,
    Operation,
    ok,
    problem,
)
from orchestrator.api.schemas import AgentsQuery
from orchestrator.domain.agent import AgentId, AgentStatus, AuthType, CallMode, Options, Protocol
from orchestrator.domain.retry import RetryPolicy
from orchestrator.store import agents, pool
from orchestrator.store.agents import AgentChanges, AgentFilter, AgentRow, NewAgent


async def create(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    parsed = await parse.body(request, AgentCreate)
    given = parsed.value
    new = NewAgent(
        name=given.name,
        url=given.url,
        description=given.description,
        auth_type=AuthType(given.auth_type),
        auth_config=_secrets(given.auth_config),
        timeout_ms=given.timeout_ms,
        retry=RetryPolicy(**given.retry_config.model_dump() if given.retry_config else {}),
        options=Options(
            protocol=Protocol(given.protocol),
            interface_url=given.interface_url,
            headers=given.headers or {},
            card_path=given.card_path,
            call_mode=CallMode(given.call_mode),
            push=given.push,
            max_concurrency=given.max_concurrency,
            rate_limit=given.rate_limit,
        ),
    )
    async with pool.acquire(deps.pool) as conn:
        row = await agents.create(conn, deps.sealer, new)
    return render.answer(_shown(row), 201, parsed.warnings)


async def list_all(request: web.Request) -> web.Response:
    query = parse.query(request, AgentsQuery)
    wanted = AgentFilter(
        status=None if query.status is None else AgentStatus(query.status), name=query.name
    )
    async with pool.acquire(request.app[DEPS].pool) as conn:
        rows, total = await agents.list_agents(conn, wanted, parse.page(query))
    return render.page([_shown(row) for row in rows], total, query.page, query.page_size)


async def get(request: web.Request) -> web.Response:
    agent_id = _id(request)
    async with pool.acquire(request.app[DEPS].pool) as conn:
        return render.answer(_shown(await agents.get(conn, agent_id)))


async def update(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    agent_id = _id(request)
    parsed = await parse.body(request, AgentUpdate)
    changes = _changes(parsed.value)
    async with pool.acquire(deps.pool) as conn:
        row = await agents.update(conn, deps.sealer, agent_id, changes)
    deps.agents_changed()
    return render.answer(_shown(row), warnings=parsed.warnings)


async def delete(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    agent_id = _id(request)
    async with pool.acquire(deps.pool) as conn:
        await agents.delete(conn, agent_id)
    deps.agents_changed()
    return render.answer({"message": f"Agent '{agent_id}' deleted successfully"})


async def check_health(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    agent_id = _id(request)
    async with pool.acquire(deps.pool) as conn:
        agent = await agents.opened(conn, deps.sealer, agent_id)
    found = await deps.agent_health(agent)  # no connection is held while the agent thinks
    return render.answer(
        {
            "healthy": found.healthy,
            "status_code": found.status_code,
            "response_time_ms": found.response_time_ms,
            "error": found.error,
            "card_reachable": found.card_reachable,
        }
    )


def _id(request: web.Request) -> AgentId:
    return AgentId(parse.uuid(request, "agent_id"))


def _changes(given: AgentUpdate) -> AgentChanges:
    """Return what is to change: null clears description and auth_config, else it says nothing."""
    changes = AgentChanges()
    if given.name is not None:
        changes["name"] = given.name
    if given.url is not None:
        changes["url"] = given.url
    if "description" in given.model_fields_set:
        changes["description"] = given.description
    if given.auth_type is not None:
        changes["auth_type"] = AuthType(given.auth_type)
    if "auth_config" in given.model_fields_set:
        changes["auth_config"] = _secrets(given.auth_config)
    if given.timeout_ms is not None:
        changes["timeout_ms"] = given.timeout_ms
    if given.retry_config is not None:
        changes["retry"] = given.retry_config.model_dump(exclude_unset=True)
    if options := _changed_options(given):
        changes["options"] = options
    if given.status is not None:
        changes["status"] = AgentStatus(given.status)
    return changes


def _changed_options(given: AgentUpdate) -> dict[str, Any]:
    """Return what is to change of the options: null clears what may be unset."""
    changes: dict[str, Any] = {}
    if given.protocol is not None:
        changes["protocol"] = Protocol(given.protocol)
    if given.call_mode is not None:
        changes["call_mode"] = CallMode(given.call_mode)
    if given.push is not None:
        changes["push"] = given.push
    if "headers" in given.model_fields_set:
        changes["headers"] = given.headers or {}
    for name in ("interface_url", "card_path", "max_concurrency", "rate_limit"):
        if name in given.model_fields_set:
            changes[name] = getattr(given, name)
    return changes


def _secrets(given: AuthConfig | None) -> dict[str, Any]:
    return {} if given is None else given.model_dump(exclude_none=True)


def _shown(row: AgentRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "url": row.url,
        "description": row.description,
        "auth_type": row.auth_type.value,
        "timeout_ms": row.timeout_ms,
        "retry_config": {
            "max_retries": row.max_retries,
            "initial_delay_ms": row.initial_delay_ms,
            "max_delay_ms": row.max_delay_ms,
            "backoff_multiplier": row.backoff_multiplier,
        },
        "status": row.status.value,
        "created_at": render.utc(row.created_at),
        "updated_at": render.utc(row.updated_at),
        "protocol": row.options.protocol.value,
        "interface_url": row.options.interface_url,
        "headers": dict(row.options.headers),
        "card_path": row.options.card_path,
        "call_mode": row.options.call_mode.value,
        "push": row.options.push,
        "max_concurrency": row.options.max_concurrency,
        "rate_limit": row.options.rate_limit,
        "probe": render.fragment(row.probe),
    }


_PATH = "/api/v1/agents"
_ONE = _PATH + "/{agent_id}"
_ID = {"agent_id": AGENT_ID}
_FURTHER = (
    "getAgent",
    "updateAgent",
    "checkAgentHealth",
    "getAgentCard",
    "probeAgent",
    "deleteAgent",
)
_MISSING = problem("Agent does not exist.")
_TAKEN = problem("Agent name already exists.")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        _PATH,
        create,
        "createAgent",
        "Agents",
        "Create a new agent",
        "Registers an agent. Names are unique among agents that are not deleted.",
        {
            201: ok(agent_answers.Agent, "The new agent.", leads_to={"agent_id": _FURTHER}),
            400: _TAKEN,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        body=AgentCreate,
    ),
    Operation(
        "GET",
        _PATH,
        list_all,
        "listAgents",
        "Agents",
        "List all agents",
        "One page of the agents, newest first. Deleted ones only with `status=deleted`.",
        {200: ok(agent_answers.AgentList, "The agents."), 422: INVALID, 503: UNAVAILABLE},
        query=AgentsQuery,
    ),
    Operation(
        "GET",
        _ONE,
        get,
        "getAgent",
        "Agents",
        "Get agent details",
        "One agent, also when it is deleted.",
        {
            200: ok(agent_answers.Agent, "The agent."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
    Operation(
        "PUT",
        _ONE,
        update,
        "updateAgent",
        "Agents",
        "Update an agent",
        "Only the fields given change; retry_config is merged.",
        {
            200: ok(agent_answers.Agent, "The updated agent."),
            400: _TAKEN,
            404: _MISSING,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
        body=AgentUpdate,
    ),
    Operation(
        "DELETE",
        _ONE,
        delete,
        "deleteAgent",
        "Agents",
        "Delete an agent",
        "Marks the agent as deleted: no new workflow can use it, and its name is free again.",
        {
            200: ok(answers.Message, "The agent is deleted."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
    Operation(
        "GET",
        _ONE + "/health",
        check_health,
        "checkAgentHealth",
        "Agents",
        "Check agent health",
        "Calls the agent's own /health with its authentication and timeout: 2xx is healthy.",
        {
            200: ok(agent_answers.AgentHealth, "What was found."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
)
