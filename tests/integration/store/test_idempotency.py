"""Runs under an Idempotency-Key: one key, one body, one run."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from asyncpg import Connection

from orchestrator.domain.errors import Malformed, Unavailable
from orchestrator.domain.run import RunStatus
from orchestrator.store import idempotency, runs
from orchestrator.store.creation import NewRun
from orchestrator.store.runs import RunRow
from tests.integration.store.stage import PARTITIONS, Stage, until_locked
from tests.integration.store.test_creation import NO_PARTS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("each_dsn", ["dsn"], indirect=True),  # one server is enough
]

KEY = "a key"
BODY, OTHER = b"\1" * 32, b"\2" * 32
AGE = "UPDATE idempotency SET created_at = created_at - $1::interval"


def new_run(stage: Stage, text: str = "{}") -> NewRun:
    return NewRun(stage.workflow_id, 1, stage.key, "flow", text)


async def create(
    stage: Stage, conn: Connection | None = None, body: bytes = BODY, key: str = KEY
) -> tuple[RunRow, bool]:
    return await idempotency.create_once(conn or stage.conn, new_run(stage), key, body, PARTITIONS)


async def count(stage: Stage) -> int:
    return int(await stage.conn.fetchval("SELECT count(*) FROM run"))


async def test_a_key_makes_one_run(stage: Stage) -> None:
    made, now = await create(stage)
    again, later = await create(stage)

    assert (now, later) == (True, False)
    assert again == made
    assert made == await runs.get(stage.conn, made.id)
    assert (made.status, made.seq) == (RunStatus.PENDING, 1)
    assert await count(stage) == 1
    (event,) = await stage.rows("run_event", made.id)
    assert (event["seq"], event["events"], event["at"]) == (
        1,
        '[{"kind":"RunCreated"}]',
        made.created_at,
    )


async def test_a_key_gives_its_run_as_it_was_first_answered(stage: Stage) -> None:
    made, _ = await create(stage)
    await runs.cancel(stage.conn, made.id, "enough")

    assert await idempotency.find_once(stage.conn, stage.workflow_id, KEY, BODY) == made
    assert (await create(stage))[0] == made


async def test_a_key_with_another_body_is_refused(stage: Stage) -> None:
    await create(stage)

    with pytest.raises(Malformed, match="used before with another body"):
        await create(stage, body=OTHER)
    with pytest.raises(Malformed):
        await idempotency.find_once(stage.conn, stage.workflow_id, KEY, OTHER)

    assert await count(stage) == 1


async def test_a_key_belongs_to_its_workflow(stage: Stage) -> None:
    made, _ = await create(stage)
    elsewhere = replace(new_run(stage), workflow_id=uuid4())

    assert await idempotency.find_once(stage.conn, elsewhere.workflow_id, KEY, BODY) is None
    other, now = await idempotency.create_once(stage.conn, elsewhere, KEY, BODY, PARTITIONS)

    assert now
    assert other.id != made.id


async def test_of_many_at_a_time_one_creates_and_the_others_get_its_run(stage: Stage) -> None:
    sessions = [await stage.session() for _ in range(8)]

    found = await asyncio.gather(*(create(stage, conn) for conn in sessions))

    assert sorted(now for _, now in found) == [False] * 7 + [True]
    assert len({row.id for row, _ in found}) == 1
    assert await count(stage) == 1


async def test_of_two_bodies_at_a_time_one_creates_and_the_other_is_refused(stage: Stage) -> None:
    first, second = await stage.session(), await stage.session()

    found = await asyncio.gather(
        create(stage, first), create(stage, second, OTHER), return_exceptions=True
    )

    assert len([one for one in found if isinstance(one, Malformed)]) == 1
    assert await count(stage) == 1


async def test_one_that_is_not_made_after_all_leaves_the_key_to_who_waited(stage: Stage) -> None:
    first, second = await stage.session(), await stage.session()
    held = first.transaction()
    await held.start()
    lost, _ = await create(stage, first)

    waits = asyncio.create_task(create(stage, second))
    await until_locked(stage.conn)
    await held.rollback()
    made, now = await waits

    assert now
    assert made.id != lost.id
    assert await count(stage) == 1


@pytest.mark.parametrize(("age", "free"), [("23 hours 59 minutes", False), ("24 hours", True)])
async def test_a_key_is_free_after_a_day(stage: Stage, age: str, *, free: bool) -> None:
    first, _ = await create(stage)
    await stage.conn.execute(AGE.replace("$1::interval", f"interval '{age}'"))
    found = await idempotency.find_once(stage.conn, stage.workflow_id, KEY, BODY)

    again, now = await create(stage, body=OTHER if free else BODY)

    assert (found is None) is free
    assert now is free
    assert (again.id != first.id) is free
    kept = await idempotency.find_once(stage.conn, stage.workflow_id, KEY, OTHER if free else BODY)
    assert kept is not None
    assert kept.id == again.id


async def test_a_day_without_parts_gets_them(stage: Stage) -> None:
    await stage.conn.execute(NO_PARTS)

    made, now = await create(stage)

    assert now
    assert await runs.get(stage.conn, made.id) == made


async def test_an_input_that_the_database_refuses_takes_no_key(stage: Stage) -> None:
    bad = new_run(stage, '{"a":')

    with pytest.raises(Malformed, match="input_data"):
        await idempotency.create_once(stage.conn, bad, KEY, BODY, PARTITIONS)

    assert (await create(stage))[1]


async def test_a_key_whose_run_was_dropped_says_so_and_makes_no_second(stage: Stage) -> None:
    made, _ = await create(stage)
    await drop(stage, made.id)

    with pytest.raises(Unavailable):
        await create(stage)


async def drop(stage: Stage, run_id: UUID) -> None:
    await stage.conn.execute("DELETE FROM run WHERE id = $1", run_id)
