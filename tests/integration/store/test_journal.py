"""The journal: group commit, and what it does about lost answers, bad values and busy rows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from asyncpg import Connection

from bench.stack.proxy import Proxy
from orchestrator.domain.errors import Fenced, Poisoned, Stale, Unavailable
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.messages import RunFailed, StepFailed
from orchestrator.domain.run import Run
from orchestrator.domain.term import Partition
from orchestrator.store import journal as journals
from orchestrator.store import runs
from orchestrator.store.journal import Journal
from tests.integration.store.stage import STARTED, WENT_ON, A, Stage, entry_of, until

pytestmark = pytest.mark.integration

BAD = "a NUL \0 that no text may hold"


class Noted:
    """What the hook of the metrics was told."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, rows: int, seconds: float) -> None:
        assert seconds > 0
        self.batches.append(rows)


async def write(stage: Stage, journal: Journal, entry: Entry) -> None:
    async with asyncio.timeout(20):
        await journal.write(entry, stage.terms[entry.run.partition])


async def outcomes(stage: Stage, journal: Journal, *entries: Entry) -> list[BaseException | None]:
    """Write all at once; return what each one raised."""
    writes = (write(stage, journal, entry) for entry in entries)
    return list(await asyncio.gather(*writes, return_exceptions=True))


@asynccontextmanager
async def held_up(stage: Stage, run: Run) -> AsyncIterator[None]:
    """Keep a run's row locked, so that a batch with it is under way for as long."""
    conn = await stage.session()
    async with conn.transaction():
        await conn.execute("SELECT FROM run WHERE id = $1 FOR UPDATE", run.id)
        yield


async def seqs(stage: Stage, *ours: Run) -> list[int]:
    found = await runs.state(stage.conn, [run.id for run in ours])
    return [found[run.id][1] for run in ours]


async def test_what_is_ready_at_the_moment_is_one_batch(stage: Stage) -> None:
    first, *others = [await stage.run(partition=n % 8) for n in range(20)]
    noted = Noted()

    async with Journal(stage.connect, on_commit=noted) as journal:
        async with held_up(stage, first):
            alone = asyncio.create_task(write(stage, journal, entry_of(first, *STARTED)))
            await stage.until_locked()
            rest = asyncio.create_task(
                outcomes(stage, journal, *(entry_of(run, *STARTED) for run in others))
            )
            await asyncio.sleep(0)  # they are put while the first batch is under way
            await asyncio.sleep(0)
            assert journal.depth == 20
        await alone
        assert await rest == [None] * 19
        assert journal.depth == 0

    assert noted.batches == [1, 19]
    assert await seqs(stage, first, *others) == [3] * 20


@pytest.mark.parametrize("bounds", [{"max_rows": 4}, {"max_bytes": 2_000}])
async def test_a_batch_is_bounded(stage: Stage, bounds: dict[str, Any]) -> None:
    ours = [await stage.run() for _ in range(10)]
    noted = Noted()

    async with Journal(stage.connect, on_commit=noted, **bounds) as journal:
        entries = (entry_of(run, *STARTED) for run in ours)
        assert await outcomes(stage, journal, *entries) == [None] * 10

    assert max(noted.batches) <= 4
    assert sum(noted.batches) == 10


async def test_a_partition_is_always_on_the_same_lane(stage: Stage) -> None:
    slow, same, other = await stage.run(2), await stage.run(2), await stage.run(3)

    async with Journal(stage.connect, lanes=2) as journal:
        async with held_up(stage, slow):
            first = asyncio.create_task(write(stage, journal, entry_of(slow, *STARTED)))
            await stage.until_locked()
            second = asyncio.create_task(write(stage, journal, entry_of(same, *STARTED)))
            await write(stage, journal, entry_of(other, *STARTED))
            assert not second.done()
        await first
        await second


async def test_two_decisions_of_one_run_never_share_a_batch(stage: Stage) -> None:
    run, other = await stage.run(), await stage.run()
    started = entry_of(run, *STARTED)
    went_on = entry_of(started.after, *WENT_ON)
    noted = Noted()

    async with Journal(stage.connect, on_commit=noted) as journal:
        entries = (started, went_on, entry_of(other, *STARTED))
        assert await outcomes(stage, journal, *entries) == [None] * 3

    assert noted.batches == [2, 1]
    assert await seqs(stage, run, other) == [5, 3]


async def test_a_refused_write_says_whether_the_term_or_the_rows_moved(stage: Stage) -> None:
    fenced, stale, fine = await stage.run(1), await stage.run(2), await stage.run(3)
    old = stage.terms[Partition(1)]
    await stage.claim(1)
    await runs.cancel(stage.conn, stale.id, None)

    async with Journal(stage.connect) as journal:
        over = journal.write(entry_of(fenced, *STARTED), old)
        moved, wrote = await outcomes(
            stage, journal, entry_of(stale, *STARTED), entry_of(fine, *STARTED)
        )
        with pytest.raises(Fenced):
            await over

    assert isinstance(moved, Stale)
    assert wrote is None
    assert journal.refused == 2


async def test_a_refused_value_fails_its_own_run_only(stage: Stage) -> None:
    ours = [await stage.run() for _ in range(7)]
    entries = [entry_of(run, *STARTED) for run in ours]
    entries[4] = entry_of(ours[4], StepFailed(A, 1, BAD), RunFailed("no"))

    async with Journal(stage.connect) as journal:
        found = await outcomes(stage, journal, *entries)

    assert isinstance(found.pop(4), Poisoned)
    assert found == [None] * 6
    assert await seqs(stage, *ours) == [3, 3, 3, 3, 1, 3, 3]


async def test_a_text_that_cannot_even_be_sent_is_refused_too(stage: Stage) -> None:
    bad, good = await stage.run(), await stage.run()

    async with Journal(stage.connect) as journal:
        refused, wrote = await outcomes(
            stage, journal, entry_of(bad, RunFailed("\ud800")), entry_of(good, *STARTED)
        )

    assert isinstance(refused, Poisoned)
    assert wrote is None


async def test_a_lock_that_is_not_to_be_had_is_waited_for(stage: Stage) -> None:
    run = await stage.run()

    async def impatient() -> Connection:
        conn = await stage.connect()
        await conn.execute("SET lock_timeout = '20ms'")
        return conn

    async with Journal(impatient) as journal:
        async with held_up(stage, run):
            wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
            await until_logged(stage, journal)
            assert not wrote.done()
        await wrote

    assert await seqs(stage, run) == [3]


async def until_logged(stage: Stage, journal: Journal) -> None:
    """Return when the journal's session has given up waiting at least once."""
    await stage.until_locked()

    async def gave_up() -> bool:
        asked = (
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle' AND query LIKE '%fence%'"
        )
        return int(await stage.conn.fetchval(asked)) > 0

    await until(gave_up)
    assert journal.depth == 1


# -- lost connections ------------------------------------------------------------------------------


@asynccontextmanager
async def behind_proxy(stage: Stage) -> AsyncIterator[tuple[Proxy, Journal]]:
    """Run a journal whose way to the database can be cut."""
    async with Proxy(stage.dsn) as proxy:
        connect = Stage(proxy.dsn).connect
        async with Journal(connect) as journal:
            yield proxy, journal


async def test_a_commit_whose_answer_was_lost_is_known_by_its_token(stage: Stage) -> None:
    run = await stage.run()

    async with behind_proxy(stage) as (proxy, journal):
        await write(stage, journal, entry_of(await stage.run(), *STARTED))
        proxy.swallow_answers()
        wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
        await until(committed(stage, run))
        assert not wrote.done()
        proxy.cut()
        await wrote

    assert journal.refused == 0
    assert await seqs(stage, run) == [3]
    assert len(await stage.rows("run_event", run.id)) == 2


async def test_without_its_token_the_same_commit_looks_like_anothers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await stage.run()
    blind = journals.SQL["explain"].replace("r.token", "0 AS token")
    monkeypatch.setattr(journals, "SQL", {**journals.SQL, "explain": blind})

    async with behind_proxy(stage) as (proxy, journal):
        await write(stage, journal, entry_of(await stage.run(), *STARTED))
        proxy.swallow_answers()
        wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
        await until(committed(stage, run))
        proxy.cut()

        with pytest.raises(Stale):
            await wrote


async def test_a_commit_that_was_lost_before_a_cancel_is_stale(stage: Stage) -> None:
    run = await stage.run()

    async with behind_proxy(stage) as (proxy, journal):
        await write(stage, journal, entry_of(await stage.run(), *STARTED))
        proxy.swallow_answers()
        wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
        await until(committed(stage, run))
        await runs.cancel(stage.conn, run.id, None)
        proxy.cut()

        with pytest.raises(Stale):
            await wrote


async def test_a_request_that_never_arrived_is_sent_again(stage: Stage) -> None:
    run = await stage.run()

    async with behind_proxy(stage) as (proxy, journal):
        await write(stage, journal, entry_of(await stage.run(), *STARTED))
        proxy.swallow_requests()
        wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
        await proxy.swallowed.wait()
        proxy.cut()
        await wrote

    assert await seqs(stage, run) == [3]


async def test_a_killed_backend_costs_a_moment_only(stage: Stage) -> None:
    run = await stage.run()

    async with Journal(stage.connect) as journal:
        async with held_up(stage, run):
            wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
            await stage.until_locked()
            await stage.conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock'"
            )
        await wrote

    assert await seqs(stage, run) == [3]


async def test_an_absent_database_is_waited_for(stage: Stage) -> None:
    run = await stage.run()

    async with behind_proxy(stage) as (proxy, journal):
        proxy.refuse()
        wrote = asyncio.create_task(write(stage, journal, entry_of(run, *STARTED)))
        await proxy.refused.wait()
        assert not wrote.done()
        proxy.accept()
        await wrote

    assert await seqs(stage, run) == [3]


def committed(stage: Stage, run: Run) -> Callable[[], Any]:
    async def is_committed() -> bool:
        return await seqs(stage, run) == [3]

    return is_committed


# -- the end ---------------------------------------------------------------------------------------


async def test_closing_writes_what_still_waits_and_takes_nothing_more(stage: Stage) -> None:
    first, second = await stage.run(), await stage.run()

    async with Journal(stage.connect) as journal:
        term = stage.terms[first.partition]
        one = journal.write(entry_of(first, *STARTED), term)
        other = journal.write(entry_of(second, *STARTED), term)
    late = journal.write(entry_of(first, *STARTED), term)

    assert (one.result(), other.result()) == (None, None)
    with pytest.raises(Unavailable):
        late.result()
    assert await seqs(stage, first, second) == [3, 3]


async def test_closing_does_not_wait_for_ever(stage: Stage) -> None:
    run = await stage.run()

    async with held_up(stage, run):
        async with Journal(stage.connect, close_within=0.2) as journal:
            wrote = journal.write(entry_of(run, *STARTED), stage.terms[run.partition])
            await stage.until_locked()
        with pytest.raises(Unavailable):
            wrote.result()


async def test_a_writer_that_was_cancelled_before_its_turn_is_not_written(stage: Stage) -> None:
    first, second = await stage.run(), await stage.run()

    async with Journal(stage.connect) as journal:
        async with held_up(stage, first):
            wrote = asyncio.create_task(write(stage, journal, entry_of(first, *STARTED)))
            await stage.until_locked()
            gone = journal.write(entry_of(second, *STARTED), stage.terms[second.partition])
            gone.cancel()
        await wrote

    assert await seqs(stage, first, second) == [3, 1]


async def test_a_lane_that_dies_ends_the_body_and_its_error_comes_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await stage.run()
    monkeypatch.setattr(journals, "SQL", {"write": "SELECT no_such_column"})

    async def body() -> None:
        async with Journal(stage.connect) as journal:
            await write(stage, journal, entry_of(run, *STARTED))

    with pytest.raises(ExceptionGroup) as died:
        await body()

    assert died.group_contains(asyncpg.UndefinedColumnError)


async def test_a_decision_larger_than_a_batch_goes_alone(stage: Stage) -> None:
    ours = [await stage.run() for _ in range(3)]
    noted = Noted()

    async with Journal(stage.connect, on_commit=noted, max_bytes=10) as journal:
        entries = (entry_of(run, *STARTED) for run in ours)
        assert await outcomes(stage, journal, *entries) == [None] * 3

    assert noted.batches == [1, 1, 1]
