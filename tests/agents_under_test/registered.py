"""Agents as they would be registered, for tests that need no database."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from orchestrator.domain.agent import (
    Agent,
    AgentId,
    AgentStatus,
    Asked,
    AuthType,
    Output,
    TaskRef,
)
from orchestrator.domain.retry import RetryPolicy

_NUMBERS = itertools.count(1)


def agent_at(url: str, **more: Any) -> Agent:
    """Return an agent with an id of its own."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    values: dict[str, Any] = {
        "id": AgentId(UUID(int=next(_NUMBERS))),
        "name": "reader",
        "url": url,
        "description": None,
        "auth_type": AuthType.NONE,
        "auth_config": {},
        "timeout": timedelta(seconds=10),
        "retry": RetryPolicy(),
        "status": AgentStatus.ACTIVE,
        "created_at": now,
        "updated_at": now,
    }
    return Agent(**(values | more))


def value_of(answer: Output | TaskRef | Asked) -> Any:
    """Return the value of an answer that must be a result."""
    assert isinstance(answer, Output), answer
    return answer.value
