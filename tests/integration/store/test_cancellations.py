"""Calls to be cancelled: found by the owner when they are due, settled once."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.domain.agent import Cancellation, TaskRef
from orchestrator.domain.messages import TaskRecorded
from orchestrator.domain.run import Run
from orchestrator.domain.term import Partition
from orchestrator.store import cancellations, runs
from tests.integration.store.stage import A, Stage

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("each_dsn", ["dsn"], indirect=True),  # one server is enough
]

EVERYWHERE = [Partition(n) for n in range(8)]
TASK = TaskRef("t", "c")


async def cancelled(stage: Stage, partition: int = 0, task: TaskRef | None = TASK) -> Run:
    run = await stage.started(partition)
    if task is not None:
        run = await stage.write(run, TaskRecorded(A, 1, task))
    await runs.cancel(stage.conn, run.id, None)
    return run


def message(run: Run) -> str:
    return f"run-{run.id}.a.1"


async def due(stage: Stage, *partitions: int, limit: int = 10) -> list[Any]:
    wanted = [Partition(n) for n in partitions] or EVERYWHERE
    return list(await cancellations.due(stage.conn, wanted, limit))


async def test_an_owner_finds_what_is_due_in_its_partitions(stage: Stage) -> None:
    ours = await cancelled(stage, 2)
    await cancelled(stage, 3)

    (row,) = await due(stage, 2, 4)

    assert (row.run_id, row.message_id, row.agent_name) == (ours.id, message(ours), "A")
    assert (row.task, row.attempts) == (TASK, 0)
    assert timedelta(0) < row.age < timedelta(minutes=1)


async def test_the_longest_due_come_first_and_not_more_than_wanted(stage: Stage) -> None:
    first, second, _ = [await cancelled(stage) for _ in range(3)]

    assert [row.run_id for row in await due(stage, limit=2)] == [first.id, second.id]


async def test_one_that_is_put_off_is_due_later(stage: Stage) -> None:
    run = await cancelled(stage)

    await cancellations.postpone(stage.conn, run.id, message(run), timedelta(hours=1))
    assert await due(stage) == []

    await cancellations.postpone(stage.conn, run.id, message(run), timedelta(0))
    (row,) = await due(stage)
    assert row.attempts == 2


async def test_the_first_outcome_stays(stage: Stage) -> None:
    run = await cancelled(stage)

    await cancellations.settle(stage.conn, run.id, message(run), Cancellation.CONFIRMED)
    await cancellations.settle(stage.conn, run.id, message(run), Cancellation.UNREACHABLE)
    await cancellations.postpone(stage.conn, run.id, message(run), timedelta(0))

    row = await stage.row("task_cancellation", run.id)
    assert (row["outcome"], row["attempts"]) == ("confirmed", 1)
    assert row["settled_at"] >= row["asked_at"]
    assert await due(stage) == []


async def test_a_task_that_becomes_known_late_is_due_at_once_even_if_given_up(
    stage: Stage,
) -> None:
    waits, given_up = await cancelled(stage, task=None), await cancelled(stage, task=None)
    await cancellations.postpone(stage.conn, waits.id, message(waits), timedelta(hours=1))
    unknown = Cancellation.TASK_UNKNOWN
    await cancellations.settle(stage.conn, given_up.id, message(given_up), unknown)
    assert await due(stage) == []

    for run in (waits, given_up):
        await cancellations.learn_task(stage.conn, run.id, message(run), TASK)

    assert [row.task for row in await due(stage)] == [TASK, TASK]
    assert (await stage.row("task_cancellation", given_up.id))["settled_at"] is None


async def test_a_task_that_is_known_is_not_replaced_nor_settled_ones_opened(stage: Stage) -> None:
    run = await cancelled(stage)
    await cancellations.settle(stage.conn, run.id, message(run), Cancellation.CONFIRMED)

    await cancellations.learn_task(stage.conn, run.id, message(run), TaskRef("other", None))

    row = await stage.row("task_cancellation", run.id)
    assert (row["task_id"], row["outcome"]) == ("t", "confirmed")


async def test_a_task_of_a_call_that_nobody_cancelled_is_nothing_to_do(stage: Stage) -> None:
    run = await stage.started()

    await cancellations.learn_task(stage.conn, run.id, message(run), TASK)

    assert await stage.rows("task_cancellation", run.id) == []
