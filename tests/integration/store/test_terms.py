"""Terms: a claim ends the one before, and a release is for the owner alone."""

import asyncio
from uuid import uuid4

import pytest

from orchestrator.domain.errors import Fenced, Misconfigured
from orchestrator.domain.messages import RunFailed
from orchestrator.domain.term import Partition, Term
from orchestrator.store import terms
from tests.integration.store.stage import PARTITIONS, Stage, until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.parametrize("each_dsn", ["dsn"], indirect=True),  # one server is enough
]

ROW = "SELECT epoch, owner, released, claimed_at FROM partition_term WHERE partition = $1"


def an_owner() -> terms.Owner:
    return terms.Owner(uuid4(), "here:8000")


async def test_each_claim_begins_a_new_term_and_names_its_owner(stage: Stage) -> None:
    first, second = an_owner(), an_owner()

    one = await terms.claim(stage.conn, Partition(3), first)
    other = await terms.claim(stage.conn, Partition(3), second)

    assert other == Term(Partition(3), one.epoch + 1)
    row = await stage.conn.fetchrow(ROW, 3)
    assert row is not None
    assert (row["epoch"], row["owner"], row["released"]) == (other.epoch, second.id, False)
    assert row["claimed_at"] is not None


async def test_a_partition_that_has_no_row_yet_can_be_claimed(stage: Stage) -> None:
    assert await terms.claim(stage.conn, Partition(99), an_owner()) == Term(Partition(99), 1)


async def test_of_many_claims_at_a_time_each_has_an_epoch_of_its_own(stage: Stage) -> None:
    sessions = [await stage.session() for _ in range(8)]

    claimed = await asyncio.gather(*(terms.claim(c, Partition(5), an_owner()) for c in sessions))

    assert len({term.epoch for term in claimed}) == 8


async def test_only_terms_that_are_not_over_are_confirmed(stage: Stage) -> None:
    held = list(stage.terms.values())
    newer = await terms.claim(stage.conn, Partition(2), an_owner())

    confirmed = await terms.confirm(stage.conn, [*held, Term(Partition(77), 1)])

    assert confirmed == set(held) - {stage.terms[Partition(2)]}
    assert await terms.confirm(stage.conn, [newer]) == {newer}
    assert await terms.confirm(stage.conn, []) == frozenset()


async def test_a_release_is_recorded_until_the_next_claim(stage: Stage) -> None:
    term = stage.terms[Partition(1)]

    await terms.release(stage.conn, term)

    row = await stage.conn.fetchrow(ROW, 1)
    assert row is not None
    assert (row["epoch"], row["released"]) == (term.epoch, True)
    await stage.claim(1)
    assert await stage.conn.fetchval("SELECT released FROM partition_term WHERE partition = 1") is (
        False
    )


async def test_a_term_that_is_over_cannot_be_released(stage: Stage) -> None:
    old = stage.terms[Partition(1)]
    await stage.claim(1)

    with pytest.raises(Fenced):
        await terms.release(stage.conn, old)

    assert not await stage.conn.fetchval("SELECT released FROM partition_term WHERE partition = 1")


async def test_every_partition_gets_a_row_and_keeps_the_one_it_has(stage: Stage) -> None:
    epoch = stage.terms[Partition(1)].epoch

    await terms.ensure(stage.conn, PARTITIONS + 4)

    found = await stage.conn.fetch("SELECT partition, epoch FROM partition_term ORDER BY 1")
    assert [row["partition"] for row in found] == list(range(PARTITIONS + 4))
    assert found[1]["epoch"] == epoch
    assert found[-1]["epoch"] == 0


@pytest.mark.parametrize("started", [True, False])
async def test_fewer_partitions_than_an_unfinished_run_needs_are_refused(
    stage: Stage, *, started: bool
) -> None:
    run = await (stage.started(5) if started else stage.run(5))

    await terms.ensure(stage.conn, 6)
    with pytest.raises(Misconfigured, match=r"5 are too few.* partition 5: set at least 6"):
        await terms.ensure(stage.conn, 5)

    await stage.write(run, RunFailed("over"))
    await terms.ensure(stage.conn, 5)


async def test_what_a_living_process_has_still_to_hand_over_is_not_vacant(stage: Stage) -> None:
    living, dead, ours = an_owner(), an_owner(), an_owner()
    session = await stage.session()
    await session.execute("SELECT pg_advisory_lock(owner_lock($1))", living.id)
    owners = {0: living, 1: dead, 2: ours, 3: living}
    claimed = {n: await terms.claim(stage.conn, Partition(n), o) for n, o in owners.items()}
    await terms.release(stage.conn, claimed[3])
    wanted = [Partition(n) for n in (0, 1, 2, 3, 99)]

    vacant = await terms.vacant(stage.conn, wanted, ours)

    assert vacant == {1, 2, 3, 99}
    session.terminate()

    async def gone() -> bool:
        return Partition(0) in await terms.vacant(stage.conn, wanted, ours)

    await until(gone)


async def test_the_overview_says_who_owns_what_and_what_waits_there(stage: Stage) -> None:
    owner = an_owner()
    await terms.claim(stage.conn, Partition(3), owner)
    for partition in (3, 3, 4):
        await stage.run(partition)
    await stage.started(4)

    rows = {row.partition: row for row in await terms.overview(stage.conn)}

    assert (rows[Partition(3)].owner, rows[Partition(3)].owner_name) == (owner.id, owner.name)
    assert not rows[Partition(3)].alive
    assert [rows[Partition(n)].pending for n in (3, 4, 5)] == [2, 1, 0]
