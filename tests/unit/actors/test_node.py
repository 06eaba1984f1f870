"""The node among plain functions: what it takes up, whom it believes, and how it hands over."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.agent import TaskRef
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepPath, StepStatus
from tests.unit.actors.world import LIMITS, P0, Bad, World, a_run

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
