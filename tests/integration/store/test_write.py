"""What the journal's statement writes of a decision, column by column."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator.domain.agent import TaskRef
from orchestrator.domain.messages import (
    AttemptFailed,
    RunCompleted,
    RunFailed,
    RunTakenOver,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskRecorded,
)
from orchestrator.domain.run import Run
from orchestrator.domain.term import Partition
from orchestrator.store.journal import SQL
from orchestrator.store.journal_rows import Columns
from tests.integration.store.stage import HOUR, STARTED, WENT_ON, A, B, Stage, entry_of, send

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
TASK = TaskRef("t", "c")


async def step(stage: Stage, run: Run, path: str = "a") -> dict[str, Any]:
    return next(s for s in await stage.rows("step_execution", run.id) if s["path"] == path)


def near(moment: datetime, base: datetime, after: timedelta) -> bool:
    return abs(moment - base - after) < timedelta(microseconds=10)


async def test_a_decision_moves_its_run(stage: Stage) -> None:
    run = await stage.run(3)
    before = await stage.row("run", run.id)
    term = await stage.claim(3)

    after = await stage.write(run, *STARTED)

    row = await stage.row("run", run.id)
    assert (row["status"], row["seq"], row["epoch"]) == ("RUNNING", after.seq, term.epoch)
    assert row["token"] not in (0, before["token"])
    assert row["updated_at"] > before["updated_at"]
    assert (row["error_message"], row["completed_at"], row["wake_at"]) == (None, None, None)
    assert row["created_at"] == before["created_at"]
    event = (await stage.rows("run_event", run.id))[-1]
    assert (event["seq"], event["epoch"], event["at"]) == (3, term.epoch, row["updated_at"])
    assert event["events"] == (
        '[{"kind":"RunStarted"},{"kind":"StepStarted","step_id":"a","attempt":1}]'
    )


async def test_a_start_begins_its_step(stage: Stage) -> None:
    run = await stage.write(await stage.run(), StepStarted(A, 1, 1, {"n": 1}, HOUR))

    row = await step(stage, run)
    now = (await stage.row("run", run.id))["updated_at"]
    assert (row["status"], row["attempt"], row["message_no"]) == ("RUNNING", 1, 1)
    assert (row["position"], row["agent_name"]) == (0, "A")
    assert (row["input"], row["output"], row["error_message"]) == ('{"n":1}', None, None)
    assert (row["started_at"], row["completed_at"], row["due_at"]) == (now, None, None)
    assert near(row["deadline_at"], now, HOUR)


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [(RunCompleted(), "COMPLETED", None), (RunFailed("x"), "FAILED", "x")],
)
async def test_an_end_has_one_time(stage: Stage, end: Any, status: str, error: str | None) -> None:
    run = await stage.write(await stage.started(), StepCompleted(A, 1, {"of": 1}), end)

    row = await stage.row("run", run.id)
    assert (row["status"], row["error_message"]) == (status, error)
    assert row["completed_at"] == row["updated_at"]
    ended = await step(stage, run)
    assert (ended["status"], ended["output"]) == ("COMPLETED", '{"of":1}')
    assert ended["completed_at"] == row["completed_at"]
    assert ended["started_at"] < ended["completed_at"]


async def test_one_decision_may_end_a_step_and_start_the_next(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *WENT_ON)

    first, second = await step(stage, run), await step(stage, run, "b")
    assert (first["status"], second["status"]) == ("COMPLETED", "RUNNING")
    assert first["completed_at"] == second["started_at"]


async def test_a_step_keeps_what_a_later_decision_does_not_say(stage: Stage) -> None:
    run = await stage.write(await stage.run(), StepStarted(A, 1, 1, {"n": 1}, HOUR))
    first = await step(stage, run)
    run = await stage.write(run, TaskRecorded(A, 1, TASK))
    recorded = await step(stage, run)
    run = await stage.write(run, RunTakenOver())
    assert await step(stage, run) == recorded
    assert (recorded["task_id"], recorded["task_context"]) == ("t", "c")
    run = await stage.write(run, AttemptFailed(A, 1, "no", SECOND, 2))
    failed = await step(stage, run)
    assert (failed["status"], failed["message_no"], failed["error_message"]) == ("RUNNING", 2, "no")
    assert (failed["task_id"], failed["task_context"]) == (None, None)
    run = await stage.write(run, StepStarted(A, 2, 2, {"n": 1}))
    again = await step(stage, run)
    assert (again["attempt"], again["error_message"], again["due_at"]) == (2, None, None)
    run = await stage.write(run, StepFailed(A, 2, "over"), RunFailed("x"))
    over = await step(stage, run)

    assert (over["status"], over["error_message"]) == ("FAILED", "over")
    for kept in ("input", "deadline_at", "started_at", "position", "agent_name"):
        assert {row[kept] for row in (recorded, failed, again, over)} == {first[kept]}
    assert [row["completed_at"] is None for row in (recorded, failed, again, over)] == [
        True,
        True,
        True,
        False,
    ]


async def test_a_wait_is_stored_by_the_databases_clock(stage: Stage) -> None:
    run = await stage.write(await stage.started(), AttemptFailed(A, 1, "no", 60 * SECOND, 2))

    row, waits = await stage.row("run", run.id), await step(stage, run)
    assert near(row["wake_at"], row["updated_at"], 60 * SECOND)
    assert waits["due_at"] == row["wake_at"]

    await stage.write(run, StepStarted(A, 2, 2, {}))
    assert (await stage.row("run", run.id))["wake_at"] is None


async def test_a_deadline_within_a_wait_comes_first(stage: Stage) -> None:
    run = await stage.write(await stage.run(), StepStarted(A, 1, 1, {}, 60 * SECOND))

    run = await stage.write(run, AttemptFailed(A, 1, "no", HOUR, 2))

    row, waits = await stage.row("run", run.id), await step(stage, run)
    assert row["wake_at"] == waits["deadline_at"] < waits["due_at"]


async def test_the_deadline_of_a_step_that_is_over_wakes_nobody(stage: Stage) -> None:
    run = await stage.write(await stage.run(), StepStarted(A, 1, 1, {}, SECOND))
    run = await stage.write(run, *WENT_ON)

    run = await stage.write(run, AttemptFailed(B, 1, "no", 60 * SECOND, 2))

    row = await stage.row("run", run.id)
    assert near(row["wake_at"], row["updated_at"], 60 * SECOND)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_failed_step_whose_agent_may_be_at_work_is_to_be_cancelled(
    stage: Stage, *, wanted: bool
) -> None:
    run = await stage.write(await stage.started(5), TaskRecorded(A, 1, TASK))

    await stage.write(run, StepFailed(A, 1, "timed out", cancel_task=wanted), RunFailed("x"))

    found = await stage.rows("task_cancellation", run.id)
    now = (await stage.row("run", run.id))["updated_at"]
    assert [(c["message_id"], c["partition"], c["agent_name"]) for c in found] == (
        [(f"run-{run.id}.a.1", 5, "A")] if wanted else []
    )
    for row in found:
        assert (row["path"], row["task_id"], row["task_context"]) == ("a", "t", "c")
        assert row["asked_at"] == row["next_at"] == now
        assert (row["outcome"], row["attempts"]) == (None, 0)


async def test_a_cancellation_that_is_there_already_is_no_obstacle(stage: Stage) -> None:
    run = await stage.started()
    await stage.conn.execute(
        "INSERT INTO task_cancellation (run_id, message_id, path, partition, agent_name, attempts)"
        " VALUES ($1, message_id_of($1, 'a', 1), 'a', 0, 'A', 3)",
        run.id,
    )

    await stage.write(run, StepFailed(A, 1, "x", cancel_task=True), RunFailed("x"))

    assert (await stage.row("task_cancellation", run.id))["attempts"] == 3


@pytest.mark.parametrize("first", ["plain", "odd"])
async def test_what_one_decision_of_a_batch_says_is_said_of_its_run_alone(
    stage: Stage, first: str
) -> None:
    """Columns of NULLs alone are sent empty: one with a value anywhere must not be."""
    plain, odd = await stage.run(0), await stage.started(1)
    failed = StepFailed(A, 1, "broken", cancel_task=True)
    batch = [entry_of(plain, *STARTED), entry_of(odd, failed, RunFailed("it broke"))]

    await stage.send(stage.conn, *(batch if first == "plain" else reversed(batch)))

    runs = [await stage.row("run", run.id) for run in (plain, odd)]
    steps = [await step(stage, run) for run in (plain, odd)]
    assert [row["error_message"] for row in runs] == [None, "it broke"]
    assert [row["error_message"] for row in steps] == [None, "broken"]
    assert [row["input"] for row in steps] == ["{}", "{}"]
    assert await stage.rows("task_cancellation", plain.id) == []
    assert len(await stage.rows("task_cancellation", odd.id)) == 1


async def test_what_is_refused_leaves_nothing_at_all(stage: Stage) -> None:
    fine, stale = await stage.started(), await stage.started()
    late = entry_of(replace(stale, seq=2), StepFailed(A, 1, "x", cancel_task=True), RunFailed("x"))

    wrote = await stage.send(stage.conn, late, entry_of(fine, *WENT_ON))

    assert wrote == [fine.id]
    assert (await step(stage, stale))["status"] == "RUNNING"
    assert await stage.rows("task_cancellation", stale.id) == []
    assert len(await stage.rows("run_event", stale.id)) == 2


async def test_a_term_of_another_partition_does_not_reach_a_run(stage: Stage) -> None:
    run = await stage.run(1)
    elsewhere = replace(run, partition=Partition(2))

    entry = entry_of(elsewhere, *STARTED)

    assert await send(stage.conn, [(entry, stage.terms[Partition(2)])]) == []
    assert (await stage.load(run.id)).seq == 1


async def test_a_batch_is_later_than_the_takeover_that_it_waited_for(stage: Stage) -> None:
    run = await stage.run()
    owner, other = await stage.session(), await stage.session()
    takeover = other.transaction()
    await takeover.start()
    await other.execute("UPDATE partition_term SET epoch = epoch + 1 WHERE partition = 0")

    batch = asyncio.create_task(stage.send(owner, entry_of(run, *STARTED)))
    await stage.until_locked()
    released_at = await stage.conn.fetchval("SELECT clock_timestamp()")
    await takeover.rollback()

    assert await batch == [run.id]
    assert (await stage.row("run", run.id))["updated_at"] > released_at


async def test_terms_are_locked_in_their_order(stage: Stage) -> None:
    entries = [entry_of(await stage.run(n), *STARTED) for n in (5, 2, 7)]
    columns = Columns()
    for entry in entries:
        columns.add(entry, stage.terms[entry.run.partition], 1)

    text = await stage.conn.fetchval("EXPLAIN (FORMAT JSON) " + SQL["write"], *columns.arguments())

    (locks,) = _nodes(json.loads(text)[0]["Plan"], "LockRows")
    (below,) = locks["Plans"]
    assert (below["Node Type"], below["Sort Key"]) == ("Sort", ["t.partition"])


def _nodes(plan: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [plan] if plan["Node Type"] == kind else []
    for child in plan.get("Plans", ()):
        found += _nodes(child, kind)
    return found


async def test_many_runs_of_many_days_are_written_at_once(wide: Stage) -> None:
    runs = [await wide.run(n % 8) for n in range(20)]
    far = await wide.run(run_id=await wide.conn.fetchval("SELECT uuid7_floor(now() + '9 days')"))

    wrote = await wide.send(wide.conn, *(entry_of(run, *STARTED) for run in [*runs, far]))

    assert set(wrote) == {run.id for run in [*runs, far]}
    for run in (runs[0], far):
        row = await wide.row("run", run.id)
        assert row["status"] == "RUNNING"
