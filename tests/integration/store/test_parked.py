"""Steps that wait for somebody: what the rows hold, who is listed, and which answer is taken."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from orchestrator import json_text
from orchestrator.domain.agent import Cancellation, TaskRef, WaitingFor
from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.messages import (
    AttemptFailed,
    RunFailed,
    RunTakenOver,
    StepCompleted,
    StepFailed,
    StepParked,
    StepStarted,
    StillWaiting,
    TaskRecorded,
)
from orchestrator.domain.run import Run, RunId, RunStatus
from orchestrator.domain.term import Partition
from orchestrator.store import cancellations, history, inbox, runs, scan
from orchestrator.store.page import Page
from tests.integration.store.stage import HOUR, WENT_ON, A, B, Stage, entry_of

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
ASKED = TaskRef("t", "c", "q1")
QUESTION = {"text": "which colour?", "parts": [{"text": "which colour?"}]}
PARKED = StepParked(A, 1, ASKED, WaitingFor.INPUT, QUESTION, None)
LOGIN = StepParked(A, 1, ASKED, WaitingFor.AUTH, QUESTION, 5 * SECOND)
BLUE = '{"text":"blue"}'


async def parked(stage: Stage, event: StepParked = PARKED, partition: int = 0) -> Run:
    return await stage.write(await stage.started(partition), event)


async def step(stage: Stage, run: Run, path: str = "a") -> dict[str, Any]:
    return next(s for s in await stage.rows("step_execution", run.id) if s["path"] == path)


async def answer(stage: Stage, run: Run, text: str = BLUE, question: int | None = None) -> Run:
    await runs.give_input(stage.conn, run.id, "a", text, question)
    return await stage.load(run.id)


# -- the rows -------------------------------------------------------------------------------------


async def test_a_question_stands_in_the_row_with_its_time_and_number(stage: Stage) -> None:
    run = await parked(stage)

    row, of_run = await step(stage, run), await stage.row("run", run.id)
    assert (row["status"], row["waiting_for"]) == ("RUNNING", "input")
    assert json_text.loads(row["question"]) == QUESTION
    assert (row["asked_at"], row["asked_seq"]) == (of_run["updated_at"], run.seq)
    assert (row["task_id"], row["task_context"], row["task_asked"]) == ("t", "c", "q1")
    assert (of_run["status"], of_run["wake_at"]) == ("RUNNING", row["deadline_at"])
    event = (await stage.rows("run_event", run.id))[-1]["events"]
    assert "colour" not in event  # the history never holds what an agent said
    assert json_text.loads(event) == [
        {"kind": "StepParked", "step_id": "a", "attempt": 1, "task_id": "t", "waiting_for": "input"}
    ]


async def test_a_login_is_looked_for_when_it_is_due_and_not_after_the_deadline(
    stage: Stage,
) -> None:
    soon = await parked(stage, LOGIN)
    late = await parked(stage, StepParked(A, 1, ASKED, WaitingFor.AUTH, QUESTION, 2 * HOUR))

    of_soon, of_late = await step(stage, soon), await step(stage, late)
    assert of_soon["due_at"] - of_soon["asked_at"] == 5 * SECOND
    assert (await stage.row("run", soon.id))["wake_at"] == of_soon["due_at"]
    assert (await stage.row("run", late.id))["wake_at"] == of_late["deadline_at"]


async def test_a_look_keeps_the_question_and_puts_the_next_one_off(stage: Stage) -> None:
    run = await parked(stage, LOGIN)
    before = await step(stage, run)

    await stage.write(run, StillWaiting(A, 1, 60 * SECOND))

    after = await step(stage, run)
    kept = ("waiting_for", "question", "asked_at", "asked_seq", "task_asked", "deadline_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert after["due_at"] > before["due_at"] + 50 * SECOND


async def test_another_question_takes_the_place_of_the_one_before(stage: Stage) -> None:
    run = await parked(stage, LOGIN)
    before = await step(stage, run)
    other = StepParked(A, 1, TaskRef("t", "c", "q2"), WaitingFor.INPUT, {"text": "who?"}, None)

    run = await stage.write(run, other)

    after = await step(stage, run)
    assert (after["waiting_for"], after["question"]) == ("input", '{"text":"who?"}')
    assert after["asked_at"] > before["asked_at"]
    assert (after["asked_seq"], after["task_asked"]) == (run.seq, "q2")


@pytest.mark.parametrize(
    "events",
    [
        (TaskRecorded(A, 1, ASKED),),
        (AttemptFailed(A, 1, "lost", SECOND, 2),),
        (StepCompleted(A, 1, {}), StepStarted(B, 1, 1, {}, HOUR)),
        (StepFailed(A, 1, "no", cancel_task=True), RunFailed("no")),
    ],
    ids=["goes on", "lost", "completed", "failed"],
)
async def test_what_ends_a_wait_leaves_no_question(stage: Stage, events: tuple[Any, ...]) -> None:
    run = await parked(stage)

    await stage.write(run, *events)

    row = await step(stage, run)
    for name in ("waiting_for", "question", "asked_at", "asked_seq", "answer"):
        assert row[name] is None
    assert await inbox.list_open(stage.conn, Page(1, 10)) == ([], 0)


async def test_a_wait_comes_back_as_it_was_left(stage: Stage) -> None:
    run = await parked(stage, LOGIN)

    loaded = (await stage.load(run.id)).steps[A]

    assert (loaded.waiting_for, loaded.task, loaded.answer) == (WaitingFor.AUTH, ASKED, None)
    assert loaded.waited is not None
    assert timedelta(0) < loaded.waited < 30 * SECOND
    assert loaded.due_in is not None
    assert loaded.due_in <= 5 * SECOND
    assert not loaded.in_call


async def test_a_run_that_waits_wants_no_actor_until_it_is_due(stage: Stage) -> None:
    run = await parked(stage)
    login = await parked(stage, StepParked(A, 1, ASKED, WaitingFor.AUTH, QUESTION, timedelta(0)))

    seen = await scan.scan(stage.conn, [Partition(0)], {}, 10)

    assert seen.ready == (login.id,)
    assert seen.next_due is not None
    assert HOUR - 60 * SECOND < seen.next_due <= HOUR
    await answer(stage, run)
    again = await scan.scan(stage.conn, [Partition(0)], {}, 10)
    assert set(again.ready) == {login.id, run.id}


# -- an answer ------------------------------------------------------------------------------------


async def test_an_answer_is_due_to_be_sent_under_the_next_number(stage: Stage) -> None:
    run = await parked(stage)
    before = await stage.row("run", run.id)

    given = await runs.give_input(stage.conn, run.id, "a", BLUE)

    assert (given.status, given.seq) == (RunStatus.RUNNING, run.seq + 1)
    row, of_run = await step(stage, run), await stage.row("run", run.id)
    assert (row["answer"], row["attempt"], row["message_no"]) == (BLUE, 0, 2)
    assert row["due_at"] == of_run["wake_at"] == of_run["updated_at"] > before["updated_at"]
    assert (row["task_id"], row["task_asked"], row["waiting_for"]) == ("t", "q1", None)
    assert (of_run["epoch"], of_run["token"]) != (before["epoch"], before["token"])
    event = (await stage.rows("run_event", run.id))[-1]
    assert json_text.loads(event["events"]) == [{"kind": "InputGiven", "step_id": "a"}]
    loaded = (await stage.load(run.id)).steps[A]
    assert (loaded.answer, loaded.task, loaded.attempt) == ({"text": "blue"}, ASKED, 0)


async def test_an_answer_stays_until_its_agent_has_it(stage: Stage) -> None:
    run = await answer(stage, await parked(stage))

    for event in (
        StepStarted(A, 1, 2, {}),
        AttemptFailed(A, 1, "cut", SECOND, 2),
        StepStarted(A, 2, 2, {}),
        RunTakenOver(),
    ):
        run = await stage.write(run, event)
        assert (await step(stage, run))["answer"] == BLUE
        assert (await stage.load(run.id)).steps[A].task == ASKED

    await stage.write(run, TaskRecorded(A, 2, ASKED))
    assert (await step(stage, run))["answer"] is None


@pytest.mark.parametrize(
    "state",
    ["pending", "at work", "backing off", "answered", "cancelled", "completed", "past"],
)
async def test_only_a_step_that_waits_is_answered(stage: Stage, state: str) -> None:
    run = await stage.run() if state == "pending" else await stage.started()
    if state == "backing off":
        await stage.write(run, AttemptFailed(A, 1, "no", HOUR, 2))
    elif state == "completed":
        await stage.write(run, *WENT_ON)
    elif state in ("answered", "cancelled", "past"):
        run = await stage.write(run, PARKED)
        if state == "answered":
            await answer(stage, run)
        elif state == "cancelled":
            await runs.cancel(stage.conn, run.id, None)
        else:
            past = "UPDATE step_execution SET deadline_at = clock_timestamp() WHERE run_id = $1"
            await stage.conn.execute(past, run.id)
    before = (await runs.get(stage.conn, run.id)).seq

    with pytest.raises(Refused, match=f"Step 'a' of run 'run-{run.id}' does not wait for input"):
        await answer(stage, run)

    assert (await runs.get(stage.conn, run.id)).seq == before


async def test_a_run_or_a_step_that_is_not_there_is_not_found(stage: Stage) -> None:
    run = await parked(stage)

    with pytest.raises(NotFound, match="Run with id"):
        await runs.give_input(stage.conn, RunId(uuid4()), "a", BLUE)
    with pytest.raises(NotFound, match="Step with id 'nope' not found in run"):
        await runs.give_input(stage.conn, run.id, "nope", BLUE)
    with pytest.raises(Refused):  # it is there, and has not started
        await runs.give_input(stage.conn, run.id, "b", BLUE)


async def test_an_answer_may_say_which_question_it_means(stage: Stage) -> None:
    run = await parked(stage)

    with pytest.raises(Refused, match=f"does not wait for an answer to question {run.seq + 1}"):
        await answer(stage, run, question=run.seq + 1)

    assert (await answer(stage, run, question=run.seq)).steps[A].answer == {"text": "blue"}


async def test_of_many_answers_at_once_one_is_taken(wide: Stage) -> None:
    run = await parked(wide)
    sessions = [await wide.session() for _ in range(8)]

    async def one(number: int) -> int | None:
        text = json_text.dumps({"text": str(number)})
        try:
            await runs.give_input(sessions[number], run.id, "a", text)
        except Refused:
            return None
        return number

    taken = [number for number in await asyncio.gather(*map(one, range(8))) if number is not None]

    assert len(taken) == 1
    assert (await wide.load(run.id)).steps[A].answer == {"text": str(taken[0])}
    assert (await runs.get(wide.conn, run.id)).seq == run.seq + 1


async def test_an_owner_that_did_not_know_of_an_answer_is_refused(wide: Stage) -> None:
    run = await parked(wide, LOGIN)
    await runs.give_input(wide.conn, run.id, "a", BLUE)

    wrote = await wide.send(wide.conn, entry_of(run, StillWaiting(A, 1, SECOND)))

    assert wrote == []
    assert (await step(wide, run))["answer"] == BLUE


async def test_an_answer_waits_for_an_owners_write_and_sees_what_it_did(wide: Stage) -> None:
    run = await parked(wide, LOGIN)
    owner, api = await wide.session(), await wide.session()
    batch = owner.transaction()
    await batch.start()
    await wide.send(owner, entry_of(run, TaskRecorded(A, 1, ASKED)))

    given = asyncio.create_task(runs.give_input(api, run.id, "a", BLUE))
    await wide.until_locked()
    await batch.commit()

    with pytest.raises(Refused):
        await given


# -- cancel and retry -----------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [False, True])
async def test_a_cancel_ends_a_wait_and_cancels_the_task(stage: Stage, *, answered: bool) -> None:
    run = await parked(stage)
    if answered:
        await answer(stage, run)

    await runs.cancel(stage.conn, run.id, "enough")

    row = await step(stage, run)
    assert (row["status"], row["error_message"]) == ("FAILED", "Cancelled: enough")
    for name in ("waiting_for", "question", "asked_at", "asked_seq", "answer", "due_at"):
        assert row[name] is None
    (asked,) = await stage.rows("task_cancellation", run.id)
    assert (asked["task_id"], asked["task_context"]) == ("t", "c")
    assert asked["message_id"] == f"run-{run.id}.a.{2 if answered else 1}"


async def test_a_retry_begins_without_question_and_answer(stage: Stage) -> None:
    run = await answer(stage, await parked(stage))
    await runs.cancel(stage.conn, run.id, None)
    await runs.retry(stage.conn, run.id)

    loaded = (await stage.load(run.id)).steps[A]

    assert (loaded.task, loaded.answer, loaded.waiting_for) == (None, None, None)
    assert loaded.message_no == 2


# -- what users see -------------------------------------------------------------------------------


async def test_the_inbox_has_the_oldest_question_first_a_page_at_a_time(stage: Stage) -> None:
    ours = [await parked(stage, partition=n % 8) for n in range(5)]
    await answer(stage, ours[2])
    await stage.started()

    first, total = await inbox.list_open(stage.conn, Page(1, 3))
    second, _ = await inbox.list_open(stage.conn, Page(2, 3))

    assert total == 4
    expected = [run.id for n, run in enumerate(ours) if n != 2]
    assert [row.run_id for row in first + second] == expected
    assert (first[0].step_id, first[0].agent_name) == ("a", "A")
    assert (first[0].workflow_key, first[0].workflow_id) == (stage.key, stage.workflow_id)
    question = first[0].question
    assert (question.number, question.waiting_for) == (ours[0].seq, WaitingFor.INPUT)
    assert json_text.loads(question.said) == QUESTION
    assert question.expires_at is not None
    assert question.expires_at - question.asked_at <= HOUR


async def shown(stage: Stage, run: Run) -> history.StepRow:
    return (await history.steps(stage.conn, stage.definitions, run.id))[0]


async def test_a_step_shows_its_question_as_long_as_it_is_open(stage: Stage) -> None:
    run = await parked(stage)

    asked = await shown(stage, run)
    assert asked.question is not None
    assert asked.question.number == run.seq
    assert asked.cancel is None

    await answer(stage, run)
    assert (await shown(stage, run)).question is None


async def test_a_step_shows_what_became_of_its_tasks_cancellation(stage: Stage) -> None:
    run = await parked(stage)
    await runs.cancel(stage.conn, run.id, None)
    assert (await shown(stage, run)).cancel is Cancellation.REQUESTED

    message = f"run-{run.id}.a.1"
    await cancellations.settle(stage.conn, run.id, message, Cancellation.CONFIRMED)
    assert (await shown(stage, run)).cancel is Cancellation.CONFIRMED

    await runs.retry(stage.conn, run.id)
    retried = await stage.load(run.id)
    await stage.write(retried, RunTakenOver(), StepStarted(A, 1, 2, {}, HOUR))
    assert (await shown(stage, run)).cancel is None
