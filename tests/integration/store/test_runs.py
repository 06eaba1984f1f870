"""Cancel and retry, decided in the database: what they change, and what they refuse."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.domain.agent import TaskRef
from orchestrator.domain.errors import NotFound, Refused
from orchestrator.domain.messages import (
    AttemptFailed,
    RunFailed,
    StepFailed,
    StepStarted,
    TaskRecorded,
)
from orchestrator.domain.run import Run, RunId, RunStatus
from orchestrator.store import runs
from tests.integration.store.stage import HOUR, WENT_ON, A, B, Stage

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
FAILED = (StepFailed(A, 1, "broke"), RunFailed("Step 'a' failed: broke"))


async def steps(stage: Stage, run: Run) -> dict[str, str]:
    return {s["path"]: s["status"] for s in await stage.rows("step_execution", run.id)}


async def asked(stage: Stage, run: Run) -> list[tuple[str, str | None]]:
    """Return the calls that are to be cancelled at their agents, and their tasks."""
    rows = await stage.rows("task_cancellation", run.id)
    return [(row["message_id"].removeprefix(f"run-{run.id}."), row["task_id"]) for row in rows]


# -- cancel ----------------------------------------------------------------------------------------


async def test_a_cancel_ends_the_run_and_what_is_at_work(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *WENT_ON, TaskRecorded(B, 1, TaskRef("t", "c")))

    cancelled = await runs.cancel(stage.conn, run.id, " enough ")

    assert (cancelled.status, cancelled.seq) == (RunStatus.CANCELLED, run.seq + 1)
    assert cancelled.error_message == "Cancelled: enough"
    assert cancelled.cancelled_at == cancelled.updated_at
    assert (cancelled.cancelled_by, cancelled.completed_at) == ("system", None)
    completed, at_work = await stage.rows("step_execution", run.id)
    assert (completed["status"], completed["error_message"]) == ("COMPLETED", None)
    assert (at_work["status"], at_work["error_message"]) == ("FAILED", "Cancelled: enough")
    assert at_work["completed_at"] == cancelled.cancelled_at
    assert await asked(stage, run) == [("b.1", "t")]
    (row,) = await stage.rows("task_cancellation", run.id)
    assert (row["task_context"], row["partition"], row["agent_name"]) == ("c", 0, "B")
    assert (row["outcome"], row["attempts"]) == (None, 0)
    event = (await stage.rows("run_event", run.id))[-1]
    assert (event["seq"], event["epoch"], event["at"]) == (run.seq + 1, 0, cancelled.cancelled_at)
    assert event["events"] == '[{"kind":"RunCancelled","reason":"enough"}]'


@pytest.mark.parametrize("reason", [None, "", "  "])
async def test_a_cancel_needs_no_reason(stage: Stage, reason: str | None) -> None:
    run = await stage.run()

    cancelled = await runs.cancel(stage.conn, run.id, reason)

    assert cancelled.error_message == "Cancelled"
    event = (await stage.rows("run_event", run.id))[-1]
    assert event["events"] == '[{"kind":"RunCancelled"}]'
    assert await asked(stage, run) == []


async def test_between_two_attempts_only_a_known_task_is_cancelled(stage: Stage) -> None:
    waits = await stage.write(await stage.started(), AttemptFailed(A, 1, "no", HOUR, 2))
    followed = await stage.write(
        await stage.started(),
        TaskRecorded(A, 1, TaskRef("t", None)),
        AttemptFailed(A, 1, "no news", HOUR, 1),
    )

    for run in (waits, followed):
        await runs.cancel(stage.conn, run.id, None)
        row = await stage.row("run", run.id)
        assert row["wake_at"] is None
        (step,) = await stage.rows("step_execution", run.id)
        assert (step["status"], step["due_at"]) == ("FAILED", None)

    assert await asked(stage, waits) == []
    assert await asked(stage, followed) == [("a.1", "t")]


async def test_a_cancel_is_later_than_what_it_waited_for(stage: Stage) -> None:
    run = await stage.started()
    owner, api = await stage.session(), await stage.session()
    held = owner.transaction()
    await held.start()
    await owner.execute("UPDATE run SET seq = seq WHERE id = $1", run.id)

    cancel = asyncio.create_task(runs.cancel(api, run.id, None))
    await stage.until_locked()
    released_at = await stage.conn.fetchval("SELECT clock_timestamp()")
    await held.rollback()

    assert (await cancel).updated_at > released_at


async def test_a_call_that_is_to_be_cancelled_already_is_asked_for_once(stage: Stage) -> None:
    run = await stage.started()
    await stage.conn.execute(
        "INSERT INTO task_cancellation (run_id, message_id, path, partition, agent_name, attempts)"
        " VALUES ($1, message_id_of($1, 'a', 1), 'a', 0, 'A', 3)",
        run.id,
    )

    await runs.cancel(stage.conn, run.id, None)

    assert (await stage.row("task_cancellation", run.id))["attempts"] == 3


async def test_of_many_cancels_at_a_time_one_succeeds(stage: Stage) -> None:
    run = await stage.started()
    sessions = [await stage.session() for _ in range(8)]

    found = await asyncio.gather(
        *(runs.cancel(conn, run.id, None) for conn in sessions), return_exceptions=True
    )

    refused = [error for error in found if isinstance(error, Refused)]
    assert len(refused) == 7
    assert str(refused[0]) == (
        f"Run cannot be cancelled (not in PENDING or RUNNING status): 'run-{run.id}' is CANCELLED"
    )
    assert len(await stage.rows("run_event", run.id)) == 3


async def test_an_ended_run_is_not_cancelled(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *FAILED)
    before = await stage.row("run", run.id)

    with pytest.raises(Refused):
        await runs.cancel(stage.conn, run.id, None)

    assert await stage.row("run", run.id) == before


# -- retry -----------------------------------------------------------------------------------------


async def test_a_retry_puts_all_back_but_what_was_completed(stage: Stage) -> None:
    run = await stage.write(
        await stage.started(),
        *WENT_ON,
        TaskRecorded(B, 1, TaskRef("t", "c")),
        AttemptFailed(B, 1, "no", SECOND, 2),
        StepStarted(B, 2, 2, {"in": 1}),
        TaskRecorded(B, 2, TaskRef("t2", "c")),
        StepFailed(B, 2, "broke"),
        RunFailed("Step 'b' failed: broke"),
    )

    retried = await runs.retry(stage.conn, run.id)

    assert (retried.status, retried.seq) == (RunStatus.PENDING, run.seq + 1)
    assert (retried.error_message, retried.completed_at) == (None, None)
    completed, put_back = await stage.rows("step_execution", run.id)
    assert (completed["status"], completed["output"]) == ("COMPLETED", '{"of":"a"}')
    assert (put_back["status"], put_back["message_no"], put_back["attempt"]) == ("PENDING", 2, 0)
    fresh = "input output error_message task_id task_context due_at deadline_at started_at"
    assert {put_back[column] for column in [*fresh.split(), "completed_at"]} == {None}
    event = (await stage.rows("run_event", run.id))[-1]
    assert (event["seq"], event["epoch"]) == (run.seq + 1, 0)
    assert event["events"] == '[{"kind":"RunRetried"}]'


async def test_a_cancelled_run_can_be_retried_and_its_cancellation_stays(stage: Stage) -> None:
    run = await stage.started()
    await runs.cancel(stage.conn, run.id, "enough")

    retried = await runs.retry(stage.conn, run.id)

    assert (retried.status, retried.error_message) == (RunStatus.PENDING, None)
    assert (retried.cancelled_at, retried.cancelled_by) == (None, None)
    assert await asked(stage, run) == [("a.1", None)]
    again = await stage.load(run.id)
    await stage.write(again, StepStarted(A, 1, 2, {}, HOUR))
    await runs.cancel(stage.conn, run.id, None)
    assert sorted(await asked(stage, run)) == [("a.1", None), ("a.2", None)]


@pytest.mark.parametrize("started", [True, False])
async def test_an_unfinished_run_is_not_retried(stage: Stage, *, started: bool) -> None:
    run = await (stage.started() if started else stage.run())

    with pytest.raises(Refused, match="not in FAILED or CANCELLED status"):
        await runs.retry(stage.conn, run.id)

    assert (await stage.row("run", run.id))["seq"] == run.seq


async def test_of_many_retries_at_a_time_one_succeeds(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *FAILED)
    sessions = [await stage.session() for _ in range(8)]

    found = await asyncio.gather(
        *(runs.retry(conn, run.id) for conn in sessions), return_exceptions=True
    )

    assert len([error for error in found if isinstance(error, Refused)]) == 7
    assert (await stage.row("run", run.id))["seq"] == run.seq + 1


async def test_a_retry_of_a_run_that_waited_looks_due_to_nobody(stage: Stage) -> None:
    run = await stage.write(await stage.started(), AttemptFailed(A, 1, "no", HOUR, 2))
    await stage.conn.execute("UPDATE run SET status = 'FAILED' WHERE id = $1", run.id)

    await runs.retry(stage.conn, run.id)

    assert (await stage.row("run", run.id))["wake_at"] is None


# -- both ------------------------------------------------------------------------------------------


async def test_nobody_takes_a_cancel_or_a_retry_for_its_own_write(stage: Stage) -> None:
    run = await stage.started()
    tokens = {(await stage.row("run", run.id))["token"]}

    for change in (runs.cancel(stage.conn, run.id, None), runs.retry(stage.conn, run.id)):
        await change
        row = await stage.row("run", run.id)
        assert row["epoch"] == 0
        tokens.add(row["token"])

    assert len(tokens) == 3


async def test_a_run_that_does_not_exist_is_not_found(stage: Stage) -> None:
    nobody = RunId(uuid4())
    calls: list[Any] = [
        runs.get(stage.conn, nobody),
        runs.cancel(stage.conn, nobody, None),
        runs.retry(stage.conn, nobody),
    ]

    for call in calls:
        with pytest.raises(NotFound, match=f"Run with id 'run-{nobody}' not found"):
            await call


async def test_the_state_of_many_is_asked_at_once(stage: Stage) -> None:
    one, other = await stage.run(), await stage.started()

    found = await runs.state(stage.conn, [one.id, other.id, RunId(uuid4())])

    assert found == {one.id: (RunStatus.PENDING, 1), other.id: (RunStatus.RUNNING, 3)}
    assert await runs.state(stage.conn, []) == {}
