"""Ownership as a state: what is owned follows what is assigned, whatever happened meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.hint import Hint
from orchestrator.domain.term import Partition
from orchestrator.feed.ownership import Means, Ownership
from orchestrator.telemetry.metrics import Metrics

GRACE_S = 0.05


class World:
    """An owner, a group and a database in memory; records what was done, in order."""

    def __init__(self) -> None:
        self.done: list[tuple[str, tuple[int, ...]]] = []
        self.owned: set[Partition] = set()
        self.lost: asyncio.Queue[Partition] = asyncio.Queue()
        self.refused: set[int] = set()  # those for which the group refuses a commit
        self.held_by_others: set[int] = set()  # those that a living process has still to hand over
        self.away = 0  # how often the database is away
        self.may_leave = asyncio.Event()
        self.may_leave.set()
        self.held = asyncio.Event()
        self.held.set()

    # -- the owner --

    def partitions(self) -> Sequence[Partition]:
        return tuple(self.owned)

    async def own(self, partitions: Sequence[Partition]) -> None:
        self._note("own", partitions)
        self.owned |= set(partitions)

    async def hand_over(self, partitions: Sequence[Partition]) -> None:
        self._note("leave", partitions)
        self.owned -= set(partitions)
        await self.may_leave.wait()
        self._note("left", partitions)

    async def confirm(self) -> None:
        self._note("confirm", tuple(self.owned))

    def suspend(self) -> None: ...
    def resume(self) -> None: ...
    def hint(self, hint: Hint) -> None: ...

    # -- the means --

    async def prove(self, partitions: Sequence[Partition]) -> frozenset[Partition]:
        self._note("prove", partitions)
        return frozenset(p for p in partitions if p not in self.refused)

    async def vacant(self, partitions: Sequence[Partition]) -> frozenset[Partition]:
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        return frozenset(p for p in partitions if p not in self.held_by_others)

    async def patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        await work()

    def _note(self, what: str, partitions: Sequence[Partition]) -> None:
        self.done.append((what, tuple(sorted(partitions))))

    # -- waiting --

    def lose(self, number: int) -> None:
        """End a term as the fence does."""
        self.owned.discard(Partition(number))
        self.lost.put_nowait(Partition(number))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - nothing here waits for the clock
                await asyncio.sleep(0)

    async def until_done(self, what: str, *partitions: int) -> None:
        await self.until(lambda: (what, partitions) in self.done)


@asynccontextmanager
async def settling(world: World) -> AsyncIterator[Ownership]:
    means = Means(
        prove=world.prove, vacant=world.vacant, patiently=world.patiently, held=world.held
    )
    ownership = Ownership(world, means, GRACE_S, Metrics("1"))
    task = asyncio.create_task(ownership.run())
    yield ownership
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def numbers(*partitions: int) -> frozenset[Partition]:
    return frozenset(map(Partition, partitions))


async def test_what_is_assigned_and_vacant_is_proven_and_claimed() -> None:
    world = World()

    async with settling(world) as ownership:
        ownership.assign(numbers(1, 2))
        await world.until_done("own", 1, 2)

    assert world.done == [("confirm", ()), ("prove", (1, 2)), ("own", (1, 2))]


async def test_what_stays_is_confirmed_and_not_claimed_again() -> None:
    world = World()

    async with settling(world) as ownership:
        ownership.assign(numbers(1, 2))
        await world.until_done("own", 1, 2)
        ownership.assign(numbers(1, 2))
        await world.until_done("confirm", 1, 2)
        ownership.assign(numbers(2, 3))
        await world.until_done("own", 3)

    assert ("leave", (1,)) in world.done
    assert [what for what in world.done if what[0] == "own"] == [("own", (1, 2)), ("own", (3,))]


async def test_a_living_owner_gets_the_grace_and_no_more() -> None:
    world = World()
    world.held_by_others = {1, 2}

    async with settling(world) as ownership:
        ownership.assign(numbers(1, 2, 3))
        await world.until_done("own", 3)
        assert world.owned == {3}
        world.held_by_others = {2}
        await world.until_done("own", 1)
        assert world.owned == {1, 3}
        began = asyncio.get_running_loop().time()
        await world.until_done("own", 2)

    assert asyncio.get_running_loop().time() - began > GRACE_S / 2


async def test_without_an_accepted_commit_nothing_is_claimed() -> None:
    world = World()
    world.refused = {1}

    async with settling(world) as ownership:
        ownership.assign(numbers(1, 2))
        await world.until_done("own", 2)
        await world.until(lambda: world.done.count(("prove", (1,))) >= 1)
        assert world.owned == {2}
        world.refused = set()
        await world.until_done("own", 1)


async def test_a_fenced_partition_is_claimed_again_after_a_new_commit() -> None:
    world = World()

    async with settling(world) as ownership:
        ownership.assign(numbers(1))
        await world.until_done("own", 1)
        world.done.clear()
        world.lose(1)
        await world.until_done("own", 1)

    assert world.done == [("prove", (1,)), ("own", (1,))]


async def test_a_fenced_partition_that_is_no_longer_assigned_stays_away() -> None:
    world = World()

    async with settling(world) as ownership:
        ownership.assign(numbers(1, 2))
        await world.until_done("own", 1, 2)
        world.refused = {1}
        world.lose(1)
        await world.until_done("prove", 1)
        ownership.assign(numbers(2))
        world.refused = set()
        await world.until_done("confirm", 2)

    assert world.owned == {2}


async def test_what_comes_back_while_it_leaves_is_claimed_anew_when_it_has_left() -> None:
    world = World()

    async with settling(world) as ownership:
        ownership.assign(numbers(1))
        await world.until_done("own", 1)
        world.may_leave.clear()
        ownership.assign(numbers())
        await world.until_done("leave", 1)
        ownership.assign(numbers(1))
        await world.until(lambda: [what for what, _ in world.done].count("confirm") == 3)
        assert world.owned == set()
        world.may_leave.set()
        await world.until(lambda: world.owned == {1})

    assert world.done[-3:] == [("left", (1,)), ("prove", (1,)), ("own", (1,))]


async def test_an_absent_database_is_asked_again() -> None:
    world = World()
    world.away = 1

    async with settling(world) as ownership:
        ownership.assign(numbers(1))
        await world.until_done("own", 1)


async def test_nothing_is_claimed_while_the_lock_is_lost() -> None:
    world = World()
    world.held.clear()

    async with settling(world) as ownership:
        ownership.assign(numbers(1))
        for _ in range(100):
            await asyncio.sleep(0)
        assert world.done == []
        world.held.set()
        await world.until_done("own", 1)
