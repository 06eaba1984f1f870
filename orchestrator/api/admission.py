"""Whether a workflow may be executed now: looked up once for all who ask at the same moment.

Nothing is cached over time: whoever asks gets what a look found that began after they asked, so
that a status changed before, by any process, is seen. Under load many requests share one look.
"""

import asyncio
from dataclasses import dataclass

from asyncpg import Pool
from asyncpg.pool import PoolConnectionProxy

from orchestrator.domain import workflow
from orchestrator.domain.errors import Refused, Unavailable
from orchestrator.domain.workflow import WorkflowId, WorkflowStatus
from orchestrator.store import agents, pool, workflows
from orchestrator.store.definitions import Definitions
from orchestrator.store.workflows import WorkflowRow


@dataclass(slots=True)
class _Looks:
    """The look under way at one workflow, and the one that begins when it is over."""

    turn: asyncio.Lock
    next: asyncio.Future[WorkflowRow] | None = None
    users: int = 0


class Admission:
    """Answers for one process."""

    def __init__(self, connections: Pool, definitions: Definitions) -> None:
        self._pool = connections
        self._definitions = definitions
        self._looks: dict[WorkflowId, _Looks] = {}

    async def admit(self, workflow_id: WorkflowId) -> WorkflowRow:
        """Return the live version that a new run gets; raise `NotFound` or `Refused`."""
        looks = self._looks.get(workflow_id)
        if looks is None:
            looks = self._looks[workflow_id] = _Looks(asyncio.Lock())
        looks.users += 1
        try:
            if looks.next is not None:
                return await asyncio.shield(looks.next)  # one who stops waiting stops no other
            return await self._lead(workflow_id, looks)
        finally:
            looks.users -= 1
            if not looks.users:
                del self._looks[workflow_id]

    async def _lead(self, workflow_id: WorkflowId, looks: _Looks) -> WorkflowRow:
        """Look when the look under way is over, for all who came in the meantime."""
        mine = looks.next = asyncio.get_running_loop().create_future()
        try:
            async with looks.turn:
                looks.next = None  # who comes now came after this look began
                row = await self._look(workflow_id)
        except BaseException as error:
            looks.next = None if looks.next is mine else looks.next
            left = isinstance(error, Exception)
            mine.set_exception(error if left else Unavailable("The request was interrupted"))
            mine.exception()  # nobody else may have been waiting
            raise
        mine.set_result(row)
        return row

    async def _look(self, workflow_id: WorkflowId) -> WorkflowRow:
        async with pool.acquire(self._pool) as conn:
            row = await workflows.get(conn, workflow_id)
            if row.archived:
                raise Refused(
                    f"Workflow '{row.id}' is version {row.version}, which was replaced:"
                    f" execute '{row.lifelong_id}'"
                )
            if row.status is not WorkflowStatus.ACTIVE:
                raise Refused(f"Workflow '{row.id}' is not active")
            await self._require_agents(conn, row)
        return row

    async def _require_agents(self, conn: PoolConnectionProxy, row: WorkflowRow) -> None:
        definition = await self._definitions.get(conn, row.lifelong_id, row.version)
        names = workflow.agent_names(definition)
        active = await agents.active_names(conn, list(names))
        for name in names:
            if name not in active:
                raise Refused(workflow.agent_missing(name))
