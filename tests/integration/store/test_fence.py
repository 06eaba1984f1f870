"""The fence: what happens when an owner, its successor and the API write at the same time.

Each guard of the statement is also taken away once, and then the harm is seen that it prevents.
"""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest
from asyncpg import Connection

from orchestrator.domain.agent import TaskRef
from orchestrator.domain.messages import StepFailed, StepStarted, TaskRecorded
from orchestrator.domain.run import RunStatus
from orchestrator.domain.term import Partition
from orchestrator.store import runs, terms
from orchestrator.store.journal import SQL
from orchestrator.store.terms import SQL as TERMS
from tests.integration.store.stage import (
    HOUR,
    STARTED,
    WENT_ON,
    A,
    B,
    Stage,
    at_seq,
    entry_of,
    send,
    until_locked,
)

pytestmark = pytest.mark.integration

WRITE = SQL["write"]
FENCE = "FOR SHARE OF t"
SEQ = "AND r.seq = d.base_seq "
UNFINISHED = "AND r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"
BREAKS_PRUNING = 18  # the major version of PostgreSQL
NOT_COMPLETED = "WHERE s.status <> 'COMPLETED' "


def without(guard: str, instead: str = "") -> str:
    """Take a guard out of the statement."""
    assert WRITE.count(guard) == 1
    return WRITE.replace(guard, instead)


async def seq_of(conn: Connection, run_id: UUID) -> int:
    return int(await conn.fetchval("SELECT seq FROM run WHERE id = $1", run_id))


async def lock_run(stage: Stage, run_id: UUID) -> asyncpg.transaction.Transaction:
    """Hold a run's row in a transaction of another session."""
    conn = await stage.session()
    held = conn.transaction()
    await held.start()
    await conn.execute("SELECT FROM run WHERE id = $1 FOR UPDATE", run_id)
    return held


@pytest.mark.parametrize(
    ("sql", "safe"),
    [
        (WRITE, True),
        (without(FENCE, "FOR KEY SHARE OF t"), False),
        (without(FENCE), False),
    ],
    ids=["for share", "for key share", "no lock"],
)
async def test_a_takeover_waits_for_the_old_owners_batch(
    wide: Stage, sql: str, *, safe: bool
) -> None:
    run = await wide.run()
    old, new = await wide.session(), await wide.session()
    held = await lock_run(wide, run.id)

    batch = asyncio.create_task(wide.send(old, entry_of(run, *STARTED), sql=sql))
    await wide.until_locked()
    takeover = asyncio.create_task(terms.claim(new, run.partition, terms.Owner(uuid4(), "test")))
    if safe:
        await wide.until_locked(2)
        await held.rollback()
        await takeover
        loaded = await seq_of(new, run.id)
    else:
        async with asyncio.timeout(5):
            await takeover
        loaded = await seq_of(new, run.id)
        await held.rollback()
    wrote = await batch

    assert wrote == [run.id]
    assert (await seq_of(new, run.id) == loaded) is safe


@pytest.mark.parametrize("committed", [True, False])
async def test_a_batch_waits_for_a_takeover_under_way(wide: Stage, *, committed: bool) -> None:
    run = await wide.run()
    old, new = await wide.session(), await wide.session()
    takeover = new.transaction()
    await takeover.start()
    await terms.claim(new, run.partition, terms.Owner(uuid4(), "test"))

    batch = asyncio.create_task(wide.send(old, entry_of(run, *STARTED)))
    await wide.until_locked()
    await (takeover.commit() if committed else takeover.rollback())

    assert await batch == ([] if committed else [run.id])


async def test_an_old_term_is_refused_beside_a_new_one_in_the_same_batch(wide: Stage) -> None:
    first, second = await wide.run(partition=3), await wide.run(partition=3)
    old = wide.terms[first.partition]
    new = await wide.claim(3)

    wrote = await send(
        wide.conn, [(entry_of(first, *STARTED), old), (entry_of(second, *STARTED), new)]
    )

    assert wrote == [second.id]


async def test_a_takeover_that_loads_in_the_same_statement_loads_old_rows(wide: Stage) -> None:
    run = await wide.run()
    old, new = await wide.session(), await wide.session()
    batch = old.transaction()
    await batch.start()
    await wide.send(old, entry_of(run, *STARTED))
    both = "WITH t AS (" + TERMS["claim"] + ") SELECT r.seq FROM t, run r WHERE r.id = $4"  # noqa: S608 - ours

    takeover = asyncio.create_task(new.fetchval(both, run.partition, uuid4(), "test", run.id))
    await wide.until_locked()
    await batch.commit()

    assert await takeover == 1  # why loading is a statement of its own
    assert await seq_of(new, run.id) == 3


@pytest.mark.parametrize(
    ("sql", "refused"), [(WRITE, True), (without(SEQ), False)], ids=["guarded", "unguarded"]
)
async def test_an_owner_that_did_not_know_of_a_retry_is_refused(
    wide: Stage, sql: str, *, refused: bool
) -> None:
    run = await wide.started()
    await runs.cancel(wide.conn, run.id, None)
    await runs.retry(wide.conn, run.id)

    late = entry_of(run, *WENT_ON, TaskRecorded(B, 1, TaskRef("t", None)))
    wrote = await wide.send(wide.conn, late, sql=sql)

    assert (wrote == []) is refused
    steps = {s["path"]: s["status"] for s in await wide.rows("step_execution", run.id)}
    assert (steps == {"a": "PENDING"}) is refused


@pytest.mark.parametrize(
    ("sql", "refused"), [(WRITE, True), (without(UNFINISHED), False)], ids=["guarded", "unguarded"]
)
async def test_an_ended_run_is_not_touched_even_at_the_right_seq(
    wide: Stage, sql: str, *, refused: bool
) -> None:
    run = await wide.started()
    ended = await runs.cancel(wide.conn, run.id, "enough")

    wrote = await wide.send(wide.conn, entry_of(at_seq(run, ended.seq), *WENT_ON), sql=sql)

    assert (wrote == []) is refused
    assert ((await runs.get(wide.conn, run.id)).status is RunStatus.CANCELLED) is refused


@pytest.mark.parametrize(
    ("sql", "kept"), [(WRITE, True), (without(NOT_COMPLETED), False)], ids=["guarded", "unguarded"]
)
async def test_a_completed_step_is_never_started_again(
    wide: Stage, sql: str, *, kept: bool
) -> None:
    run = await wide.write(await wide.started(), *WENT_ON)

    again = entry_of(run, StepStarted(A, 1, 2, {}, HOUR))
    await wide.send(wide.conn, again, sql=sql)

    first, _ = await wide.rows("step_execution", run.id)
    assert ((first["status"], first["message_no"]) == ("COMPLETED", 1)) is kept


SINGLE_STATEMENT_CANCEL = """WITH u AS (
    UPDATE run SET status = 'CANCELLED', seq = seq + 1 WHERE id = $1 AND status = 'RUNNING'
    RETURNING id
  ), s AS (
    UPDATE step_execution s SET status = 'FAILED' FROM u
    WHERE s.run_id = u.id AND s.status = 'RUNNING')
  SELECT id FROM u"""
CANCEL = "SELECT id FROM cancel_run($1, null)"


@pytest.mark.parametrize(
    ("sql", "left"), [(CANCEL, "FAILED"), (SINGLE_STATEMENT_CANCEL, "RUNNING")]
)
async def test_a_cancel_ends_the_step_that_was_started_while_it_waited(
    wide: Stage, sql: str, left: str
) -> None:
    run = await wide.started()
    owner, api = await wide.session(), await wide.session()
    batch = owner.transaction()
    await batch.start()
    await wide.send(owner, entry_of(run, *WENT_ON))

    cancel = asyncio.create_task(api.fetchval(sql, run.id))
    await wide.until_locked()
    await batch.commit()

    assert await cancel == run.id
    steps = {s["path"]: s["status"] for s in await wide.rows("step_execution", run.id)}
    assert steps == {"a": "COMPLETED", "b": left}


BY_INDEX_ONLY = "ANY (array_append(NULL, d.run_id))"
PRUNED_TWICE = WRITE.replace(BY_INDEX_ONLY, "d.run_id")


@pytest.mark.parametrize("sql", [WRITE, PRUNED_TWICE], ids=["ours", "pruned twice"])
async def test_a_batch_behind_a_cancel_loses_that_run_only(wide: Stage, sql: str) -> None:
    ours = [await wide.run() for _ in range(4)]
    owner, api = await wide.session(), await wide.session()
    cancel = api.transaction()
    await cancel.start()
    await runs.cancel(api, ours[1].id, None)

    batch = asyncio.create_task(
        wide.send(owner, *(entry_of(run, *STARTED) for run in ours), sql=sql)
    )
    await wide.until_locked()
    await cancel.commit()
    wrote = await batch

    left = {run.id for run in ours} - set(wrote)
    if sql == WRITE or wide.conn.get_server_version().major != BREAKS_PRUNING:
        assert left == {ours[1].id}
    else:  # why the statement is written as it is
        assert left == {run.id for run in ours[1:]}
    assert await wide.rows("step_execution", ours[1].id) == []
    assert len(await wide.rows("run_event", ours[1].id)) == 2


async def test_a_batch_behind_a_takeover_loses_that_partition_only(wide: Stage) -> None:
    ours = [await wide.run(partition=number) for number in range(4)]
    owner, new = await wide.session(), await wide.session()
    takeover = new.transaction()
    await takeover.start()
    await terms.claim(new, Partition(1), terms.Owner(uuid4(), "test"))

    batch = asyncio.create_task(wide.send(owner, *(entry_of(run, *STARTED) for run in ours)))
    await wide.until_locked()
    await takeover.commit()

    assert set(await batch) == {ours[0].id, ours[2].id, ours[3].id}


async def test_one_bad_value_fails_the_batch_and_nothing_is_written(wide: Stage) -> None:
    good, bad = await wide.run(), await wide.run()
    entry = entry_of(bad, *STARTED, StepFailed(A, 1, "a NUL \0 that no text may hold"))

    with pytest.raises(asyncpg.DataError):
        await wide.send(wide.conn, entry_of(good, *STARTED), entry)

    assert await seq_of(wide.conn, good.id) == 1


async def test_a_write_sent_again_has_no_effect(wide: Stage) -> None:
    entry = entry_of(await wide.run(), *STARTED)

    assert await wide.send(wide.conn, entry) == [entry.run.id]
    assert await wide.send(wide.conn, entry) == []

    assert len(await wide.rows("run_event", entry.run.id)) == 2


async def test_the_programs_sessions_do_not_follow_the_databases_isolation(wide: Stage) -> None:
    run = await wide.run()
    strict = await asyncpg.connect(
        wide.dsn, server_settings={"default_transaction_isolation": "repeatable read"}
    )
    takeover = wide.conn.transaction()

    await takeover.start()
    await terms.claim(wide.conn, run.partition, terms.Owner(uuid4(), "test"))
    batch = asyncio.create_task(wide.send(strict, entry_of(run, *STARTED)))
    probe = await wide.session()
    await until_locked(probe)
    await takeover.commit()

    with pytest.raises(asyncpg.SerializationError):
        await batch
    assert await probe.fetchval("SHOW transaction_isolation") == "read committed"
    strict.terminate()
