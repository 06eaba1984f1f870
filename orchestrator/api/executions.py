"""Executing a workflow: the one operation that must be fast."""

import hashlib
from typing import Any

from aiohttp import web
from structlog.contextvars import bind_contextvars

from orchestrator import json_text
from orchestrator.api import answers, parse, render
from orchestrator.api.admission import Admission, Executable
from orchestrator.api.deps import DEPS, Deps
from orchestrator.api.operations import (
    INVALID,
    OVERLOADED,
    TOO_LARGE,
    UNAVAILABLE,
    WORKFLOW_ID,
    Header,
    Operation,
    ok,
    problem,
)
from orchestrator.api.runs import shown
from orchestrator.api.schemas import ExecuteRequest
from orchestrator.domain.errors import Stale, Unavailable
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import RunStatus, external_id
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import idempotency, pool
from orchestrator.store.creation import Created, NewRun
from orchestrator.store.runs import RunRow
from orchestrator.store.workflows import WorkflowState

ADMISSION: web.AppKey[Admission] = web.AppKey("ADMISSION", Admission)

_LOOKS = 5  # at a workflow that changes while it is executed
_TRIGGERED_BY = "system"  # there is no authentication yet that would know better


async def execute(request: web.Request) -> web.Response:
    with request.app[DEPS].throttle.enter():
        return await _execute(request)


async def _execute(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    workflow_id = WorkflowId(parse.uuid(request, "workflow_id"))
    key = parse.idempotency_key(request)
    parsed = await parse.body(request, ExecuteRequest)
    if key is not None:
        row = await _execute_once(request, workflow_id, key, parsed.raw)
        bind_contextvars(run_id=external_id(row.id))  # which run the request's log line tells of
        return render.answer(shown(row), 202, parsed.warnings)
    value = parsed.raw["input_data"]
    text = json_text.dumps(value)
    admission = request.app[ADMISSION]
    live = admission.seen(workflow_id) or await admission.look(workflow_id)
    for _ in range(_LOOKS):
        try:
            created = await deps.execute(_new_run(live, text), value)
        except Stale:
            live = await admission.look(workflow_id)
            continue
        bind_contextvars(run_id=external_id(created.id))
        return render.answer(_accepted(live.state, text, created), 202, parsed.warnings)
    raise Unavailable("The workflow is being changed again and again: try again")


async def _execute_once(
    request: web.Request, workflow_id: WorkflowId, key: str, body: dict[str, Any]
) -> RunRow:
    """Create the run of this key, or return the one that was; it was answered 202 already."""
    deps: Deps = request.app[DEPS]
    digest = hashlib.sha256(json_text.dump_bytes(body)).digest()
    async with pool.acquire(deps.pool) as conn:
        known = await idempotency.find_once(conn, workflow_id, key, digest)
    if known is not None:
        return known
    live = await request.app[ADMISSION].look(workflow_id)
    new = _new_run(live, json_text.dumps(body["input_data"]))
    async with pool.acquire(deps.pool) as conn:
        row, created_now = await idempotency.create_once(conn, new, key, digest, deps.partitions)
    if created_now:
        deps.metrics.runs_accepted.inc()
        deps.nudge(Hint(HintKind.RUN_REQUESTED, row.id, row.partition, row.seq))
    return row


def _new_run(live: Executable, text: str) -> NewRun:
    of = live.state
    return NewRun(
        of.lifelong_id, of.version, of.key, of.name, text, _TRIGGERED_BY, agents=live.agents_json
    )


def _accepted(live: WorkflowState, text: str, created: Created) -> dict[str, Any]:
    """Show the run as it was created: no need to read it back."""
    run_id = external_id(created.id)
    at = render.utc(created.created_at)
    return {
        "id": run_id,
        "run_id": run_id,
        "workflow_id": live.key,
        "workflow_name": created.workflow_name,
        "workflow_definition_id": str(live.lifelong_id),
        "workflow_version": live.version,
        "status": RunStatus.PENDING.value,
        "input_data": render.fragment(text),
        "triggered_by": _TRIGGERED_BY,
        "created_at": at,
        "updated_at": at,
        "completed_at": None,
        "cancelled_at": None,
        "cancelled_by": None,
        "error_message": None,
    }


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/api/v1/workflows/{workflow_id}/execute",
        execute,
        "executeWorkflow",
        "Workflows",
        "Execute a workflow",
        "Creates a run and returns at once; poll the run, or wait with `GET /runs/{run_id}?wait=`.",
        {
            202: ok(
                answers.Run,
                "The new run, or the first one of this Idempotency-Key.",
                leads_to={
                    "run_id": ("getRun", "listRunSteps", "listRunLogs", "cancelRun", "retryRun")
                },
            ),
            400: problem(
                "The workflow is not active, replaced, or needs an agent that is not active."
            ),
            404: problem("Workflow does not exist."),
            413: TOO_LARGE,
            422: INVALID,
            429: OVERLOADED,
            503: UNAVAILABLE,
        },
        path_params={"workflow_id": WORKFLOW_ID},
        headers={
            "Idempotency-Key": Header(
                "The same key and body give the same run for 24 hours; another body is refused.",
                255,
                r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
            )
        },
        body=ExecuteRequest,
    ),
)
