"""An agent's card, and how this client understands it."""

from collections.abc import Mapping
from typing import Any

from orchestrator.agents import auth, card, failures
from orchestrator.agents.card import Endpoint
from orchestrator.agents.cards import Cards
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Agent, InputAs


async def look(agent: Agent, cards: Cards) -> dict[str, Any]:
    """Read the card anew; `error` says why the agent cannot be called as it says.

    Never raises for what the agent does.
    """
    credentials = auth.NONE
    url, shown, endpoint, error = None, None, None, None
    try:
        credentials = auth.credentials(agent)
        url, shown = await cards.shown(agent, credentials)
        base = card.base(agent.url)
        if shown is None:
            endpoint = card.without_card(base, agent.options)
        else:
            endpoint = card.endpoint(shown, base, agent.options)
    except auth.Unusable as why:
        error = f"Agent '{agent.name}' {why}"
    except Fault as fault:
        error = failures.presentable(fault.sentence(agent.name), credentials)
    return {
        "card_url": None if url is None else str(url),
        **_understood(endpoint),
        "skills": [] if shown is None else _skills(credentials.without_secrets(shown)),
        "card": credentials.without_secrets(shown),
        "error": error,
    }


def _understood(there: Endpoint | None) -> dict[str, Any]:
    known = ("version", "binding", "interface_url", "tenant", "streaming", "push_notifications")
    if there is None:
        return dict.fromkeys((*known, "input_as"))
    values = (
        there.dialect.VERSION,
        "JSONRPC" if there.dialect.ENVELOPED else "HTTP+JSON",
        str(there.url),
        there.tenant,
        there.streaming,
        there.push,
    )
    input_as = there.input_as(InputAs.AUTO, None).value
    return {**dict(zip(known, values, strict=True)), "input_as": input_as}


def _skills(shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = shown.get("skills")
    return [
        {
            "id": _text(skill.get("id")),
            "name": _text(skill.get("name")),
            "description": _text(skill.get("description")),
            "input_modes": _texts(skill.get("inputModes")),
        }
        for skill in (listed if isinstance(listed, list) else ())
        if isinstance(skill, dict)
    ]


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
