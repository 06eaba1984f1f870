"""Runs while the database goes away in every way it can: all end, and nothing is done twice."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from orchestrator.domain.agent import Call, Failure, Outcome, Output, TaskRef
from orchestrator.domain.errors import CallFailed, NotFound, Refused
from orchestrator.store import pool as pools
from orchestrator.store import runs
from tests.integration.engine.world import Engine, World, world

pytestmark = pytest.mark.integration

KILL = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
  WHERE application_name <> 'test journal' AND datname = current_database()"""


@pytest.fixture
async def stormy(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """Set the stage; whoever waits for the database gives up after half a second."""
    monkeypatch.setattr(pools, "COMMAND_TIMEOUT", 0.5)
    monkeypatch.setattr(pools, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(pools, "ACQUIRE_TIMEOUT", 0.5)
    async with world(dsn) as made:
        yield made


async def restless(call: Call) -> Output | TaskRef:
    """Answer at once, with a task, or not at all."""
    await asyncio.sleep(random.random() * 0.02)
    match random.randrange(8):
        case 0:
            raise CallFailed(Failure("busy", Outcome.TRANSIENT))
        case 1:
            raise CallFailed(Failure("lost", Outcome.UNKNOWN))
        case 2 | 3:
            return TaskRef(f"{call.run}/{call.step}", None)
        case _:
            return Output({"ok": True}, '{"ok":true}')


async def storm(world: World, seconds: float) -> None:
    """Break the line in one way after the other."""
    killer = await world.stage.session()
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(random.random() * 0.3)
        match random.randrange(6):
            case 0:
                world.proxy.cut()
            case 1:
                world.proxy.refuse()
                await asyncio.sleep(random.random() * 0.3)
                world.proxy.accept()
            case 2:
                world.proxy.swallow_answers()
                await asyncio.sleep(random.random())
                world.proxy.cut()
            case 3:
                world.proxy.swallow_requests()
                await asyncio.sleep(random.random())
                world.proxy.pass_new()
            case 4:
                world.proxy.say_farewell()
                await asyncio.sleep(random.random() * 0.01)
                world.proxy.cut()
            case _:
                await killer.execute(KILL)
    world.proxy.cut()
    world.proxy.accept()


async def test_every_run_completes_through_any_outage(stormy: World) -> None:
    stormy.agents.reply = restless
    async with stormy.engine() as engine:
        await engine.own()
        await stormy.create(150)
        async with asyncio.TaskGroup() as group:
            group.create_task(storm(stormy, 5))

        assert await stormy.ended() == {"COMPLETED": 150}

    await stormy.check_histories()


async def meddle(world: World, ids: list, seconds: float) -> None:  # type: ignore[type-arg]
    """Cancel and retry runs at random."""
    api = await world.stage.session()
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.002)
        run_id = random.choice(ids)
        cancelling = random.random() < 0.5
        try:
            if not cancelling:
                await runs.retry(api, run_id)
            else:
                await runs.cancel(api, run_id, None)
        except (Refused, NotFound):
            pass


async def take_turns(engines: list[Engine], seconds: float) -> None:
    """Have one after the other claim partitions at random."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(random.random() * 0.1)
        await random.choice(engines).own([random.randrange(8)])


async def test_two_owners_that_fight_over_partitions_do_no_harm(stormy: World) -> None:
    stormy.agents.reply = restless
    async with stormy.engine() as one, stormy.engine() as other:
        ids = await stormy.create(150)
        await one.own()
        async with asyncio.TaskGroup() as group:
            group.create_task(take_turns([one, other], 4))
            group.create_task(meddle(stormy, ids, 4))
            group.create_task(storm(stormy, 4))
        await one.own()

        found = await stormy.ended()

    assert found.total() == 150
    assert found["FAILED"] == 0
    await stormy.check_histories()
