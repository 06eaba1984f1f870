"""The node among plain functions: what it takes up, and what it believes."""

import asyncio
from collections import deque
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.actors import node as nodes
from orchestrator.domain.agent import TaskRef
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepPath, StepStatus
from tests.unit.actors.world import LIMITS, P0, P1, Bad, World, a_run

ONE = StepPath("one")


def hint(run: Run, seq: int) -> Hint:
    return Hint(HintKind.CANCEL_REQUESTED, run.id, P0, seq)


CALLED = StepExecution(ONE, StepStatus.RUNNING, 1, 1, input={})
FOLLOWED = replace(CALLED, task=TaskRef("t", None))


async def test_a_hint_that_comes_late_does_not_abort_a_call() -> None:
    world, run = World(), a_run(1)
    world.add(replace(run, status=RunStatus.FAILED))

    async with world.node() as node:
        retried = world.end(run, RunStatus.PENDING)
        await world.until(lambda: world.calls)  # a look was faster than the hint
        node.nudge(hint(run, retried.seq))
        scans = world.scans
        await world.until(lambda: world.scans > scans + 5)

        assert len(world.calls) == 1
        assert world.status(run) is RunStatus.RUNNING


async def test_of_what_another_process_says_the_rows_are_asked() -> None:
    world, run = World(limits=replace(LIMITS, scan_interval=timedelta(hours=1))), a_run(1)
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: world.calls)
        node.hint(hint(run, 1_000))
        await world.until(lambda: world.scans == 2)
        assert len(world.calls) == 1

        cancelled = world.end(run, RunStatus.CANCELLED)
        node.hint(hint(run, cancelled.seq))
        await world.until(lambda: run.id not in node._supervisors[P0])


async def test_a_cancel_ends_a_call_within_its_grace_and_what_follows_a_task_at_once() -> None:
    world, called, followed = World(), a_run(1), a_run(2, P0, FOLLOWED)
    world.limits = replace(LIMITS, scan_interval=timedelta(hours=1))
    world.add(called, followed)

    async with world.node() as node:
        await world.until(lambda: len(world.calls) == 1 and world.rows[followed.id].seq == 2)
        loads = world.loads
        aborted = [c.task for s in node._supervisors.values() for c in s._children.values()]
        for run in (called, followed):
            cancelled = world.end(run, RunStatus.CANCELLED)
            node.nudge(hint(run, cancelled.seq))
        await asyncio.wait(aborted, timeout=5)

        assert all(task.cancelled() for task in aborted)
        await world.until(lambda: world.loads > loads)  # they were looked at again, and left
        assert not node._supervisors[P0]


async def test_a_cancel_that_no_hint_told_of_is_seen_by_a_look() -> None:
    world, run = World(), a_run(1)
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: world.calls)
        world.end(run, RunStatus.CANCELLED)

        await world.until(lambda: not node._supervisors[P0])


async def test_a_retry_that_comes_while_the_old_actor_leaves_needs_no_look() -> None:
    world, run = World(limits=replace(LIMITS, scan_interval=timedelta(hours=1))), a_run(1)
    world.add(run)
    write = world.write

    async with world.node() as node:

        async def retried_at_once(*arguments: object) -> None:
            await write(*arguments)  # type: ignore[arg-type]
            if world.status(run).ended:
                world.write = write
                node.nudge(hint(run, world.end(run, RunStatus.PENDING).seq))

        world.write = retried_at_once
        world.answer = world.echo
        await world.until(lambda: len(world.calls) == 2)


async def test_a_run_whose_rows_cannot_be_used_is_failed_and_the_others_go_on() -> None:
    world, good, bad = World(), a_run(1), a_run(2)
    world.answer = world.echo
    world.add(good, bad)
    world.bad[bad.id] = Bad(bad.id, P0)

    async with world.node():
        await world.until(lambda: world.status(good) is RunStatus.COMPLETED)
        await world.until(lambda: world.status(bad) is RunStatus.FAILED)


async def test_a_run_that_cannot_even_be_failed_harms_no_other() -> None:
    world, good, bad = World(), a_run(2), a_run(1)
    world.answer = world.echo
    world.fail_corrupt_raises = RuntimeError("its page is broken")
    world.add(bad)
    world.bad[bad.id] = Bad(bad.id, P0)

    async with world.node():
        await world.until(lambda: world.loads > 2)
        world.add(good)
        await world.until(lambda: world.status(good) is RunStatus.COMPLETED)


# -- taking up ------------------------------------------------------------------------------------


async def test_runs_at_work_come_before_new_ones_and_none_above_the_cap() -> None:
    world = World(limits=replace(LIMITS, max_active_runs=3))
    new = [a_run(n) for n in range(1, 6)]
    left = [a_run(n, P0, CALLED) for n in range(11, 13)]
    world.add(*new, *left)

    async with world.node() as node:
        await world.until(lambda: len(world.calls) == 3)
        called = {call.run.rpartition("-")[2] for call in world.calls}
        scans = world.scans
        await world.until(lambda: world.scans > scans + 3)

        assert {f"{run.id.int:012x}" for run in left} < called
        assert len(node._supervisors[P0]) == len(world.calls) == 3


async def test_a_row_beyond_the_cap_is_taken_up_when_there_is_room_without_a_hint() -> None:
    world = World(limits=replace(LIMITS, max_active_runs=2))
    world.answer = world.echo
    ours = [a_run(n) for n in range(1, 30)]
    world.add(*ours)

    async with world.node():
        await world.until(lambda: all(world.status(r) is RunStatus.COMPLETED for r in ours))

    assert len(world.calls) == len(ours)


async def test_a_new_run_is_started_without_a_look_while_there_is_room() -> None:
    world = World(limits=replace(LIMITS, max_active_runs=1, scan_interval=timedelta(hours=1)))
    first, second, foreign = a_run(1), a_run(2), a_run(3, P1)
    world.scanning = False

    async with world.node() as node:
        await world.until(lambda: world.scans)
        for run in (first, first, second, foreign):  # a hint may come twice
            world.add(run)
            node.wake(run)
        await world.until(lambda: world.calls)
        await asyncio.sleep(0)

        assert len(world.calls) == 1
        assert world.status(second) is world.status(foreign) is RunStatus.PENDING


async def test_a_stale_hint_of_a_new_run_that_has_ended_changes_nothing() -> None:
    world, run = World(), a_run(1)
    world.answer = world.echo
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: world.status(run) is RunStatus.COMPLETED)
        ended = world.rows[run.id]
        node.wake(run)
        await world.until(lambda: not node._supervisors[P0])

        assert world.rows[run.id] == ended
        assert len(world.calls) == 1


async def test_a_parked_run_comes_back_when_it_is_due_and_not_before() -> None:
    world = World(limits=replace(LIMITS, scan_interval=timedelta(hours=1)))
    run = a_run(1, P0, CALLED)
    world.add(run)
    world.waiting[run.id] = timedelta(seconds=0.05)

    async with world.node():
        await world.until(lambda: world.scans == 1)
        assert not world.calls
        world.waiting.clear()  # its time has come
        await world.until(lambda: world.calls)

    assert world.scans == 2  # not once in between


async def test_a_run_that_parks_itself_is_looked_for_at_its_time() -> None:
    limits = replace(LIMITS, scan_interval=timedelta(hours=1), park_after=timedelta(0))
    world = World(limits=limits)
    waits = replace(CALLED, due_in=timedelta(seconds=0.05))
    run = a_run(1, P0, waits)
    world.add(run)

    async with world.node():
        await world.until(lambda: world.loads == 1)
        world.rows[run.id] = a_run(1, P0, CALLED)
        await world.until(lambda: world.calls)


# -- the database away ----------------------------------------------------------------------------


async def test_hints_and_looks_wait_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_CLAIM_PAUSE_S", 0.001)
    world, hinted, seen = World(), a_run(1), a_run(2)
    world.answer = world.echo
    world.away = 2  # the claim finds none twice

    async with world.node() as node:
        assert world.epochs == {P0: 1}
        world.away = 5
        world.add(hinted)
        node.nudge(hint(hinted, 1))
        await world.until(lambda: world.status(hinted) is RunStatus.COMPLETED)
        world.away = 5
        world.add(seen)
        await world.until(lambda: world.status(seen) is RunStatus.COMPLETED)


async def test_hints_are_bounded_and_what_was_dropped_is_found_by_a_look() -> None:
    world, runs = World(), [a_run(n) for n in range(1, 20)]
    world.answer = world.echo
    world.add(*runs)
    world.scanning = False

    async with world.node() as node:
        await world.until(lambda: world.scans)
        node._hints = deque(maxlen=5)
        for run in runs:
            node.reload(run.id)
        await world.until(lambda: len(world.calls) == 5)
        world.scanning = True
        await world.until(lambda: all(world.status(r) is RunStatus.COMPLETED for r in runs))
