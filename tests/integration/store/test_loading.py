"""Loading: runs rebuilt from their rows, and rows that cannot be used."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.domain.agent import TaskRef
from orchestrator.domain.errors import Fenced
from orchestrator.domain.messages import AttemptFailed, TaskRecorded
from orchestrator.domain.run import Run, RunId, RunStatus, StepStatus
from orchestrator.domain.term import Term
from orchestrator.store import loading, runs, terms
from tests.integration.store.stage import HOUR, WENT_ON, A, B, Stage

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
# How a run's rows are spoilt, and what its end says then.
SPOILT = {
    "a step of no workflow": (
        "UPDATE step_execution SET path = 'nope' WHERE run_id = $1",
        "its workflow has no step 'nope'",
    ),
    "a version that is gone": ("UPDATE run SET workflow_version = 7 WHERE id = $1", "no version 7"),
    "an input that no API takes": (
        r"""UPDATE run SET input = '{"a":"\u0000"}' WHERE id = $1""",
        "NUL character",
    ),
    "a time that no clock shows": (
        "UPDATE step_execution SET deadline_at = 'infinity' WHERE run_id = $1",
        "",
    ),
    "a date too far": (
        "UPDATE step_execution SET deadline_at = '290000-01-01' WHERE run_id = $1",
        None,
    ),
}


async def load(stage: Stage, *ids: UUID) -> loading.Loaded:
    return await loading.load(stage.conn, stage.definitions, [RunId(one) for one in ids])


async def test_a_run_is_what_its_owner_left(stage: Stage) -> None:
    run = await stage.write(await stage.started(), TaskRecorded(A, 1, TaskRef("t", "c")))
    loaded = await stage.load(run.id)

    assert (loaded.status, loaded.seq, loaded.partition) == (RunStatus.RUNNING, 4, 0)
    step = loaded.steps[A]
    assert (step.status, step.attempt, step.message_no) == (StepStatus.RUNNING, 1, 1)
    assert (step.task, step.input, step.due_in) == (TaskRef("t", "c"), {}, None)
    assert step.deadline_in is not None
    assert HOUR - 60 * SECOND < step.deadline_in <= HOUR
    assert step.in_call


async def test_only_what_is_needed_to_go_on_is_loaded(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *WENT_ON)
    loaded = await stage.load(run.id)

    assert (loaded.steps[A].output, loaded.steps[A].input) == ({"of": "a"}, None)
    assert (loaded.steps[B].output, loaded.steps[B].input) == (None, {})


@pytest.mark.parametrize("delay", [timedelta(0), 60 * SECOND])
async def test_a_wait_comes_back_as_what_remains_of_it(stage: Stage, delay: timedelta) -> None:
    run = await stage.write(await stage.started(), AttemptFailed(A, 1, "no", delay, 2))
    step = (await stage.load(run.id)).steps[A]

    assert step.due_in is not None
    assert delay - 30 * SECOND < step.due_in <= delay
    assert step.message_no == 2


async def test_many_are_loaded_at_once_in_any_order_and_absent_ones_are_left_out(
    stage: Stage,
) -> None:
    ours = [await stage.run(n % 8) for n in range(20)]
    loaded = await load(stage, *(run.id for run in ours), uuid4())

    assert {run.id for run in loaded.runs} == {run.id for run in ours}
    assert not loaded.corrupt
    assert await load(stage) == loading.Loaded((), ())


@pytest.mark.parametrize("spoilt", SPOILT)
async def test_a_run_whose_rows_cannot_be_used_is_alone_in_that(stage: Stage, spoilt: str) -> None:
    statement, why = SPOILT[spoilt]
    ours = [await stage.started() for _ in range(5)]
    await stage.conn.execute(statement, ours[2].id)

    loaded = await load(stage, *(run.id for run in ours))

    (corrupt,) = loaded.corrupt or [None]
    if why is None:  # a far time can be used
        assert len(loaded.runs) == 5
        return
    assert {run.id for run in loaded.runs} == {run.id for run in ours} - {ours[2].id}
    assert corrupt is not None
    assert (corrupt.run_id, corrupt.partition) == (ours[2].id, 0)
    assert corrupt.reason.startswith("the run's rows cannot be used: ")
    assert why in corrupt.reason

    await loading.fail_corrupt(stage.conn, corrupt.run_id, stage.terms[corrupt.partition], "why")
    failed = await runs.get(stage.conn, corrupt.run_id)
    assert (failed.status, failed.error_message) == (RunStatus.FAILED, "why")


async def fail(stage: Stage, run: Run, term: Term, reason: str = "bad") -> dict[str, Any]:
    await loading.fail_corrupt(stage.conn, run.id, term, reason)
    return await stage.row("run", run.id)


async def test_failing_a_run_ends_its_steps_and_cancels_their_calls(stage: Stage) -> None:
    run = await stage.started()
    before = await stage.row("run", run.id)
    term = await stage.claim(run.partition)
    row = await fail(stage, run, term)

    assert (row["status"], row["seq"], row["error_message"]) == ("FAILED", 4, "bad")
    assert row["epoch"] == term.epoch
    assert row["token"] != before["token"]  # nobody takes it for a write of his own
    step = await stage.row("step_execution", run.id)
    assert (step["status"], step["completed_at"]) == ("FAILED", row["completed_at"])
    cancellation = await stage.row("task_cancellation", run.id)
    assert cancellation["message_id"] == f"run-{run.id}.a.1"
    event = (await stage.rows("run_event", run.id))[-1]
    assert (event["seq"], event["events"]) == (4, '[{"kind":"RunFailed","cause":"bad"}]')


async def test_only_the_owner_fails_a_run(stage: Stage) -> None:
    run = await stage.started()
    old = stage.terms[run.partition]
    await stage.claim(0)

    with pytest.raises(Fenced):
        await loading.fail_corrupt(stage.conn, run.id, old, "bad")

    foreign = await fail(stage, run, await stage.claim(1))
    assert foreign["status"] == "RUNNING"  # the owner of another partition is no owner


async def test_a_takeover_waits_for_the_old_owner_who_is_failing_a_run(stage: Stage) -> None:
    run = await stage.started()
    term = stage.terms[run.partition]
    old, new, other = [await stage.session() for _ in range(3)]
    held = other.transaction()
    await held.start()
    await other.execute("SELECT FROM run WHERE id = $1 FOR UPDATE", run.id)

    failing = asyncio.create_task(loading.fail_corrupt(old, run.id, term, "bad"))
    await stage.until_locked()
    takeover = asyncio.create_task(terms.claim(new, run.partition, terms.Owner(uuid4(), "test")))
    await stage.until_locked(2)
    await held.rollback()
    await takeover

    await failing
    assert (await stage.load(run.id)).status is RunStatus.FAILED


async def test_an_ended_run_keeps_its_end(stage: Stage) -> None:
    run = await stage.started()
    await runs.cancel(stage.conn, run.id, "enough")

    row = await fail(stage, run, stage.terms[run.partition])

    assert (row["status"], row["error_message"]) == ("CANCELLED", "Cancelled: enough")


async def test_any_reason_can_be_recorded(stage: Stage) -> None:
    run = await stage.started()

    row = await fail(stage, run, stage.terms[run.partition], "a NUL \0 and half a pair \ud800")

    assert row["status"] == "FAILED"
    assert row["error_message"] == "a NUL \N{REPLACEMENT CHARACTER} and half a pair ?"
