"""Registered agents. Their secrets are sealed at rest and opened only for a call."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import Any, TypedDict

import asyncpg
from asyncpg import Record

from orchestrator.domain.agent import Agent, AgentId, AgentStatus, AuthType, Options
from orchestrator.domain.errors import (
    Fault,
    Malformed,
    Misconfigured,
    NotFound,
    Refused,
    Unavailable,
)
from orchestrator.domain.record import record
from orchestrator.domain.retry import RetryPolicy
from orchestrator.store import agent_options, queries
from orchestrator.store.page import Page
from orchestrator.store.pool import Conn
from orchestrator.store.sealing import Sealer

SQL = queries.load("agents")

_NEEDED_SECRET = {AuthType.BEARER: "token", AuthType.APIKEY: "key"}


@record
class AgentRow:
    """An agent as it may be shown: without its secrets."""

    id: AgentId
    name: str
    url: str
    description: str | None
    auth_type: AuthType
    timeout_ms: int
    max_retries: int
    initial_delay_ms: int
    max_delay_ms: int
    backoff_multiplier: float
    status: AgentStatus
    created_at: datetime
    updated_at: datetime
    options: Options
    probe: str | None  # JSON text of what the last probe found


@record
class NewAgent:
    name: str
    url: str
    description: str | None
    auth_type: AuthType
    auth_config: Mapping[str, Any]
    timeout_ms: int
    retry: RetryPolicy
    options: Options = field(default_factory=Options)


class AgentChanges(TypedDict, total=False):
    """What is to change; `retry` and `options` are merged, `auth_config` replaced as a whole."""

    name: str
    url: str
    description: str | None
    auth_type: AuthType
    auth_config: Mapping[str, Any]
    timeout_ms: int
    retry: Mapping[str, Any]
    options: Mapping[str, Any]
    status: AgentStatus


@record
class AgentFilter:
    """What a list is to hold; no status: all but the deleted ones."""

    status: AgentStatus | None = None
    name: str | None = None


async def create(conn: Conn, sealer: Sealer, new: NewAgent) -> AgentRow:
    """Register an agent; raise `Refused` for a taken name, `Malformed` for a missing secret."""
    _check_secret(new.auth_type, new.auth_config)
    values: tuple[Any, ...] = (new.name, new.url, new.description, new.auth_type)
    values += (_seal(sealer, new.auth_config),)
    values += (new.timeout_ms, *_columns(new.retry), agent_options.text(new.options))
    return _row(await _unique(conn, SQL["create"], *values))


async def get(conn: Conn, agent_id: AgentId) -> AgentRow:
    """Return an agent, also a deleted one; raise `NotFound`."""
    return _row(await _fetch(conn, agent_id))


async def opened(conn: Conn, sealer: Sealer, agent_id: AgentId) -> Agent:
    """Return an agent of any status, ready to be called; raise `NotFound`, or `Unavailable`."""
    row = await _fetch(conn, agent_id)
    return _agent(row, _secrets(sealer, row["auth_sealed"]))


async def get_active(conn: Conn, sealer: Sealer, name: str) -> Agent | None:
    """Return the active agent of that name, ready to be called.

    Raises `Misconfigured` for secrets that do not open: waiting would not mend that.
    """
    row = await conn.fetchrow(SQL["get_active"], name)
    return None if row is None else _agent(row, _opened(sealer, row["auth_sealed"]))


async def active_names(conn: Conn, names: Sequence[str]) -> set[str]:
    """Return those of the names that an active agent has."""
    return {row["name"] for row in await conn.fetch(SQL["active_names"], names)}


async def list_agents(conn: Conn, wanted: AgentFilter, page: Page) -> tuple[list[AgentRow], int]:
    """Return a page of agents, newest first, and how many there are in all."""
    total: int = await conn.fetchval(SQL["count"], wanted.status, wanted.name)
    rows = await conn.fetch(SQL["list"], wanted.status, wanted.name, page.offset, page.size)
    return [_row(row) for row in rows], total


async def update(conn: Conn, sealer: Sealer, agent_id: AgentId, changes: AgentChanges) -> AgentRow:
    """Change an agent; nothing that somebody else changes at the same time is lost.

    Raises `NotFound`, also for a deleted agent; `Refused` for a taken name; `Malformed` if the
    outcome lacks the secret that its authentication needs.
    """
    async with conn.transaction():
        row = await conn.fetchrow(SQL["lock"], agent_id)
        if row is None:
            raise _missing(agent_id)
        auth_type = changes.get("auth_type", AuthType(row["auth_type"]))
        sealed: bytes | None = row["auth_sealed"]
        if "auth_config" in changes:
            _check_secret(auth_type, changes["auth_config"])
            sealed = _seal(sealer, changes["auth_config"])
        elif auth_type != row["auth_type"]:
            _check_secret(auth_type, _secrets(sealer, sealed))
        values = [changes.get(name, row[name]) for name in ("name", "url", "description")]
        values += [auth_type, sealed, changes.get("timeout_ms", row["timeout_ms"])]
        values += _columns(replace(_policy(row), **changes.get("retry", {})))
        values.append(changes.get("status", row["status"]))
        options = replace(agent_options.read(row["options"]), **changes.get("options", {}))
        values.append(agent_options.text(options))
        return _row(await _unique(conn, SQL["update"], agent_id, *values))


async def save_probe(conn: Conn, agent_id: AgentId, found: str) -> None:
    """Keep what a probe found, as JSON text; `updated_at` stays, since nobody changed the agent."""
    await conn.execute(SQL["save_probe"], agent_id, found)


async def uncancellable(conn: Conn, names: Sequence[str]) -> set[str]:
    """Return those of the active agents that a probe found to take no cancel."""
    return {row["name"] for row in await conn.fetch(SQL["uncancellable"], names)}


async def delete(conn: Conn, agent_id: AgentId) -> None:
    """Mark an agent as deleted: its name is free again; raise `NotFound`, also for the second."""
    if await conn.fetchval(SQL["delete"], agent_id) is None:
        raise _missing(agent_id)


async def _fetch(conn: Conn, agent_id: AgentId) -> Record:
    row = await conn.fetchrow(SQL["get"], agent_id)
    if row is None:
        raise _missing(agent_id)
    return row


async def _unique(conn: Conn, statement: str, *args: Any) -> Record:
    """Run a statement that writes one agent; the only thing to be unique is the name."""
    try:
        row = await conn.fetchrow(statement, *args)
    except asyncpg.UniqueViolationError:
        name = next(arg for arg in args if isinstance(arg, str))
        raise Refused(f"Agent name '{name}' already exists") from None
    assert row is not None  # noqa: S101 - it returns the row it wrote
    return row


def _missing(agent_id: AgentId) -> NotFound:
    return NotFound(f"Agent with id '{agent_id}' not found")


def _check_secret(auth_type: AuthType, auth_config: Mapping[str, Any]) -> None:
    """Raise `Malformed` if the secret is missing that this kind of authentication sends."""
    name = _NEEDED_SECRET.get(auth_type)
    if name is not None and not auth_config.get(name):
        raise Malformed(Fault(("body", "auth_config", name), "missing", "Field required"))


def _seal(sealer: Sealer, auth_config: Mapping[str, Any]) -> bytes | None:
    return sealer.seal(auth_config) if auth_config else None


def _secrets(sealer: Sealer, sealed: bytes | None) -> Mapping[str, Any]:
    """Open what was sealed; without its key a request cannot be served now, but another time."""
    try:
        return _opened(sealer, sealed)
    except Misconfigured as wrong:
        raise Unavailable(wrong.message) from wrong


def _opened(sealer: Sealer, sealed: bytes | None) -> Mapping[str, Any]:
    return {} if sealed is None else sealer.open(sealed)


def _agent(row: Record, auth_config: Mapping[str, Any]) -> Agent:
    return Agent(
        id=AgentId(row["id"]),
        name=row["name"],
        url=row["url"],
        description=row["description"],
        auth_type=AuthType(row["auth_type"]),
        auth_config=auth_config,
        timeout=timedelta(milliseconds=row["timeout_ms"]),
        retry=_policy(row),
        status=AgentStatus(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        options=agent_options.read(row["options"]),
    )


def _row(row: Record) -> AgentRow:
    return AgentRow(
        id=AgentId(row["id"]),
        name=row["name"],
        url=row["url"],
        description=row["description"],
        auth_type=AuthType(row["auth_type"]),
        timeout_ms=row["timeout_ms"],
        max_retries=row["max_retries"],
        initial_delay_ms=row["initial_delay_ms"],
        max_delay_ms=row["max_delay_ms"],
        backoff_multiplier=row["backoff_multiplier"],
        status=AgentStatus(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        options=agent_options.read(row["options"]),
        probe=row["probe"],
    )


def _policy(row: Record) -> RetryPolicy:
    return RetryPolicy(
        row["max_retries"],
        row["initial_delay_ms"],
        row["max_delay_ms"],
        row["backoff_multiplier"],
    )


def _columns(retry: RetryPolicy) -> tuple[Any, ...]:
    return (
        retry.max_retries,
        retry.initial_delay_ms,
        retry.max_delay_ms,
        retry.backoff_multiplier,
    )
