"""The inbox and the answers, on a real database; the questions of agents are seeded."""

import asyncio
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from orchestrator import json_text
from orchestrator.domain.run import step_execution_id
from tests.integration.api.conftest import Api

INBOX = "/api/v1/inbox"
QUESTION = {"text": "which colour?", "parts": [{"text": "which colour?"}, {"data": {"of": [1]}}]}
PARKED = """INSERT INTO step_execution (run_id, path, position, agent_name, status, attempt,
    message_no, task_id, deadline_at, started_at, waiting_for, question, asked_at, asked_seq)
  VALUES ($1, $2, 0, 'worker', 'RUNNING', 1, 1, 't', now() + interval '1 hour', now(), $3, $4,
    clock_timestamp(), 3)"""


def plain(run_id: str) -> UUID:
    return UUID(run_id.removeprefix("run-"))


async def parked(api: Api, waiting_for: str = "input", step: str = "first", **fields: Any) -> str:
    """Make a run whose step waits for somebody; return its id."""
    if (await api("GET", "/api/v1/workflows?name=flow"))["total"] == 0:
        await api.workflow(**fields)
    (flow,) = (await api("GET", "/api/v1/workflows?name=flow"))["items"]
    run_id = str((await api.run(flow["id"]))["id"])
    await api.set_run(run_id, status="RUNNING", seq=3)
    async with api.pool.acquire() as conn:
        text = json_text.dumps(QUESTION)
        await conn.execute(PARKED, plain(run_id), step, waiting_for, text)
    return run_id


def path(run_id: str, step: str = "first") -> str:
    return f"/api/v1/runs/{run_id}/steps/{step}/input"


async def stored(api: Api, run_id: str) -> Any:
    async with api.pool.acquire() as conn:
        text = await conn.fetchval(
            "SELECT answer FROM step_execution WHERE run_id = $1", plain(run_id)
        )
    return None if text is None else json_text.loads(text)


async def test_the_inbox_lists_open_questions_the_oldest_first(api: Api) -> None:
    assert (await api("GET", INBOX))["items"] == []
    ours = [await parked(api), await parked(api, "auth"), await parked(api)]

    page = await api("GET", f"{INBOX}?page_size=2")
    rest = await api("GET", f"{INBOX}?page_size=2&page=2")

    assert (page["total"], page["total_pages"]) == (3, 2)
    items = page["items"] + rest["items"]
    assert [item["run_id"] for item in items] == ours
    assert [item["waiting_for"] for item in items] == ["input", "auth", "input"]
    first = items[0]
    assert first["id"] == step_execution_id(plain(ours[0]), "first")
    assert (first["step_id"], first["agent_name"]) == ("first", "worker")
    assert (first["workflow_name"], first["workflow_id"]) == ("flow", "wf-flow-001")
    question = first["question"]
    assert {name: question[name] for name in QUESTION} == QUESTION
    assert question["id"] == 3
    assert question["asked_at"] < question["expires_at"]
    assert await api.faults("GET", f"{INBOX}?page=0") == [("query.page", "greater_than_equal")]


async def test_a_step_shows_what_its_agent_asks(api: Api) -> None:
    run_id = await parked(api)

    first, second = await api("GET", f"/api/v1/runs/{run_id}/steps")

    (item,) = (await api("GET", INBOX))["items"]
    assert (first["waiting_for"], first["question"]) == ("input", item["question"])
    assert first["cancel"] is None
    assert (second["waiting_for"], second["question"], second["cancel"]) == (None, None, None)


@pytest.mark.parametrize(
    "body",
    [
        {"text": "blue"},
        {"input_data": {"colour": "blue", "z": 1, "a": [None]}},
        {"input_data": {}, "text": "blue"},
    ],
)
async def test_an_answer_is_stored_as_it_was_given_and_the_owner_is_told(
    api: Api, body: dict[str, Any]
) -> None:
    run_id = await parked(api)

    run = await api("POST", path(run_id), body, 202)

    assert (run["id"], run["status"]) == (run_id, "RUNNING")
    assert await stored(api, run_id) == body
    assert [f"run-{told}" for told in api.nudged] == [run_id]
    assert (await api("GET", INBOX))["total"] == 0
    first, _ = await api("GET", f"/api/v1/runs/{run_id}/steps")
    assert (first["status"], first["waiting_for"], first["question"]) == ("RUNNING", None, None)
    last = (await api("GET", f"/api/v1/runs/{run_id}/logs?page_size=100"))["items"][-1]
    assert (last["event"], last["message"]) == ("InputGiven", "Input given to step 'first'")


async def test_of_two_answers_at_once_one_is_taken_and_the_other_is_told_so(api: Api) -> None:
    run_id = await parked(api)

    async def one(colour: str) -> int:
        answer = await api.client.post(path(run_id), json={"text": colour})
        return answer.status

    statuses = await asyncio.gather(*(one(str(n)) for n in range(6)))

    assert sorted(statuses) == [202, 400, 400, 400, 400, 400]
    assert await stored(api, run_id) == {"text": str(statuses.index(202))}
    said = await api.refused("POST", path(run_id), {"text": "late"})
    assert said == f"Step 'first' of run '{run_id}' does not wait for input"


async def test_an_answer_may_name_its_question(api: Api) -> None:
    run_id = await parked(api)

    other = await api.refused("POST", path(run_id), {"text": "x", "question_id": 4})
    await api("POST", path(run_id), {"text": "x", "question_id": 3}, 202)

    assert other == f"Step 'first' of run '{run_id}' does not wait for an answer to question 4"


async def test_what_is_not_there_is_404(api: Api) -> None:
    run_id = await parked(api)
    nobody = f"run-{UUID(int=7)}"

    assert await api.refused("POST", path(nobody), {"text": "x"}, 404) == (
        f"Run with id '{nobody}' not found"
    )
    assert await api.refused("POST", path(run_id, "nope"), {"text": "x"}, 404) == (
        f"Step with id 'nope' not found in run '{run_id}'"
    )
    assert "does not wait" in await api.refused("POST", path(run_id, "second"), {"text": "x"})
    await api("POST", path("run-x"), {"text": "x"}, 404)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", ("body", "missing")),
        (b"{}", ("body", "missing")),
        (b'{"text": null, "inputdata": {}}', ("body", "missing")),
        (b"null", ("body", "dict_type")),
        (b'"blue"', ("body", "dict_type")),
        (b'{"text": 5}', ("body.text", "string_type")),
        (b'{"text": ""}', ("body.text", "string_too_short")),
        (b'{"text": "\\u0000"}', ("body.text", "value_error")),
        (b'{"input_data": []}', ("body.input_data", "dict_type")),
        (b'{"text": "x", "question_id": 0}', ("body.question_id", "greater_than_equal")),
        (b"{", ("body", "json_invalid")),
    ],
)
async def test_a_wrong_answer_is_422_and_the_question_stays_open(
    api: Api, raw: bytes, fault: tuple[str, str]
) -> None:
    run_id = await parked(api)

    assert await api.faults("POST", path(run_id), raw=raw) == [fault]
    assert (await api("GET", INBOX))["total"] == 1


async def test_fields_that_mean_nothing_are_named(api: Api) -> None:
    run = await api("POST", path(await parked(api)), {"text": "blue", "input": {}}, 202)

    assert run["warnings"] == ["Unknown field 'input' was ignored; did you mean 'input_data'?"]


@pytest.mark.parametrize("step", ["a/b", "schritt ä", "50%", "{x}", "a b?c#d"])
async def test_a_step_of_any_name_is_answered(api: Api, step: str) -> None:
    first: dict[str, Any] = {
        "id": step,
        "agent_name": "worker",
        "next_step": None,
        "input_mapping": {},
    }
    run_id = await parked(api, step=step, start_step=step, steps={step: first})

    await api("POST", path(run_id, quote(step, safe="")), {"text": "blue"}, 202)

    assert await stored(api, run_id) == {"text": "blue"}


async def test_a_cancelled_step_says_what_became_of_its_task(api: Api) -> None:
    run_id = await parked(api)
    await api("POST", f"/api/v1/runs/{run_id}/cancel")

    async def cancel_of(outcome: str | None) -> str:
        async with api.pool.acquire() as conn:
            change = "UPDATE task_cancellation SET outcome = $2 WHERE run_id = $1"
            await conn.execute(change, plain(run_id), outcome)
        first, _ = await api("GET", f"/api/v1/runs/{run_id}/steps")
        assert first["status"] == "FAILED"
        return str(first["cancel"])

    assert await cancel_of(None) == "requested"
    for outcome in ("confirmed", "unsupported", "unreachable", "already_finished"):
        assert await cancel_of(outcome) == outcome
    assert await cancel_of("task_unknown") == "unreachable"
