"""The owners' look at their rows: who wants an actor, whose rows moved, and when to look again."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import uuid4

import pytest

from orchestrator.domain.messages import AttemptFailed, RunFailed
from orchestrator.domain.run import Run, RunId
from orchestrator.domain.term import Partition
from orchestrator.store import runs, scan
from orchestrator.store.scan import Scan
from tests.integration.store.stage import HOUR, A, Stage

pytestmark = pytest.mark.integration

SECOND = timedelta(seconds=1)
EVERYWHERE = [Partition(n) for n in range(8)]
DUE = "UPDATE run SET wake_at = now() - interval '1 s' WHERE id = $1"


async def look(
    stage: Stage,
    active: Mapping[RunId, int] | None = None,
    limit: int = 100,
    *partitions: int,
) -> Scan:
    owned = [Partition(n) for n in partitions] or EVERYWHERE
    return await scan.scan(stage.conn, owned, active or {}, limit)


async def waiting(stage: Stage, delay: timedelta = HOUR) -> Run:
    return await stage.write(await stage.started(), AttemptFailed(A, 1, "no", delay, 2))


async def test_nothing_is_found_where_nothing_is(stage: Stage) -> None:
    assert await look(stage) == Scan((), (), None, pending_left=False)
    assert await look(stage, None, 0) == Scan((), (), None, pending_left=False)


async def test_runs_at_work_and_due_ones_come_before_new_ones_the_oldest_first(
    stage: Stage,
) -> None:
    new = [await stage.run(n) for n in (3, 1, 2)]
    at_work = await stage.started(5)
    due = await waiting(stage)
    await stage.conn.execute(DUE, due.id)

    seen = await look(stage)

    assert seen.ready == (at_work.id, due.id, *(run.id for run in new))
    assert not seen.pending_left
    few = await look(stage, None, 3)
    assert few.ready == seen.ready[:3]
    assert few.pending_left
    none = await look(stage, None, 0)
    assert (none.ready, none.pending_left) == ((), True)


async def test_only_the_unfinished_of_the_owned_partitions_are_wanted(stage: Stage) -> None:
    ours, foreign = await stage.run(1), await stage.run(2)
    await stage.write(await stage.started(1), RunFailed("over"))
    cancelled = await stage.started(1)
    await runs.cancel(stage.conn, cancelled.id, None)

    assert (await look(stage, None, 10, 1)).ready == (ours.id,)
    assert (await look(stage, None, 10, 2)).ready == (foreign.id,)
    assert (await look(stage, None, 10, 3)).ready == ()


async def test_an_active_run_is_not_wanted_again(stage: Stage) -> None:
    new, at_work, due = await stage.run(), await stage.started(), await waiting(stage)
    await stage.conn.execute(DUE, due.id)
    active = {run.id: run.seq for run in (new, at_work, due)}

    assert await look(stage, active) == Scan((), (), None, pending_left=False)
    assert await look(stage, active, 0) == Scan((), (), None, pending_left=False)


async def test_a_run_that_waits_is_wanted_when_it_is_due_and_the_next_time_is_told(
    stage: Stage,
) -> None:
    later, sooner = await waiting(stage, HOUR), await waiting(stage, 60 * SECOND)

    seen = await look(stage)

    assert seen.ready == ()
    assert seen.next_due is not None
    assert 30 * SECOND < seen.next_due <= 60 * SECOND
    one_is_active = await look(stage, {sooner.id: sooner.seq})
    assert one_is_active.next_due is not None
    assert one_is_active.next_due > 60 * SECOND
    await stage.conn.execute(DUE, later.id)
    due = await look(stage)
    assert due.ready == (later.id,)
    assert due.next_due is not None
    assert due.next_due > 30 * SECOND  # what is due already is no time to look again
    assert (await look(stage, None, 10, 7)).next_due is None


async def test_active_runs_whose_rows_moved_are_told_also_those_that_are_gone(
    stage: Stage,
) -> None:
    still, moved, gone = await stage.started(), await stage.started(), RunId(uuid4())
    active = {still.id: still.seq, moved.id: moved.seq, gone: 3}
    await runs.cancel(stage.conn, moved.id, None)

    seen = await look(stage, active, 0)

    assert set(seen.moved) == {moved.id, gone}


async def test_a_run_put_back_by_a_retry_is_moved_and_wanted_once_its_actor_is_gone(
    stage: Stage,
) -> None:
    run = await stage.started()
    await runs.cancel(stage.conn, run.id, None)
    await runs.retry(stage.conn, run.id)

    seen = await look(stage, {run.id: run.seq})

    assert (seen.moved, seen.ready) == ((run.id,), ())
    assert (await look(stage)).ready == (run.id,)
