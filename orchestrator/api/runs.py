"""The operations on runs."""

from typing import Any

from aiohttp import web
from structlog.contextvars import bind_contextvars

from orchestrator.api import answers, cursors, history, parse, problems, render
from orchestrator.api.deps import DEPS
from orchestrator.api.middleware import REQUEST_ID
from orchestrator.api.operations import (
    INVALID,
    RUN_ID,
    TOO_LARGE,
    UNAVAILABLE,
    Answer,
    Operation,
    ok,
    problem,
)
from orchestrator.api.questions import shown_question
from orchestrator.api.schemas import CancelRequest, PageQuery, RetryRequest, RunQuery, RunsQuery
from orchestrator.domain.agent import Cancellation
from orchestrator.domain.errors import NotFound
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import RunId, RunStatus, external_id, parse_external_id
from orchestrator.domain.workflow import WorkflowId
from orchestrator.store import history as stored_history
from orchestrator.store import pool, run_lists, runs
from orchestrator.store.history import StepRow
from orchestrator.store.run_lists import RunFilter, RunSort
from orchestrator.store.runs import RunRow


async def list_all(request: web.Request) -> web.Response:
    query = parse.query(request, RunsQuery)
    cursor = cursors.read(query)
    definition_id = query.workflow_definition_id
    wanted = RunFilter(
        status=None if query.status is None else RunStatus(query.status),
        workflow_key=query.workflow_id,
        workflow_id=None if definition_id is None else WorkflowId(definition_id),
        created_after=query.created_after,
        created_before=query.created_before,
    )
    async with pool.acquire(request.app[DEPS].pool) as conn:
        listed = await run_lists.list_runs(
            conn,
            wanted,
            parse.page(query),
            sort=RunSort(query.sort_by),
            descending=query.sort_order == "desc",
            after=cursor.place if cursor else None,
        )
    number = cursor.page if cursor else query.page
    more = listed.next and cursors.write(query, listed.next, number + 1)
    items = [shown(row) for row in listed.rows]
    return render.page(items, listed.total, number, query.page_size, next_cursor=more)


async def get(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    run_id = path_id(request)
    seconds = parse.query(request, RunQuery).wait
    async with pool.acquire(deps.pool) as conn:
        row, owner = await runs.get_with_owner(conn, run_id)
    if seconds and not row.status.ended:
        await deps.wait_ended(run_id, seconds)  # no connection is held meanwhile
        async with pool.acquire(deps.pool) as conn:
            row, owner = await runs.get_with_owner(conn, run_id)
    return render.answer({**shown(row), "partition": row.partition, "owner": owner})


async def steps(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    run_id = path_id(request)
    async with pool.acquire(deps.pool) as conn:
        rows = await stored_history.steps(conn, deps.definitions, run_id)
    return render.answer([_shown_step(row) for row in rows])


async def retry(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    run_id = path_id(request)
    parsed = await parse.body(request, RetryRequest, optional=True)
    async with pool.acquire(deps.pool) as conn:
        row = await runs.retry(conn, run_id)
    deps.nudge(Hint(HintKind.RETRY_REQUESTED, row.id, row.partition, row.seq))
    return render.answer(shown(row), 202, parsed.warnings)


async def cancel(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    run_id = path_id(request)
    parsed = await parse.body(request, CancelRequest, optional=True)
    async with pool.acquire(deps.pool) as conn:
        row = await runs.cancel(conn, run_id, parsed.value.reason or None)
    deps.metrics.run_ended(row.status.value)  # decided in the database: no actor tells of it
    deps.nudge(Hint(HintKind.CANCEL_REQUESTED, row.id, row.partition, row.seq))
    return render.answer(shown(row), warnings=parsed.warnings)


async def logs(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    run_id = path_id(request)
    query = parse.query(request, PageQuery)
    async with pool.acquire(deps.pool) as conn:
        if deps.logs_endpoint == "placeholder":
            await runs.get(conn, run_id)
            return _placeholder(request, run_id)
        rows, total = await stored_history.history(conn, run_id, parse.page(query))
    items = [history.shown(row) for row in rows]
    return render.page(items, total, query.page, query.page_size)


def shown(row: RunRow) -> dict[str, Any]:
    """Return a run as users see it."""
    run_id = external_id(row.id)
    return {
        "id": run_id,
        "run_id": run_id,
        "workflow_id": row.workflow_key,
        "workflow_name": row.workflow_name,
        "workflow_definition_id": str(row.workflow_id),
        "workflow_version": row.workflow_version,
        "status": row.status.value,
        "input_data": render.fragment(row.input),
        "triggered_by": row.triggered_by,
        "created_at": render.utc(row.created_at),
        "updated_at": render.utc(row.updated_at),
        "completed_at": render.maybe_utc(row.completed_at),
        "cancelled_at": render.maybe_utc(row.cancelled_at),
        "cancelled_by": row.cancelled_by,
        "error_message": row.error_message,
    }


def _shown_step(row: StepRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "run_id": external_id(row.run_id),
        "step_id": row.step_id,
        "step_name": row.step_id,
        "agent_name": row.agent_name,
        "status": row.status.value,
        "attempt": row.attempt,
        "input_data": render.fragment(row.input),
        "output_data": render.fragment(row.output),
        "started_at": render.maybe_utc(row.started_at),
        "completed_at": render.maybe_utc(row.completed_at),
        "error_message": row.error_message,
        "waiting_for": None if row.question is None else row.question.waiting_for.value,
        "question": None if row.question is None else shown_question(row.question),
        "cancel": _shown_cancel(row.cancel),
        "artifacts": render.fragment(row.artifacts),
    }


def _shown_cancel(outcome: Cancellation | None) -> str | None:
    # A call that was cut off before it named a task leaves nothing to reach the agent by.
    shown = Cancellation.UNREACHABLE if outcome is Cancellation.TASK_UNKNOWN else outcome
    return None if shown is None else shown.value


def path_id(request: web.Request) -> RunId:
    """Read the path's run id; whatever is none names no run."""
    text = request.match_info["run_id"]
    run_id = parse_external_id(text)
    if run_id is None:
        raise NotFound(f"Run with id '{text}' not found")
    bind_contextvars(run_id=text)  # for the request's log lines
    return run_id


def _placeholder(request: web.Request, run_id: RunId) -> web.Response:
    detail = {
        "message": "Log retrieval not yet implemented",
        "run_id": external_id(run_id),
        "note": "This endpoint will be implemented in a future release to integrate with a logging"
        " system",
    }
    return problems.problem(request, request[REQUEST_ID], 501, detail)


_PATH = "/api/v1/runs"
_ONE = _PATH + "/{run_id}"
_ID = {"run_id": RUN_ID}
_MISSING = problem("Run does not exist.")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        _PATH,
        list_all,
        "listRuns",
        "Runs",
        "List all runs",
        "One page of the runs, by its number or from a cursor on.",
        {200: ok(answers.RunList, "The runs."), 422: INVALID, 503: UNAVAILABLE},
        query=RunsQuery,
    ),
    Operation(
        "GET",
        _ONE,
        get,
        "getRun",
        "Runs",
        "Get run details",
        "One run; with `wait`, as soon as it has ended or the seconds are over.",
        {200: ok(answers.RunDetails, "The run."), 404: _MISSING, 422: INVALID, 503: UNAVAILABLE},
        path_params=_ID,
        query=RunQuery,
    ),
    Operation(
        "GET",
        _ONE + "/steps",
        steps,
        "listRunSteps",
        "Runs",
        "Get step executions",
        "One entry a step, ordered by start, then position in the workflow.",
        {
            200: ok(answers.StepExecution, "The steps.", many=True),
            404: _MISSING,
            503: UNAVAILABLE,
        },
        path_params=_ID,
    ),
    Operation(
        "POST",
        _ONE + "/retry",
        retry,
        "retryRun",
        "Runs",
        "Retry a failed run",
        "A FAILED or CANCELLED run goes on at the step that did not complete; completed steps are"
        " not called again.",
        {
            202: ok(answers.Run, "The run, PENDING again."),
            400: problem("The run is not FAILED or CANCELLED."),
            404: _MISSING,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
        body=RetryRequest,
        body_required=False,
    ),
    Operation(
        "POST",
        _ONE + "/cancel",
        cancel,
        "cancelRun",
        "Runs",
        "Cancel a running workflow",
        "The run is CANCELLED when this returns, and no step starts after it.",
        {
            200: ok(answers.Run, "The cancelled run."),
            400: problem("The run is not PENDING or RUNNING."),
            404: _MISSING,
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params=_ID,
        body=CancelRequest,
        body_required=False,
    ),
    Operation(
        "GET",
        _ONE + "/logs",
        logs,
        "listRunLogs",
        "Runs",
        "Get run logs",
        "The run's history, in order.",
        {
            200: ok(answers.HistoryList, "The history."),
            404: _MISSING,
            422: INVALID,
            501: Answer("Switched off by the setting.", answers.NotImplementedProblem),
            503: UNAVAILABLE,
        },
        path_params=_ID,
        query=PageQuery,
    ),
)
