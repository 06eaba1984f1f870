"""What a run went through, as the API shows it: its steps, and its events in order."""

from datetime import timedelta
from uuid import uuid4

import pytest

from orchestrator.domain.errors import NotFound
from orchestrator.domain.messages import (
    AttemptFailed,
    RunFailed,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from orchestrator.domain.run import Run, RunId, StepStatus, step_execution_id
from orchestrator.store import history, runs
from orchestrator.store.definitions import Definitions
from orchestrator.store.page import Page
from tests.integration.store.stage import HOUR, WENT_ON, A, B, Stage

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("each_dsn", ["dsn"], indirect=True),  # one server is enough
]

SECOND = timedelta(seconds=1)
P, R, C, F, S = (
    StepStatus.PENDING,
    StepStatus.RUNNING,
    StepStatus.COMPLETED,
    StepStatus.FAILED,
    StepStatus.SKIPPED,
)


async def steps(stage: Stage, run: Run) -> list[history.StepRow]:
    return await history.steps(stage.conn, stage.definitions, run.id)


async def statuses(stage: Stage, run: Run) -> list[tuple[str, StepStatus]]:
    return [(step.step_id, step.status) for step in await steps(stage, run)]


async def test_every_step_is_shown_from_the_beginning_and_keeps_its_id(stage: Stage) -> None:
    run = await stage.run()
    before = await steps(stage, run)
    assert [(s.step_id, s.status, s.position) for s in before] == [
        ("a", P, 0),
        ("b", P, 1),
        ("c", P, 2),
    ]

    await stage.write(run, StepStarted(A, 1, 1, {"n": 1}, HOUR))

    after = await steps(stage, run)
    assert [s.id for s in after] == [s.id for s in before]
    assert after[0].id == step_execution_id(run.id, "a")
    assert (after[0].status, after[0].input, after[0].attempt) == (R, '{"n":1}', 1)
    assert after[0].started_at is not None


async def test_what_an_ended_run_did_not_reach_is_skipped_until_it_is_retried(
    stage: Stage,
) -> None:
    run = await stage.write(
        await stage.started(), *WENT_ON, StepFailed(B, 1, "broke"), RunFailed("x")
    )
    assert await statuses(stage, run) == [("a", C), ("b", F), ("c", S)]

    await runs.retry(stage.conn, run.id)
    assert await statuses(stage, run) == [("a", C), ("b", P), ("c", P)]

    await runs.cancel(stage.conn, run.id, None)
    assert await statuses(stage, run) == [("a", C), ("b", S), ("c", S)]


async def test_steps_are_in_the_order_of_their_start(stage: Stage) -> None:
    run = await stage.write(await stage.run(), StepStarted(B, 1, 1, {}, HOUR))
    run = await stage.write(run, StepStarted(A, 1, 1, {}, HOUR))

    assert [step.step_id for step in await steps(stage, run)] == ["b", "a", "c"]


async def test_a_step_keeps_its_first_start_and_shows_its_last_failure(stage: Stage) -> None:
    run = await stage.started()
    first = (await steps(stage, run))[0]
    run = await stage.write(run, AttemptFailed(A, 1, "busy", SECOND, 2))
    waits = (await steps(stage, run))[0]
    run = await stage.write(run, StepStarted(A, 2, 2, {}))
    again = (await steps(stage, run))[0]
    await stage.write(run, StepCompleted(A, 2, [1]))
    done = (await steps(stage, run))[0]

    assert (waits.status, waits.error_message) == (R, "busy")
    assert (again.attempt, again.error_message) == (2, None)
    assert first.started_at == again.started_at == done.started_at
    assert (done.output, done.completed_at is not None) == ("[1]", True)


async def test_a_workflow_that_cannot_be_read_leaves_what_started(stage: Stage) -> None:
    run = await stage.started()
    await stage.conn.execute("DELETE FROM workflow WHERE id = $1", stage.workflow_id)

    found = await history.steps(stage.conn, Definitions(HOUR), run.id)

    assert [step.step_id for step in found] == ["a"]


async def test_events_are_numbered_without_gaps_over_all_writers(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *WENT_ON)
    await runs.cancel(stage.conn, run.id, "enough")
    await runs.retry(stage.conn, run.id)

    rows, total = await history.history(stage.conn, run.id, Page(1, 100))

    assert total == len(rows) == 7
    assert [row.seq for row in rows] == list(range(1, 8))
    assert [row.kind for row in rows] == [
        "RunCreated",
        "RunStarted",
        "StepStarted",
        "StepCompleted",
        "StepStarted",
        "RunCancelled",
        "RunRetried",
    ]
    epoch = stage.terms[run.partition].epoch
    assert [row.epoch for row in rows] == [0, epoch, epoch, epoch, epoch, 0, 0]
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    assert rows[5].event == '{"kind":"RunCancelled","reason":"enough"}'


async def test_a_page_may_begin_within_a_decision_and_lie_beyond_the_end(stage: Stage) -> None:
    run = await stage.write(await stage.started(), *WENT_ON)

    second, total = await history.history(stage.conn, run.id, Page(2, 2))
    beyond, same = await history.history(stage.conn, run.id, Page(9, 2))

    assert (total, same, beyond) == (5, 5, [])
    assert [row.seq for row in second] == [3, 4]


async def test_a_run_that_does_not_exist_has_no_history(stage: Stage) -> None:
    nobody = RunId(uuid4())

    with pytest.raises(NotFound):
        await history.steps(stage.conn, stage.definitions, nobody)
    with pytest.raises(NotFound):
        await history.history(stage.conn, nobody, Page(1, 10))


async def test_a_run_without_a_history_is_not_missing(stage: Stage) -> None:
    run = await stage.run()
    await stage.conn.execute("DELETE FROM run_event WHERE run_id = $1", run.id)

    assert await history.history(stage.conn, run.id, Page(1, 10)) == ([], 0)
