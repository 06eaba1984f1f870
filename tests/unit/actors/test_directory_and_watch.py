"""The agents' directory, and requests that wait for a run's end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from orchestrator.actors import watch
from orchestrator.actors.directory import AgentDirectory
from orchestrator.domain.agent import Agent, AgentId, AgentStatus, AuthType
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import RunId, RunStatus

RUN = RunId(UUID(int=1))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AGENT = Agent(
    AgentId(UUID(int=2)),
    "a",
    "http://127.0.0.1:1",
    None,
    AuthType.NONE,
    {},
    timedelta(seconds=1),
    RetryPolicy(),
    AgentStatus.ACTIVE,
    NOW,
    NOW,
)


async def test_many_look_ups_of_a_name_share_one_query() -> None:
    asked: list[str] = []

    async def fetch(name: str) -> Agent | None:
        asked.append(name)
        await asyncio.sleep(0)
        return AGENT

    directory = AgentDirectory(fetch)
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(directory.get("a"))
    await directory.get("a")

    assert asked == ["a"]
    directory.forget()
    await directory.get("a")
    assert asked == ["a", "a"]


async def test_an_absence_is_not_kept() -> None:
    answers: list[Agent | None] = [None, AGENT]

    async def fetch(_: str) -> Agent | None:
        return answers.pop(0)

    directory = AgentDirectory(fetch)

    assert await directory.get("a") is None
    assert await directory.get("a") is AGENT


async def test_a_look_up_that_failed_is_made_again_by_the_next() -> None:
    answers: list[Exception | None] = [Unavailable("away"), None]

    async def fetch(_: str) -> Agent | None:
        if (answer := answers.pop(0)) is not None:
            raise answer
        return None

    directory = AgentDirectory(fetch)
    with pytest.raises(Unavailable):
        await directory.get("a")

    assert await directory.get("a") is None


class Rows:
    """What the database says of the runs, and how often it was asked."""

    def __init__(self) -> None:
        self.status = RunStatus.RUNNING
        self.asked = 0
        self.away = 0
        self.then: dict[int, Callable[[], object]] = {}  # by the number of the look

    async def statuses(self, runs: Sequence[RunId]) -> Mapping[RunId, RunStatus]:
        self.asked += 1
        self.then.get(self.asked, lambda: None)()
        if self.away:
            self.away -= 1
            raise Unavailable("away")
        return dict.fromkeys(runs, self.status)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses between looks, which take no time."""
    seen: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        seen.append(round(seconds, 4))
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return seen


async def test_looks_are_soon_after_somebody_came_and_rarer_the_longer(
    rows: Rows, pauses: list[float]
) -> None:
    waits = watch.Watch(rows.statuses, 10)
    looking = asyncio.create_task(waits.run())
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(waits.ended(RUN, 60))
        rows.then[8] = lambda: group.create_task(waits.ended(RUN, 60))  # somebody new
        rows.then[12] = waits.close

    assert pauses[:8] == [0.01, 0.015, 0.0225, 0.0338, 0.0506, 0.0759, 0.1, 0.1]
    assert 0.01 in pauses[8:]
    looking.cancel()


async def test_many_who_wait_are_looked_at_more_rarely(rows: Rows, pauses: list[float]) -> None:
    waits = watch.Watch(rows.statuses, 1_000)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(500):
            group.create_task(waits.ended(RunId(UUID(int=number)), 60))
        looking = asyncio.create_task(waits.run())
        rows.then[1] = waits.close

    assert pauses[0] == 0.05
    looking.cancel()


async def test_a_waiter_is_woken_by_the_rows_also_after_an_outage(rows: Rows) -> None:
    waits = watch.Watch(rows.statuses, 10)
    looking = asyncio.create_task(waits.run())
    rows.away = 2
    rows.status = RunStatus.COMPLETED

    async with asyncio.timeout(5):
        await waits.ended(RUN, 60)

    assert rows.asked == 3
    looking.cancel()


async def test_a_waiter_is_woken_by_this_process_at_once(rows: Rows) -> None:
    waits = watch.Watch(rows.statuses, 10)  # nobody looks at the rows

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(waits.ended(RUN, 60))
        await asyncio.sleep(0)
        waits.wake([RUN])

    assert rows.asked == 0


async def test_nobody_waits_beyond_the_cap_the_seconds_or_a_close(rows: Rows) -> None:
    waits = watch.Watch(rows.statuses, 1)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(waits.ended(RUN, 60))
        await asyncio.sleep(0)
        await waits.ended(RUN, 60)  # the second is over the cap
        waits.close()
    await waits.ended(RUN, 60)  # closed

    await watch.Watch(rows.statuses, 1).ended(RUN, 0.001)
