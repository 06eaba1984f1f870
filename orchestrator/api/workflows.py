"""The operations on workflow definitions; executing one is in `executions`."""

from typing import Any
from uuid import UUID

from aiohttp import web
from asyncpg.pool import PoolConnectionProxy

from orchestrator import json_text
from orchestrator.api import answers, parse, render
from orchestrator.api.deps import DEPS, Deps
from orchestrator.api.operations import (
    ANY_VERSION_ID,
    INVALID,
    TOO_LARGE,
    UNAVAILABLE,
    WORKFLOW_ID,
    Operation,
    ok,
    problem,
)
from orchestrator.api.schemas import PageQuery, WorkflowCreate, WorkflowsQuery, WorkflowUpdate
from orchestrator.domain import workflow
from orchestrator.domain.errors import Refused
from orchestrator.domain.workflow import WorkflowId, WorkflowStatus
from orchestrator.store import agents, pool, workflows
from orchestrator.store.workflows import NewWorkflow, WorkflowFilter, WorkflowRow, WorkflowSort

_STRUCTURE = ("start_step", "steps")
_NO_ID = WorkflowId(UUID(int=0))  # a definition that is only validated belongs to no workflow yet


async def create(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    parsed = await parse.body(request, WorkflowCreate)
    given = parsed.value
    data = {name: value for name, value in parsed.raw.items() if name in _STRUCTURE}
    names = _validate(deps, given.name, data)
    async with pool.acquire(deps.pool) as conn:
        warnings = await _require_agents(conn, names)
        new = NewWorkflow(given.name, given.description, json_text.dumps(data))
        row = await workflows.create(conn, new)
    return render.answer(_shown(row), 201, parsed.warnings + warnings)


async def list_all(request: web.Request) -> web.Response:
    query = parse.query(request, WorkflowsQuery)
    wanted = WorkflowFilter(
        status=None if query.status is None else WorkflowStatus(query.status), name=query.name
    )
    async with pool.acquire(request.app[DEPS].pool) as conn:
        rows, total = await workflows.list_workflows(
            conn,
            wanted,
            parse.page(query),
            sort=WorkflowSort(query.sort_by),
            descending=query.sort_order == "desc",
        )
    return render.page([_shown(row) for row in rows], total, query.page, query.page_size)


async def get(request: web.Request) -> web.Response:
    workflow_id = _id(request)
    async with pool.acquire(request.app[DEPS].pool) as conn:
        return render.answer(_shown(await workflows.get(conn, workflow_id)))


async def update(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    workflow_id = _id(request)
    parsed = await parse.body(request, WorkflowUpdate)
    given = parsed.value
    async with pool.acquire(deps.pool) as conn, conn.transaction():
        before = await workflows.lock(conn, workflow_id)
        name = given.name if given.name is not None else before.name
        data = before.data
        warnings = list(parsed.warnings)
        if given.steps is not None or given.start_step is not None:
            merged = _merged(before.data, parsed.raw)
            data = json_text.dumps(merged)
            warnings += await _require_agents(conn, _validate(deps, name, merged))
        row = await workflows.change(
            conn,
            before,
            name=name,
            description=given.description
            if "description" in given.model_fields_set
            else before.description,
            data=data,
            status=before.status if given.status is None else WorkflowStatus(given.status),
        )
    return render.answer(_shown(row), warnings=warnings)


async def delete(request: web.Request) -> web.Response:
    workflow_id = _id(request)
    async with pool.acquire(request.app[DEPS].pool) as conn:
        await workflows.delete(conn, workflow_id)
    return render.answer({"message": f"Workflow '{workflow_id}' deleted successfully"})


async def versions(request: web.Request) -> web.Response:
    workflow_id = _id(request)
    query = parse.query(request, PageQuery)
    async with pool.acquire(request.app[DEPS].pool) as conn:
        rows, total = await workflows.versions(conn, workflow_id, parse.page(query))
    return render.page([_shown(row) for row in rows], total, query.page, query.page_size)


def _id(request: web.Request) -> WorkflowId:
    return WorkflowId(parse.uuid(request, "workflow_id"))


def _merged(stored: str, given: dict[str, Any]) -> dict[str, Any]:
    """Put what is given of the structure in the place of what is stored."""
    changed = {k: v for k, v in given.items() if k in _STRUCTURE and v is not None}
    return {**json_text.loads(stored), **changed}


def _validate(deps: Deps, name: str, data: dict[str, Any]) -> dict[str, str]:
    """Return the agents that the structure needs, by name; raise `Refused`, naming the step."""
    definition = workflow.parse(_NO_ID, 1, "", name, data, deps.step_timeout)
    workflow.validate(definition)
    return workflow.agent_names(definition)


async def _require_agents(conn: PoolConnectionProxy, names: dict[str, str]) -> list[str]:
    """Raise `Refused` for an agent that cannot be used; warn of those that take no cancel."""
    active = await agents.active_names(conn, list(names))
    for name in names:
        if name not in active:
            raise Refused(workflow.agent_missing(name))
    return [
        f"Step '{names[name]}': agent '{name}' takes no cancel, so that its work goes on when a run"
        " is cancelled"
        for name in sorted(await agents.uncancellable(conn, list(names)))
    ]


def _shown(row: WorkflowRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "description": row.description,
        "version": row.version,
        "workflow_data": render.fragment(row.data),
        "status": row.status.value,
        "created_at": render.utc(row.created_at),
        "updated_at": render.utc(row.updated_at),
    }


_PATH = "/api/v1/workflows"
_ONE = _PATH + "/{workflow_id}"
_ID = {"workflow_id": WORKFLOW_ID}
_FURTHER = (
    "executeWorkflow",
    "getWorkflow",
    "updateWorkflow",
    "listWorkflowVersions",
    "deleteWorkflow",
)
_MISSING = problem("Workflow does not exist.")
_REFUSED = problem("Validation failed: agent not found, circular reference, invalid structure …")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        _PATH,
        create,
        "createWorkflow",
        "Workflows",
        "Create a new workflow",
        "The structure is validated: agents exist and are active, no circular references, every"
        " step reachable from start_step, every `${…}` refers to the input or an earlier step.",
        {
            201: ok(answers.Workflow, "The new workflow.", leads_to={"workflow_id": _FURTHER}),
            400: _REFUSED,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        body=WorkflowCreate,
    ),
    Operation(
        "GET",
        _PATH,
        list_all,
        "listWorkflows",
        "Workflows",
        "List all workflows",
        "One page of the workflows' newest versions. Deleted ones only with `status=deleted`.",
        {200: ok(answers.WorkflowList, "The workflows."), 422: INVALID, 503: UNAVAILABLE},
        query=WorkflowsQuery,
    ),
    Operation(
        "GET",
        _ONE,
        get,
        "getWorkflow",
        "Workflows",
        "Get workflow details",
        "The newest version by the workflow's id, or an archived one by its own.",
        {
            200: ok(answers.Workflow, "The workflow."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
    Operation(
        "PUT",
        _ONE,
        update,
        "updateWorkflow",
        "Workflows",
        "Update a workflow",
        "Only the fields given change. If `steps` or `start_step` really change, a new version is"
        " made under the same id, and the one before gets an id of its own and is inactive.",
        {
            200: ok(answers.Workflow, "The updated workflow."),
            400: _REFUSED,
            404: _MISSING,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
        body=WorkflowUpdate,
    ),
    Operation(
        "DELETE",
        _ONE,
        delete,
        "deleteWorkflow",
        "Workflows",
        "Delete a workflow",
        "Marks the workflow as deleted: it takes no new executions; runs go on.",
        {
            200: ok(answers.Message, "The workflow is deleted."),
            400: problem("The id is an archived version's."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
    Operation(
        "GET",
        _ONE + "/versions",
        versions,
        "listWorkflowVersions",
        "Workflows",
        "Get workflow versions",
        "All versions, newest first.",
        {
            200: ok(answers.WorkflowList, "The versions."),
            404: _MISSING,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params={"workflow_id": ANY_VERSION_ID},
        query=PageQuery,
    ),
)
