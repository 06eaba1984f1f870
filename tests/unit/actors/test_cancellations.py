"""Tasks that are cancelled at their agents: asked again while it helps, and then settled."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.actors.cancellations import Cancellations
from orchestrator.actors.ports import Ports
from orchestrator.domain.agent import Agent, Cancellation, TaskRef
from orchestrator.domain.errors import Misconfigured, Unavailable
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.telemetry.metrics import Metrics

RUN = RunId(UUID(int=1))
TASK = TaskRef("t", None)
PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Row:
    task: TaskRef | None = TASK
    attempts: int = 0
    run_id: RunId = RUN
    message_id: str = "m"
    agent_name: str = "a"
    age: timedelta = timedelta(0)


class World:
    def __init__(self, answer: Cancellation, *rows: Row) -> None:
        self.answer = answer
        self.rows = list(rows)
        self.settled: dict[str, Cancellation] = {}
        self.postponed: dict[str, timedelta] = {}
        self.raises: dict[str, Exception] = {}  # by agent, when it is looked up

    async def open(self, _: Sequence[Partition], __: int) -> list[Row]:
        done = self.settled.keys() | self.postponed.keys()
        return [row for row in self.rows if row.message_id not in done]

    async def agent(self, name: str) -> Any:
        if (error := self.raises.get(name)) is not None:
            raise error
        await asyncio.sleep(0)
        return object()

    async def cancel(self, _: Agent, __: TaskRef) -> Cancellation:
        await asyncio.sleep(0)
        return self.answer

    async def settle(self, _: RunId, message_id: str, outcome: Cancellation) -> None:
        self.settled[message_id] = outcome

    async def postpone(self, _: RunId, message_id: str, delay: timedelta) -> None:
        self.postponed[message_id] = delay

    async def work(self, rows: int = 1) -> None:
        """Work until so many rows were settled or postponed."""
        unused: Any = None
        ports = Ports(
            open_cancellations=self.open,
            agent=self.agent,
            cancel=self.cancel,
            settle_cancellation=self.settle,
            postpone_cancellation=self.postpone,
            **dict.fromkeys(
                [
                    "write",
                    "load",
                    "fail_corrupt",
                    "scan",
                    "claim",
                    "confirm",
                    "release",
                    "send",
                    "follow",
                    "learn_task",
                    "answer",
                    "look",
                    "find",
                ],
                unused,
            ),
        )
        working = Cancellations(ports, lambda: (Partition(0),), Metrics("1"), PATIENCE)
        task = asyncio.create_task(working.run())
        async with asyncio.timeout(5):
            while len(self.settled) + len(self.postponed) < rows:
                assert not task.done(), task.exception()
                working.wake()
                await asyncio.sleep(0.001)
        task.cancel()


@pytest.mark.parametrize(
    "answer",
    [Cancellation.CONFIRMED, Cancellation.UNSUPPORTED, Cancellation.ALREADY_FINISHED],
)
async def test_a_clear_answer_settles_it(answer: Cancellation) -> None:
    world = World(answer, Row())

    await world.work()

    assert world.settled == {"m": answer}
    assert not world.postponed


@pytest.mark.parametrize(
    ("answer", "row", "delay"),
    [
        (Cancellation.UNREACHABLE, Row(attempts=0), 1),
        (Cancellation.REQUESTED, Row(attempts=3), 8),
        (Cancellation.UNREACHABLE, Row(attempts=6), 60),
        (Cancellation.REQUESTED, Row(attempts=2_000), 60),
        (Cancellation.UNREACHABLE, Row(age=PATIENCE - timedelta(seconds=1)), 1),
        (Cancellation.CONFIRMED, Row(task=None), 1),
    ],
)
async def test_what_may_change_is_asked_again_later(
    answer: Cancellation, row: Row, delay: int
) -> None:
    world = World(answer, row)

    await world.work()

    assert world.postponed == {"m": timedelta(seconds=delay)}
    assert not world.settled


@pytest.mark.parametrize(
    ("answer", "row", "settled"),
    [
        (Cancellation.UNREACHABLE, Row(age=PATIENCE), Cancellation.UNREACHABLE),
        (Cancellation.REQUESTED, Row(attempts=9, age=PATIENCE / 1.05), Cancellation.REQUESTED),
        (Cancellation.CONFIRMED, Row(task=None, attempts=2), Cancellation.TASK_UNKNOWN),
    ],
)
async def test_it_is_given_up_in_the_end(
    answer: Cancellation, row: Row, settled: Cancellation
) -> None:
    world = World(answer, row)

    await world.work()

    assert world.settled == {"m": settled}


@pytest.mark.parametrize(
    "error", [Misconfigured("sealed with another key"), RuntimeError("a fault of ours")]
)
async def test_one_that_cannot_be_asked_for_holds_no_other_up(error: Exception) -> None:
    world = World(Cancellation.CONFIRMED, Row(agent_name="bad", message_id="bad"), Row())
    world.raises = {"bad": error}

    await world.work(2)

    assert world.postponed == {"bad": timedelta(seconds=1)}
    assert world.settled == {"m": Cancellation.CONFIRMED}


async def test_an_absent_database_leaves_a_row_as_it_is_and_the_others_are_done() -> None:
    world = World(Cancellation.CONFIRMED, Row(agent_name="away", message_id="away"), Row())
    world.raises = {"away": Unavailable("away")}

    await world.work()
    assert not world.postponed

    world.raises = {}
    await world.work(2)
    assert world.settled == dict.fromkeys(("m", "away"), Cancellation.CONFIRMED)
