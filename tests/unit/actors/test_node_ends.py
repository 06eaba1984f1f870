"""The node among plain functions: terms that end, actors that crash, and handing over."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.agent import Call, Failure, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import RunStatus, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Term
from tests.unit.actors.world import LIMITS, P0, P1, World, a_run

ONE = StepPath("one")
CALLED = StepExecution(ONE, StepStatus.RUNNING, 1, 1, input={})
FOLLOWED = replace(CALLED, task=TaskRef("t", None))


# -- terms ----------------------------------------------------------------------------------------


async def test_a_fenced_write_ends_that_term_and_no_other() -> None:
    world = World()
    fenced, follows, other = a_run(1), a_run(2, P0, FOLLOWED), a_run(3, P1, FOLLOWED)
    world.add(follows, other)

    async with world.node(P0, P1) as node:
        await world.until(lambda: all(world.rows[r.id].seq == 2 for r in (follows, other)))
        world.epochs[P0] += 1  # somebody else has claimed
        world.add(fenced)

        async with asyncio.timeout(5):
            assert await node.lost.get() == P0
        assert node.partitions() == (P1,)
        await world.until(lambda: node._active == 1)
        assert not world.calls

        await node.own([P0])
        assert node.terms() == (Term(P1, 1), Term(P0, 3))
        await world.until(lambda: world.calls)
        assert node.lost.empty()


async def test_terms_that_are_over_are_found_by_asking() -> None:
    world, run = World(), a_run(1, P0, FOLLOWED)
    world.add(run)

    async with world.node(P0, P1) as node:
        await world.until(lambda: world.rows[run.id].seq == 2)
        world.epochs[P0] += 1

        await node.confirm()

        assert node.partitions() == (P1,)
        assert node.lost.get_nowait() == P0
        await world.until(lambda: node._active == 0)


async def test_nothing_starts_while_suspended_and_what_runs_goes_on() -> None:
    world, runs, late = World(), a_run(1), a_run(2)
    gate = asyncio.Event()

    async def answer(_: Call) -> Output:
        await gate.wait()
        return Output({}, "{}")

    world.answer = answer
    world.add(runs)

    async with world.node() as node:
        await world.until(lambda: world.calls)
        node.suspend()
        world.add(late)
        node.wake(late)
        node.nudge(Hint(HintKind.CANCEL_REQUESTED, late.id, P0, 1))
        gate.set()
        await world.until(lambda: world.status(runs) is RunStatus.COMPLETED)
        scans = world.scans
        await world.until(lambda: world.scans > scans + 2)
        assert len(world.calls) == 1

        node.resume()
        await world.until(lambda: world.status(late) is RunStatus.COMPLETED)


# -- crashes --------------------------------------------------------------------------------------


async def test_a_run_that_crashes_its_actor_again_and_again_is_failed() -> None:
    world, bad, good = World(), a_run(1), a_run(2)

    async def answer(call: Call) -> Output:
        if call.run.endswith("1"):
            raise RuntimeError("a fault of ours")
        return await world.echo(call)

    world.answer = answer
    world.add(bad, good)

    async with world.node():
        await world.until(lambda: world.status(bad) is RunStatus.FAILED)

        assert world.rows[bad.id].error == (
            "the run crashed its actor repeatedly; see the server's log"
        )
        assert len(world.calls) == 4
        assert world.status(good) is RunStatus.COMPLETED


async def test_a_crash_that_did_not_last_is_forgotten() -> None:
    world, run = World(), a_run(1)
    crashes = [RuntimeError("once"), RuntimeError("twice")]

    async def answer(call: Call) -> Output:
        if crashes:
            raise crashes.pop()
        return await world.echo(call)

    world.answer = answer
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: world.status(run) is RunStatus.COMPLETED)
        await world.until(lambda: not node._supervisors[P0]._crashes)


async def test_the_crashes_of_a_run_that_was_cancelled_are_forgotten() -> None:
    world, run = World(), a_run(1)

    async def answer(_: Call) -> Output:
        world.end(run, RunStatus.CANCELLED)
        raise RuntimeError("a fault of ours")

    world.answer = answer
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: node._supervisors[P0]._crashes)
        node.nudge(Hint(HintKind.CANCEL_REQUESTED, run.id, P0, world.rows[run.id].seq))
        await world.until(lambda: not node._supervisors[P0]._crashes)


# -- the end --------------------------------------------------------------------------------------


async def test_draining_ends_what_waits_at_once_and_gives_calls_their_grace() -> None:
    world = World(limits=replace(LIMITS, shutdown_grace=timedelta(seconds=30)))
    called, followed, late = a_run(1), a_run(2, P1, FOLLOWED), a_run(3)
    gate = asyncio.Event()

    async def answer(_: Call) -> Output:
        await gate.wait()
        return Output({}, "{}")

    world.answer = answer
    world.add(called, followed)

    async with world.node(P0, P1) as node:
        await world.until(lambda: world.calls and world.rows[followed.id].seq == 2)
        (child,) = node._supervisors[P1]._children.values()
        task = child.task
        draining = asyncio.create_task(node.drain())
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        assert not draining.done()

        world.add(late)
        node.wake(late)
        node.nudge(Hint(HintKind.CANCEL_REQUESTED, late.id, P0, 1))
        gate.set()
        async with asyncio.timeout(5):
            await draining

    assert world.status(called) is RunStatus.COMPLETED
    assert world.status(late) is RunStatus.PENDING
    assert world.status(followed) is RunStatus.RUNNING
    assert world.released == [Term(P1, 1), Term(P0, 1)]  # each as soon as it is idle


async def test_a_call_that_outlasts_the_grace_is_left_to_the_next_owner() -> None:
    world, run = World(), a_run(1)
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: world.calls)
        async with asyncio.timeout(5):
            await node.drain()

        assert node._active == 0

    assert world.status(run) is RunStatus.RUNNING
    assert world.released == [Term(P0, 1)]


async def test_a_failed_attempt_does_not_wait_out_its_backoff_while_draining() -> None:
    world = World(limits=replace(LIMITS, shutdown_grace=timedelta(seconds=30)))
    run = a_run(1)
    gate = asyncio.Event()

    async def answer(_: Call) -> Output:
        await gate.wait()
        raise CallFailed(Failure("busy", Outcome.TRANSIENT))

    world.answer = answer
    world.retry = RetryPolicy(3, 4_000, 4_000)
    world.add(run)

    async with world.node() as node:
        await world.until(lambda: world.calls)
        draining = asyncio.create_task(node.drain())
        await asyncio.sleep(0)
        gate.set()
        async with asyncio.timeout(1):
            await draining

    (step,) = world.rows[run.id].steps.values()
    assert step.due_in is not None


async def test_a_term_that_is_over_does_not_keep_the_others_from_being_released() -> None:
    world = World()

    async with world.node(P0, P1) as node:
        world.epochs[P0] += 1
        await node.drain()

    assert world.released == [Term(P1, 1)]
