"""Runs under an Idempotency-Key: the same key and body give the same run, for 24 hours."""

from dataclasses import replace
from uuid import UUID

import asyncpg

from orchestrator.domain.errors import Fault, Malformed, Unavailable
from orchestrator.domain.run import RunStatus
from orchestrator.store import parts, queries
from orchestrator.store.creation import NewRun, refused_input
from orchestrator.store.pool import Conn
from orchestrator.store.runs import RunRow, run_row
from orchestrator.store.session import finds_no_part, refuses_value

SQL = queries.load("idempotency")

_TURNS = 3


async def find_once(conn: Conn, workflow_id: UUID, key: str, body_sha256: bytes) -> RunRow | None:
    """Return the run of a key as it was first answered, None for a new key.

    Raises `Malformed` if the key was used with another body.
    """
    row = await conn.fetchrow(SQL["find"], workflow_id, key)
    if row is None:
        return None
    if row["body_sha256"] != body_sha256:
        said = "Value error, this Idempotency-Key was used before with another body"
        raise Malformed(Fault(("body",), "value_error", said, {"Idempotency-Key": key}))
    return _as_created(run_row(row))


async def create_once(
    conn: Conn, new: NewRun, key: str, body_sha256: bytes, partitions: int
) -> tuple[RunRow, bool]:
    """Create a run under a key, or return the one that is; the flag says whether it was made now.

    Of several at the same time one creates it, and the others return it. Raises `Malformed` like
    `find_once`, and for an input that PostgreSQL refuses. Not to be called in a transaction.
    """
    for _ in range(_TURNS):
        made = await _create(conn, new, key, body_sha256, partitions)
        if made is not None:
            return made, True
        found = await find_once(conn, new.workflow_id, key, body_sha256)
        if found is not None:
            return found, False
    raise Unavailable("The run of this Idempotency-Key is being created or deleted: try again")


async def _create(
    conn: Conn, new: NewRun, key: str, body_sha256: bytes, partitions: int
) -> RunRow | None:
    # fmt: off
    arguments = (
        new.workflow_id, new.workflow_version, new.workflow_key, new.workflow_name, new.input,
        new.triggered_by, key, body_sha256, partitions,
    )
    # fmt: on
    try:
        try:
            row = await conn.fetchrow(SQL["create"], *arguments)
        except asyncpg.CheckViolationError as error:
            if not finds_no_part(error):
                raise
            await parts.ensure_soon(conn)
            row = await conn.fetchrow(SQL["create"], *arguments)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if refuses_value(error):
            raise refused_input(error) from error
        raise
    return None if row is None else run_row(row)


def _as_created(row: RunRow) -> RunRow:
    return replace(
        row,
        status=RunStatus.PENDING,
        seq=1,
        error_message=None,
        updated_at=row.created_at,
        completed_at=None,
        cancelled_at=None,
        cancelled_by=None,
    )
