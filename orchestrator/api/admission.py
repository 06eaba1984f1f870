"""Whether a workflow may be executed now: looked up once for all who ask at the same moment.

Nothing is cached over time: whoever asks gets what a look found that began after they asked, so
that a status changed before, by any process, is seen. Under load many requests share one look.
Kept is only which agents a version needs, so that one statement tells all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from asyncpg import Pool

from orchestrator.domain import workflow
from orchestrator.domain.errors import Refused, Unavailable
from orchestrator.domain.workflow import WorkflowDefinition, WorkflowId, WorkflowStatus
from orchestrator.store import pool, workflows
from orchestrator.store.definitions import Definitions
from orchestrator.store.workflows import WorkflowState

_REMEMBERED = 1_000  # workflows; the one executed longest ago goes first
_NOTHING: tuple[None, tuple[str, ...]] = (None, ())


@dataclass(slots=True)
class _Looks:
    """The look under way at one workflow, and the one that begins when it is over."""

    turn: asyncio.Lock
    next: asyncio.Future[WorkflowState] | None = None
    users: int = 0


class Admission:
    """Answers for one process."""

    def __init__(self, connections: Pool, definitions: Definitions) -> None:
        self._pool = connections
        self._definitions = definitions
        self._looks: dict[WorkflowId, _Looks] = {}
        self._seen: OrderedDict[WorkflowId, tuple[WorkflowDefinition, Collection[str]]] = (
            OrderedDict()
        )

    async def admit(self, workflow_id: WorkflowId) -> WorkflowState:
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

    async def _lead(self, workflow_id: WorkflowId, looks: _Looks) -> WorkflowState:
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

    async def _look(self, workflow_id: WorkflowId) -> WorkflowState:
        definition, names = self._seen.get(workflow_id, _NOTHING)
        async with pool.acquire(self._pool) as conn:
            while True:
                found = await workflows.state(conn, workflow_id, list(names))
                _require_executable(found)
                newest = await self._definitions.get(conn, found.lifelong_id, found.version)
                if newest is definition:
                    break
                # Of this version it is known only now which agents to ask about.
                definition, names = newest, workflow.agent_names(newest)
        self._remember(workflow_id, newest, names)
        for name in names:
            if name not in found.active:
                raise Refused(workflow.agent_missing(name))
        return found

    def _remember(
        self, workflow_id: WorkflowId, definition: WorkflowDefinition, names: Collection[str]
    ) -> None:
        self._seen[workflow_id] = definition, names
        self._seen.move_to_end(workflow_id)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def _require_executable(found: WorkflowState) -> None:
    if found.archived:
        raise Refused(
            f"Workflow '{found.id}' is version {found.version}, which was replaced:"
            f" execute '{found.lifelong_id}'"
        )
    if found.status is not WorkflowStatus.ACTIVE:
        raise Refused(f"Workflow '{found.id}' is not active")
