"""The operations on what agents ask: the inbox, and the answers."""

from typing import Any

from aiohttp import web

from orchestrator import json_text
from orchestrator.api import answers, parse, render, runs
from orchestrator.api.deps import DEPS
from orchestrator.api.operations import (
    INVALID,
    RUN_ID,
    STEP_ID,
    TOO_LARGE,
    UNAVAILABLE,
    Operation,
    ok,
    problem,
)
from orchestrator.api.questions import shown_question
from orchestrator.api.schemas import InputRequest, PageQuery
from orchestrator.domain.errors import Fault, Malformed
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import external_id, step_execution_id
from orchestrator.store import inbox as stored_inbox
from orchestrator.store import pool
from orchestrator.store import runs as stored_runs
from orchestrator.store.inbox import OpenQuestion


async def list_open(request: web.Request) -> web.Response:
    query = parse.query(request, PageQuery)
    async with pool.acquire(request.app[DEPS].pool) as conn:
        rows, total = await stored_inbox.list_open(conn, parse.page(query))
    return render.page([_shown(row) for row in rows], total, query.page, query.page_size)


async def give_input(request: web.Request) -> web.Response:
    deps = request.app[DEPS]
    run_id, step_id = runs.path_id(request), request.match_info["step_id"]
    parsed = await parse.body(request, InputRequest)
    given = parsed.value
    answer = {
        name: value
        for name, value in (("input_data", given.input_data), ("text", given.text))
        if value is not None
    }
    if not answer:
        raise Malformed(Fault(("body",), "missing", "input_data or text is required", parsed.raw))
    async with pool.acquire(deps.pool) as conn:
        row = await stored_runs.give_input(
            conn, run_id, step_id, json_text.dumps(answer), given.question_id
        )
    deps.nudge(Hint(HintKind.INPUT_GIVEN, row.id, row.partition, row.seq))
    return render.answer(runs.shown(row), 202, parsed.warnings)


def _shown(row: OpenQuestion) -> dict[str, Any]:
    return {
        "id": step_execution_id(row.run_id, row.step_id),
        "run_id": external_id(row.run_id),
        "step_id": row.step_id,
        "agent_name": row.agent_name,
        "workflow_id": row.workflow_key,
        "workflow_name": row.workflow_name,
        "workflow_definition_id": str(row.workflow_id),
        "waiting_for": row.question.waiting_for.value,
        "question": shown_question(row.question),
    }


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/api/v1/inbox",
        list_open,
        "listInbox",
        "Inbox",
        "List all open questions",
        "One page of what agents ask and nobody has answered, the oldest question first.",
        {
            200: ok(
                answers.InboxList,
                "The open questions.",
                links={
                    "giveStepInput": {
                        "run_id": "$response.body#/items/0/run_id",
                        "step_id": "$response.body#/items/0/step_id",
                    }
                },
            ),
            422: INVALID,
            503: UNAVAILABLE,
        },
        query=PageQuery,
    ),
    Operation(
        "POST",
        "/api/v1/runs/{run_id}/steps/{step_id}/input",
        give_input,
        "giveStepInput",
        "Inbox",
        "Answer an agent's question",
        "The answer goes to the task that asked, and the step goes on. Of several answers to"
        " one question exactly one is taken.",
        {
            202: ok(answers.Run, "The run; the answer is stored, and is being sent."),
            400: problem("The step does not wait for input, or not for that question's."),
            404: problem("Run or step does not exist."),
            413: TOO_LARGE,
            422: INVALID,
            503: UNAVAILABLE,
        },
        path_params={"run_id": RUN_ID, "step_id": STEP_ID},
        body=InputRequest,
    ),
)
