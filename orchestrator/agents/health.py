"""Asks an agent's `/health`, and whether it shows a card."""

import asyncio
import time

from aiohttp import hdrs
from multidict import CIMultiDict

from orchestrator.agents import auth, card, failures
from orchestrator.agents.auth import Credentials
from orchestrator.agents.cards import Cards
from orchestrator.agents.exchange import Exchange, Request
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent
from orchestrator.domain.record import record

_MAX_BYTES = 1024 * 1024


@record
class Health:
    """`status_code` and `response_time_ms` are None when nothing was answered."""

    healthy: bool
    status_code: int | None
    response_time_ms: float | None
    error: str | None
    card_reachable: bool


async def check(agent: Agent, exchange: Exchange, cards: Cards) -> Health:
    """Return how the agent is; never raises for what the agent does."""
    try:
        credentials = auth.credentials(agent)
    except auth.Unusable as why:
        return Health(
            healthy=False,
            status_code=None,
            response_time_ms=None,
            error=f"Agent '{agent.name}' {why}",
            card_reachable=False,
        )
    async with asyncio.TaskGroup() as group:
        shown = group.create_task(cards.reachable(agent, credentials))
        asked = group.create_task(_ask(agent, credentials, exchange))
    status, took_ms, error = asked.result()
    return Health(
        healthy=error is None,
        status_code=status,
        response_time_ms=took_ms,
        error=None if error is None else failures.presentable(error, credentials),
        card_reachable=shown.result(),
    )


async def _ask(
    agent: Agent, credentials: Credentials, exchange: Exchange
) -> tuple[int | None, float | None, str | None]:
    """Return status, milliseconds, and what is wrong (None: nothing)."""
    headers = CIMultiDict(credentials.headers)
    headers[hdrs.ACCEPT] = "*/*"
    headers[hdrs.ACCEPT_ENCODING] = "identity"
    started = time.perf_counter()
    try:
        url = card.below(card.base(agent.url), "/health")
        answer = await exchange(
            Request("GET", url, tuple(headers.items()), agent.timeout.total_seconds(), _MAX_BYTES)
        )
    except failures.TimedOut as fault:
        return None, None, fault.said  # the guide's sentence, word for word
    except Fault as fault:
        return None, None, fault.sentence(agent.name)
    took_ms = round((time.perf_counter() - started) * 1000, 2)
    if answer.status in failures.SUCCESS:
        return answer.status, took_ms, None
    unhealthy = failures.of_status(answer.status, answer.headers, "")
    return answer.status, took_ms, unhealthy.sentence(agent.name)
