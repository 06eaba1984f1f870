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
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.telemetry.metrics import Metrics

RUN = RunId(UUID(int=1))
TASK = TaskRef("t", None)


@dataclass(frozen=True)
class Row:
    task: TaskRef | None = TASK
    attempts: int = 0
    run_id: RunId = RUN
    message_id: str = "m"
    agent_name: str = "a"


class World:
    def __init__(self, answer: Cancellation, row: Row) -> None:
        self.answer = answer
        self.rows = [row]
        self.settled: Cancellation | None = None
        self.postponed: timedelta | None = None
        self.over = asyncio.Event()

    async def open(self, _: Sequence[Partition], __: int) -> list[Row]:
        rows, self.rows = self.rows, []
        return rows

    async def agent(self, _: str) -> Any:
        return object()

    async def cancel(self, _: Agent, __: TaskRef) -> Cancellation:
        return self.answer

    async def settle(self, _: RunId, __: str, outcome: Cancellation) -> None:
        self.settled = outcome
        self.over.set()

    async def postpone(self, _: RunId, __: str, delay: timedelta) -> None:
        self.postponed = delay
        self.over.set()

    async def work(self) -> None:
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
                ],
                unused,
            ),
        )
        working = asyncio.create_task(
            Cancellations(ports, lambda: (Partition(0),), Metrics("1")).run()
        )
        async with asyncio.timeout(5):
            await self.over.wait()
        working.cancel()


@pytest.mark.parametrize(
    "answer",
    [Cancellation.CONFIRMED, Cancellation.UNSUPPORTED, Cancellation.ALREADY_FINISHED],
)
async def test_a_clear_answer_settles_it(answer: Cancellation) -> None:
    world = World(answer, Row())

    await world.work()

    assert world.settled is answer
    assert world.postponed is None


@pytest.mark.parametrize(
    ("answer", "row", "delay"),
    [
        (Cancellation.UNREACHABLE, Row(attempts=0), 1),
        (Cancellation.REQUESTED, Row(attempts=3), 8),
        (Cancellation.UNREACHABLE, Row(attempts=6), 60),
        (Cancellation.CONFIRMED, Row(task=None), 1),
    ],
)
async def test_what_may_change_is_asked_again_later(
    answer: Cancellation, row: Row, delay: int
) -> None:
    world = World(answer, row)

    await world.work()

    assert world.postponed == timedelta(seconds=delay)
    assert world.settled is None


@pytest.mark.parametrize(
    ("answer", "row", "settled"),
    [
        (Cancellation.UNREACHABLE, Row(attempts=7), Cancellation.UNREACHABLE),
        (Cancellation.CONFIRMED, Row(task=None, attempts=2), Cancellation.TASK_UNKNOWN),
    ],
)
async def test_it_is_given_up_in_the_end(
    answer: Cancellation, row: Row, settled: Cancellation
) -> None:
    world = World(answer, row)

    await world.work()

    assert world.settled is settled
