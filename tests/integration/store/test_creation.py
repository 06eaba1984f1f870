"""New runs: made in groups, and what becomes of them when the database does not play along."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from asyncpg import Connection

from bench.stack.proxy import Proxy
from orchestrator.domain.errors import Malformed, Overloaded, Stale, Unavailable
from orchestrator.domain.run import RunStatus
from orchestrator.store import runs
from orchestrator.store.creation import Created, Creator, NewRun
from tests.integration.store.stage import PARTITIONS, WORKFLOW, Stage, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("each_dsn", ["dsn"], indirect=True),  # one server is enough
]

NO_PARTS = """DO $$ DECLARE part name; BEGIN
  FOR part IN SELECT inhrelid::regclass FROM pg_inherits
      WHERE inhparent IN ('run'::regclass, 'step_execution'::regclass, 'run_event'::regclass)
        AND inhrelid::regclass::text ~ '[0-9]{8}$' LOOP
    EXECUTE format('DROP TABLE %I', part);
  END LOOP;
END $$"""
PARTS_LOCK = "SELECT pg_advisory_xact_lock(1869767528, 2)"


def new_run(stage: Stage, text: str = '{"b": 1, "a": 2}') -> NewRun:
    return NewRun(stage.workflow_id, 1, stage.key, "flow", text)


async def outcomes(creator: Creator, *wanted: NewRun) -> list[Created | BaseException]:
    async with asyncio.timeout(20):
        made = (creator.create(new) for new in wanted)
        return list(await asyncio.gather(*made, return_exceptions=True))


async def test_a_run_is_as_it_was_asked_for(stage: Stage) -> None:
    async with Creator(stage.connect, PARTITIONS) as creator:
        made = await creator.create(new_run(stage))

    row = await runs.get(stage.conn, made.id)
    assert (row.status, row.seq, row.input) == (RunStatus.PENDING, 1, '{"b": 1, "a": 2}')
    assert (row.created_at, row.partition) == (made.created_at, made.partition)
    assert made.created_at.microsecond % 1000 == 0
    (event,) = await stage.rows("run_event", made.id)
    assert (event["seq"], event["epoch"], event["at"]) == (1, 0, made.created_at)
    assert event["events"] == '[{"kind":"RunCreated"}]'


async def test_many_requests_are_one_statement_and_each_gets_its_own_run(stage: Stage) -> None:
    texts = [f'{{"n":{n}}}' for n in range(200)]

    async with Creator(stage.connect, PARTITIONS) as creator:
        made = await outcomes(creator, *(new_run(stage, text) for text in texts))

    assert not [wrong for wrong in made if isinstance(wrong, BaseException)]
    ids = [one.id for one in made if isinstance(one, Created)]
    assert [(await runs.get(stage.conn, run_id)).input for run_id in ids] == texts
    assert {one.partition for one in made if isinstance(one, Created)} == set(range(PARTITIONS))
    written = await stage.conn.fetch("SELECT DISTINCT xmin::text FROM run WHERE id = ANY($1)", ids)
    assert len(written) <= 2  # what waited while the first was written


async def test_an_input_that_the_database_refuses_hits_its_own_request_only(stage: Stage) -> None:
    texts = ['{"n":1}', '{"n":2', '{"n":3}', "\ud800", '{"n":5}']

    async with Creator(stage.connect, PARTITIONS) as creator:
        made = await outcomes(creator, *(new_run(stage, text) for text in texts))

    assert [type(one) for one in made] == [Created, Malformed, Created, Malformed, Created]


async def test_a_day_without_parts_gets_them_with_its_first_run(stage: Stage) -> None:
    await stage.conn.execute(NO_PARTS)

    async with Creator(stage.connect, PARTITIONS) as creator:
        made = await outcomes(creator, *[new_run(stage)] * 20)

    assert {type(one) for one in made} == {Created}


@asynccontextmanager
async def parts_are_busy(stage: Stage) -> AsyncIterator[None]:
    """Keep everybody from making parts; whoever tries gives up soon."""
    await stage.conn.execute("ALTER FUNCTION ensure_run_day(date) SET lock_timeout = '20ms'")
    await stage.conn.execute(NO_PARTS)
    busy = await stage.session()
    async with busy.transaction():
        await busy.execute(PARTS_LOCK)
        yield


async def test_parts_that_cannot_be_made_now_are_no_end_of_the_program(stage: Stage) -> None:
    async with Creator(stage.connect, PARTITIONS) as creator:
        async with parts_are_busy(stage):
            refused = await outcomes(creator, new_run(stage))
        made = await outcomes(creator, new_run(stage))

    assert [type(one) for one in refused] == [Unavailable]
    assert [type(one) for one in made] == [Created]


async def test_an_absent_database_refuses_at_once_and_is_used_again_when_back(
    stage: Stage,
) -> None:
    async with Proxy(stage.dsn) as proxy, Creator(Stage(proxy.dsn).connect, PARTITIONS) as creator:
        await creator.create(new_run(stage))
        proxy.refuse()
        assert [type(one) for one in await outcomes(creator, new_run(stage))] == [Unavailable]

        proxy.accept()
        assert [type(one) for one in await outcomes(creator, new_run(stage))] == [Created]


async def test_a_lost_answer_is_an_error_and_the_run_is_made_once_at_most(stage: Stage) -> None:
    async with Proxy(stage.dsn) as proxy, Creator(Stage(proxy.dsn).connect, PARTITIONS) as creator:
        await creator.create(new_run(stage))
        proxy.swallow_answers()
        lost = creator.create(new_run(stage, '{"lost":true}'))
        await until(lambda: holds(stage, 2))
        proxy.cut()

        with pytest.raises(Unavailable):
            await lost
        await creator.create(new_run(stage))

    assert await count(stage) == 3


async def test_a_lock_that_is_not_to_be_had_is_tried_for_again(stage: Stage) -> None:
    async def impatient() -> Connection:
        conn = await stage.connect()
        await conn.execute("SET lock_timeout = '20ms'")
        return conn

    blocker = await stage.session()
    held = blocker.transaction()
    await held.start()
    await blocker.execute("LOCK TABLE run IN SHARE MODE")

    async with Creator(impatient, PARTITIONS) as creator:
        made = creator.create(new_run(stage))
        await stage.until_locked()
        await held.rollback()
        async with asyncio.timeout(10):
            await made

    assert await count(stage) == 1


async def test_more_than_may_wait_are_refused(stage: Stage) -> None:
    async with Creator(stage.connect, PARTITIONS, max_waiting=2) as creator:
        first, second = creator.create(new_run(stage)), creator.create(new_run(stage))
        with pytest.raises(Overloaded):
            await creator.create(new_run(stage))
        await asyncio.gather(first, second)
        await creator.create(new_run(stage))


async def test_no_more_bytes_wait_than_may_and_one_alone_is_always_taken(stage: Stage) -> None:
    large = new_run(stage, '{"a":"' + 10_000 * "x" + '"}')

    async with Creator(stage.connect, PARTITIONS, max_waiting_bytes=15_000) as creator:
        for text in (large, large):  # one after the other
            await creator.create(text)
        waits = creator.create(large)
        with pytest.raises(Overloaded):
            await creator.create(large)
        await creator.create(new_run(stage))
        await waits

    async with Creator(stage.connect, PARTITIONS, max_waiting_bytes=1) as creator:
        await creator.create(large)


async def test_closing_makes_what_still_waits_and_nothing_more(stage: Stage) -> None:
    async with Creator(stage.connect, PARTITIONS) as creator:
        waits = creator.create(new_run(stage))

    await runs.get(stage.conn, waits.result().id)
    with pytest.raises(Unavailable):
        await creator.create(new_run(stage))


async def holds(stage: Stage, runs: int) -> bool:
    return await count(stage) == runs


async def count(stage: Stage) -> int:
    return int(await stage.conn.fetchval("SELECT count(*) FROM run"))


AGENT = """INSERT INTO agent (id, name, url, auth_type, timeout_ms, max_retries, initial_delay_ms,
    max_delay_ms, backoff_multiplier, status, created_at, updated_at)
  VALUES (gen_random_uuid(), $1, 'http://a', 'none', 1, 0, 1, 1, 1, 'active', now(), now())"""


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE workflow SET status = 'inactive'",
        "UPDATE workflow SET status = 'deleted'",
        "UPDATE workflow SET version = 2",
        "UPDATE workflow SET id = gen_random_uuid()",  # archived: a newer version has the id
        "UPDATE agent SET status = 'inactive' WHERE name = 'second'",
        "DELETE FROM agent WHERE name = 'first'",
    ],
)
async def test_a_run_is_made_only_of_a_version_that_stands_and_whose_agents_do(
    stage: Stage, change: str
) -> None:
    for name in ("first", "second"):
        await stage.conn.execute(AGENT, name)
    new = replace(new_run(stage), agents='["first","second"]')

    async with Creator(stage.connect, PARTITIONS) as creator:
        (before,) = await outcomes(creator, new)
        await stage.conn.execute(change)
        (after,) = await outcomes(creator, new)

    assert (type(before), type(after)) == (Created, Stale)
    assert await stage.conn.fetchval("SELECT count(*) FROM run") == 1


async def test_in_one_statement_each_request_is_judged_by_its_own_version(stage: Stage) -> None:
    other = uuid4()
    await stage.conn.execute(WORKFLOW, other, "other", "{}")
    good = new_run(stage)
    wanted = [
        good,
        replace(good, workflow_id=other),
        replace(good, workflow_version=2),
        replace(good, workflow_id=other, workflow_version=7, agents='["nobody"]'),
        replace(good, workflow_id=uuid4()),
        good,
    ]

    async with Creator(stage.connect, PARTITIONS) as creator:
        first = creator.create(good)  # the others wait for it, and are one batch
        made = await outcomes(creator, *wanted)
        await first

    assert [type(one) for one in made] == [Created, Created, Stale, Stale, Stale, Created]
    assert await stage.conn.fetchval("SELECT count(*) FROM run") == 4


async def test_a_run_has_the_name_that_its_workflow_has_when_it_is_made(stage: Stage) -> None:
    await stage.conn.execute("UPDATE workflow SET name = 'renamed'")

    async with Creator(stage.connect, PARTITIONS) as creator:
        made = await creator.create(new_run(stage))

    assert made.workflow_name == "renamed"
    assert (await runs.get(stage.conn, made.id)).workflow_name == "renamed"
