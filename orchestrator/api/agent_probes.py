"""The operations that look at agents: their cards, and what they really do."""

from datetime import UTC, datetime

from aiohttp import web

from orchestrator import json_text
from orchestrator.api import agent_answers, parse, render
from orchestrator.api.agent_schemas import ProbeRequest
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
from orchestrator.domain.agent import AgentId
from orchestrator.store import agents, pool

_DEFAULT = {"probe": True}


async def show_card(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    async with pool.acquire(deps.pool) as conn:
        agent = await agents.opened(conn, deps.sealer, _id(request))
    return render.answer(await deps.agent_view(agent))


async def probe(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    agent_id = _id(request)
    parsed = await parse.body(request, ProbeRequest, optional=True)
    given = parsed.value.input_data
    async with pool.acquire(deps.pool) as conn:
        agent = await agents.opened(conn, deps.sealer, agent_id)
    text = json_text.dumps(_DEFAULT if given is None else given)
    probed = await deps.agent_probe(agent, text)  # no connection is held meanwhile
    found = {**probed, "probed_at": render.utc(datetime.now(UTC))}
    async with pool.acquire(deps.pool) as conn:
        await agents.save_probe(conn, agent_id, json_text.dumps(found))
    return render.answer(found, warnings=parsed.warnings)


def _id(request: web.Request) -> AgentId:
    return AgentId(parse.uuid(request, "agent_id"))


_ONE = "/api/v1/agents/{agent_id}"
_ID = {"agent_id": AGENT_ID}
_MISSING = problem("Agent does not exist.")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        _ONE + "/card",
        show_card,
        "getAgentCard",
        "Agents",
        "Show an agent's card",
        "Reads the agent's card now, and says how it is understood: version, interface, skills.",
        {
            200: ok(agent_answers.AgentCard, "The card, or why it cannot be used."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
    Operation(
        "POST",
        _ONE + "/probe",
        probe,
        "probeAgent",
        "Agents",
        "Try what an agent really does",
        "Sends the agent up to four messages: whether it answers, streams, and whether its tasks"
        " can be polled, cancelled and found again. What they begin is cancelled. The agent shows"
        " the outcome as `probe` from then on.",
        {
            200: ok(agent_answers.Probe, "What was found."),
            404: _MISSING,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
        body=ProbeRequest,
        body_required=False,
    ),
)
