"""The workflow definitions that runs are pinned to, read once and kept: a version never changes."""

from collections import OrderedDict
from datetime import timedelta
from uuid import UUID

from orchestrator import json_text
from orchestrator.domain import workflow
from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.workflow import WorkflowDefinition, WorkflowId
from orchestrator.store import queries
from orchestrator.store.pool import Conn

SQL = queries.load("definitions")


class Definitions:
    """A cache of the `size` definitions used last; `default_timeout` is a step's without its own.

    The name in a definition is the one it was first read with; a rename makes no version.
    """

    def __init__(self, default_timeout: timedelta, size: int = 1000) -> None:
        self._default_timeout = default_timeout
        self._size = size
        self._kept: OrderedDict[tuple[UUID, int], WorkflowDefinition] = OrderedDict()

    async def get(self, conn: Conn, workflow_id: UUID, version: int) -> WorkflowDefinition:
        """Return a version of a workflow; raise `NotFound`, or `Refused` if it cannot be read."""
        wanted = (workflow_id, version)
        definition = self._kept.get(wanted)
        if definition is None:
            definition = await self._read(conn, workflow_id, version)
            self._kept[wanted] = definition
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(wanted)
        return definition

    def known(self, workflow_id: UUID, version: int) -> WorkflowDefinition | None:
        """Return what is kept, without asking the database."""
        return self._kept.get((workflow_id, version))

    async def _read(self, conn: Conn, workflow_id: UUID, version: int) -> WorkflowDefinition:
        row = await conn.fetchrow(SQL["definition"], workflow_id, version)
        if row is None:
            raise NotFound(f"Workflow with id '{workflow_id}' has no version {version}")
        data = json_text.loads(row["data"])
        if not isinstance(data, dict):
            raise Refused(f"The data of workflow '{row['key']}' is no object")
        return workflow.parse(
            WorkflowId(workflow_id), version, row["key"], row["name"], data, self._default_timeout
        )
