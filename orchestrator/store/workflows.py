"""Workflow definitions and their versions."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import asyncpg
from asyncpg import Record

from orchestrator.domain import workflow
from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.record import record
from orchestrator.domain.workflow import WorkflowId, WorkflowStatus
from orchestrator.store import queries
from orchestrator.store.page import Page
from orchestrator.store.pool import Conn

SQL = queries.load("workflows")


@record
class WorkflowRow:
    """One version; `data` is JSON text, as it was sent."""

    id: WorkflowId
    lifelong_id: WorkflowId
    version: int
    key: str
    name: str
    description: str | None
    data: str
    status: WorkflowStatus
    created_at: datetime
    updated_at: datetime

    @property
    def archived(self) -> bool:
        """Whether a newer version has taken its place."""
        return self.id != self.lifelong_id


@record
class WorkflowState:
    """How a version stands at one moment; `active` are those agents, of some, that are active."""

    id: WorkflowId
    lifelong_id: WorkflowId
    version: int
    key: str
    name: str
    status: WorkflowStatus
    active: frozenset[str]

    @property
    def archived(self) -> bool:
        """Whether a newer version has taken its place."""
        return self.id != self.lifelong_id


@record
class NewWorkflow:
    name: str
    description: str | None
    data: str


@record
class WorkflowFilter:
    """What a list is to hold; no status: all but the deleted ones."""

    status: WorkflowStatus | None = None
    name: str | None = None


class WorkflowSort(StrEnum):
    NAME = "name"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    VERSION = "version"


_LISTS = {
    (WorkflowSort.NAME, False): SQL["by_name_asc"],
    (WorkflowSort.NAME, True): SQL["by_name_desc"],
    (WorkflowSort.CREATED_AT, False): SQL["by_created_at_asc"],
    (WorkflowSort.CREATED_AT, True): SQL["by_created_at_desc"],
    (WorkflowSort.UPDATED_AT, False): SQL["by_updated_at_asc"],
    (WorkflowSort.UPDATED_AT, True): SQL["by_updated_at_desc"],
    (WorkflowSort.VERSION, False): SQL["by_version_asc"],
    (WorkflowSort.VERSION, True): SQL["by_version_desc"],
}


async def create(conn: Conn, new: NewWorkflow) -> WorkflowRow:
    """Create a workflow under a key of its own; raise `Refused` for a taken name."""
    slug = workflow.slug(new.name)
    while True:
        number: int = await conn.fetchval(SQL["next_number"], f"wf-{slug}")
        key = workflow.key_for(slug, number)
        try:
            async with conn.transaction():
                row = await conn.fetchrow(SQL["create"], key, new.name, new.description, new.data)
        except asyncpg.UniqueViolationError as taken:
            if taken.constraint_name == "workflow_key":
                continue  # somebody else took this number a moment ago
            raise _taken(new.name) from None
        return _row(row)


async def get(conn: Conn, workflow_id: WorkflowId) -> WorkflowRow:
    """Return a version by its id, also of a deleted workflow; raise `NotFound`."""
    row = await conn.fetchrow(SQL["get"], workflow_id)
    if row is None:
        raise _missing(workflow_id)
    return _row(row)


async def state(conn: Conn, workflow_id: WorkflowId, names: Sequence[str]) -> WorkflowState:
    """Return how a version and the agents of these names stand; raise `NotFound`."""
    row = await conn.fetchrow(SQL["state"], workflow_id, names)
    if row is None:
        raise _missing(workflow_id)
    return WorkflowState(
        id=WorkflowId(row["id"]),
        lifelong_id=WorkflowId(row["lifelong_id"]),
        version=row["version"],
        key=row["key"],
        name=row["name"],
        status=WorkflowStatus(row["status"]),
        active=frozenset(row["active"]),
    )


async def list_workflows(
    conn: Conn,
    wanted: WorkflowFilter,
    page: Page,
    sort: WorkflowSort = WorkflowSort.CREATED_AT,
    *,
    descending: bool = True,
) -> tuple[list[WorkflowRow], int]:
    """Return a page of newest versions, and how many there are; ties by id in the same order."""
    filters = (wanted.status, wanted.name)
    total: int = await conn.fetchval(SQL["count"], *filters)
    rows = await conn.fetch(_LISTS[sort, descending], *filters, page.offset, page.size)
    return [_row(row) for row in rows], total


async def versions(
    conn: Conn, workflow_id: WorkflowId, page: Page
) -> tuple[list[WorkflowRow], int]:
    """Return a page of a workflow's versions, newest first, by any version's id; or `NotFound`."""
    total: int = await conn.fetchval(SQL["count_versions"], workflow_id)
    if not total:
        raise _missing(workflow_id)
    rows = await conn.fetch(SQL["versions"], workflow_id, page.offset, page.size)
    return [_row(row) for row in rows], total


async def lock(conn: Conn, workflow_id: WorkflowId) -> WorkflowRow:
    """Return a workflow's newest version, to be changed in this transaction and by nobody else.

    Raises `NotFound`, also for a deleted workflow, and `Refused` for the id of an older version.
    """
    await conn.fetchval(SQL["lock"], workflow_id)
    row = await get(conn, workflow_id)  # a new statement: it sees what the lock waited for
    if row.archived:
        raise Refused(
            f"Workflow '{row.id}' is version {row.version}, which was replaced:"
            f" use '{row.lifelong_id}'"
        )
    if row.status is WorkflowStatus.DELETED:
        raise _missing(workflow_id)
    return row


async def change(
    conn: Conn,
    row: WorkflowRow,
    *,
    name: str,
    description: str | None,
    data: str,
    status: WorkflowStatus,
) -> WorkflowRow:
    """Give a locked workflow these values: as a new version if its structure really changes.

    The version that is replaced gets an id of its own and becomes inactive. Raises `Refused` for a
    taken name.
    """
    try:
        if not await conn.fetchval(SQL["differs"], row.id, data):
            return _row(await conn.fetchrow(SQL["update"], row.id, name, description, status))
        await conn.execute(SQL["archive"], row.id)
        values = (row.version + 1, row.key, name, description, data, status)
        return _row(await conn.fetchrow(SQL["add_version"], row.id, *values))
    except asyncpg.UniqueViolationError:
        raise _taken(name) from None


async def delete(conn: Conn, workflow_id: WorkflowId) -> None:
    """Mark a workflow as deleted; raises what `lock` raises. Its runs go on."""
    async with conn.transaction():
        row = await lock(conn, workflow_id)
        await conn.execute(SQL["delete"], row.id)


def _missing(workflow_id: WorkflowId) -> NotFound:
    return NotFound(f"Workflow with id '{workflow_id}' not found")


def _taken(name: str) -> Refused:
    return Refused(f"Workflow name '{name}' already exists")


def _row(row: Record | None) -> WorkflowRow:
    assert row is not None  # noqa: S101 - the statement returns the row it read or wrote
    return WorkflowRow(
        id=WorkflowId(row["id"]),
        lifelong_id=WorkflowId(row["lifelong_id"]),
        version=row["version"],
        key=row["key"],
        name=row["name"],
        description=row["description"],
        data=row["data"],
        status=WorkflowStatus(row["status"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
