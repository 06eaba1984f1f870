"""Whether a workflow may be executed now.

A run is created by a statement that makes nothing unless the version is still the newest, and it
and its agents are active. So nobody has to ask before; what is asked is only which version that is,
and which agents it calls, when a process first executes it, and again when the statement refused.
"""

from collections import OrderedDict

from asyncpg import Pool

from orchestrator import json_text
from orchestrator.domain import workflow
from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.record import record
from orchestrator.domain.workflow import WorkflowId, WorkflowStatus
from orchestrator.store import pool, workflows
from orchestrator.store.definitions import Definitions
from orchestrator.store.workflows import WorkflowState

_REMEMBERED = 1_000  # workflows; the one executed longest ago goes first


@record
class Executable:
    """A version that could be executed when it was looked at, and the names of its agents."""

    state: WorkflowState
    agents: tuple[str, ...]
    agents_json: str


class Admission:
    """Answers for one process."""

    def __init__(self, connections: Pool, definitions: Definitions) -> None:
        self._pool = connections
        self._definitions = definitions
        self._seen: OrderedDict[WorkflowId, Executable] = OrderedDict()

    def seen(self, workflow_id: WorkflowId) -> Executable | None:
        """Return what the last look found, which may be over by now."""
        found = self._seen.get(workflow_id)
        if found is not None:
            self._seen.move_to_end(workflow_id)
        return found

    async def look(self, workflow_id: WorkflowId) -> Executable:
        """Return the version that a new run gets now; raise `NotFound` or `Refused`."""
        try:
            executable = self._seen[workflow_id] = await self._look(workflow_id)
        except (NotFound, Refused):
            self._seen.pop(workflow_id, None)
            raise
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return executable

    async def _look(self, workflow_id: WorkflowId) -> Executable:
        before = self._seen.get(workflow_id)
        names = () if before is None else before.agents
        async with pool.acquire(self._pool) as conn:
            while True:
                found = await workflows.state(conn, workflow_id, names)
                _require_executable(found)
                newest = await self._definitions.get(conn, found.lifelong_id, found.version)
                needed = tuple(workflow.agent_names(newest))
                if needed == names:
                    break
                names = needed  # only now it is known which agents to ask about
        for name in names:
            if name not in found.active:
                raise Refused(workflow.agent_missing(name))
        return Executable(found, names, json_text.dumps(names))


def _require_executable(found: WorkflowState) -> None:
    if found.archived:
        raise Refused(
            f"Workflow '{found.id}' is version {found.version}, which was replaced:"
            f" execute '{found.lifelong_id}'"
        )
    if found.status is not WorkflowStatus.ACTIVE:
        raise Refused(f"Workflow '{found.id}' is not active")
