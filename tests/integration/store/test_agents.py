"""Agents as a call finds them: active ones only, with their secrets open, or a clear reason."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from asyncpg import Connection
from cryptography.fernet import Fernet

from orchestrator.domain.agent import AgentStatus, AuthType
from orchestrator.domain.errors import Misconfigured, Unavailable
from orchestrator.domain.retry import RetryPolicy
from orchestrator.store import agents
from orchestrator.store.agents import NewAgent
from orchestrator.store.sealing import Sealer
from tests.integration.store.stage import until_locked

pytestmark = pytest.mark.integration

NEW = NewAgent(
    "a", "http://127.0.0.1:9", None, AuthType.BEARER, {"token": "t"}, 1000, RetryPolicy(2, 10, 20)
)


def a_sealer() -> Sealer:
    return Sealer([Fernet.generate_key().decode()])


async def test_an_active_agent_comes_with_its_secrets_and_policy(conn: Connection) -> None:
    sealer = a_sealer()
    await agents.create(conn, sealer, NEW)

    found = await agents.get_active(conn, sealer, "a")

    assert found is not None
    assert (found.auth_config, found.retry) == ({"token": "t"}, RetryPolicy(2, 10, 20))
    assert "t'" not in repr(found)


async def test_an_agent_that_is_not_active_is_not_found_and_its_name_is_free(
    conn: Connection,
) -> None:
    sealer = a_sealer()
    made = await agents.create(conn, sealer, NEW)
    await agents.update(conn, sealer, made.id, {"status": AgentStatus.INACTIVE})
    assert await agents.get_active(conn, sealer, "a") is None

    await agents.delete(conn, made.id)
    again = await agents.create(conn, sealer, replace(NEW, url="http://127.0.0.1:8"))

    found = await agents.get_active(conn, sealer, "a")
    assert found is not None
    assert found.id == again.id


async def test_what_two_change_at_once_is_kept_of_both(
    conn: Connection, connect: Callable[[], Awaitable[Connection]]
) -> None:
    sealer = a_sealer()
    made = await agents.create(conn, sealer, NEW)
    first, second = await connect(), await connect()
    held = first.transaction()
    await held.start()
    await agents.update(first, sealer, made.id, {"url": "http://127.0.0.1:8"})

    waits = asyncio.create_task(agents.update(second, sealer, made.id, {"description": "new"}))
    await until_locked(conn)
    await held.commit()
    changed = await waits

    assert (changed.url, changed.description) == ("http://127.0.0.1:8", "new")


async def test_secrets_of_another_key_say_how_to_share_it(conn: Connection) -> None:
    made = await agents.create(conn, a_sealer(), NEW)

    # A step fails with the reason; waiting for the key would look like an absent database.
    with pytest.raises(Misconfigured, match="ORCHESTRATOR_SECRET_KEYS"):
        await agents.get_active(conn, a_sealer(), "a")
    with pytest.raises(Unavailable, match="ORCHESTRATOR_SECRET_KEYS"):
        await agents.opened(conn, a_sealer(), made.id)
