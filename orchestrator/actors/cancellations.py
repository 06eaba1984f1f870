"""Cancels agents' tasks that a cancelled run or a timed-out step left behind.

The rows of `task_cancellation` say what is to be done, so that it is also done after a crash, by
whoever owns the partition then. Asking twice does no harm: cancelling a cancelled task is a no-op.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from orchestrator.actors.ports import OpenCancellation, Ports
from orchestrator.domain.agent import Cancellation
from orchestrator.domain.errors import Misconfigured, Unavailable
from orchestrator.domain.run import external_id
from orchestrator.domain.term import Partition
from orchestrator.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 5.0
_AT_ONCE = 16
_LONGEST_WAIT_S = 60.0  # between two attempts: it doubles from a second
_TASK_ID_ATTEMPTS = 3  # how often to look whether the aborted call learned its task's id


class Cancellations:
    """Works off the open rows of the partitions that are owned at the moment."""

    def __init__(
        self,
        ports: Ports,
        partitions: Callable[[], Sequence[Partition]],
        metrics: Metrics,
        patience: timedelta,
    ) -> None:
        self._ports = ports
        self._patience = patience
        self._partitions = partitions
        self._metrics = metrics
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Look at once: a row may have come."""
        self._wanted.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            more = False
            try:
                more = await self._round()
            except Unavailable:
                log.debug("cancellations_wait_for_database")
            if not more:
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_EVERY_S):
                await self._wanted.wait()
        except TimeoutError:
            pass
        self._wanted.clear()

    async def _round(self) -> bool:
        """Ask for the due rows; return whether there may be more at once."""
        partitions = self._partitions()
        if not partitions:
            return False
        rows = await self._ports.open_cancellations(partitions, _AT_ONCE)
        async with asyncio.TaskGroup() as group:
            done = [group.create_task(self._cancel(row)) for row in rows]
        return len(rows) == _AT_ONCE and all(task.result() for task in done)

    async def _cancel(self, row: OpenCancellation) -> bool:
        """Work off one row, whatever becomes of the others; False: it stays as it is."""
        try:
            await self._conclude(row, await self._outcome(row))
        except Unavailable:
            return False
        return True

    async def _outcome(self, row: OpenCancellation) -> Cancellation:
        try:
            return await self._ask(row)
        except Unavailable:
            raise
        except Misconfigured as unusable:  # its secrets were sealed with another key
            log.warning("task_not_cancelled", agent=row.agent_name, reason=unusable.message)
        except Exception:
            log.exception("cancellation_crashed", run_id=external_id(row.run_id))
        return Cancellation.UNREACHABLE

    async def _conclude(self, row: OpenCancellation, outcome: Cancellation) -> None:
        attempts = row.attempts + 1
        delay = timedelta(seconds=min(2.0 ** min(row.attempts, 10), _LONGEST_WAIT_S))
        again = (
            outcome in (Cancellation.UNREACHABLE, Cancellation.REQUESTED)
            and row.age + delay <= self._patience
        ) or (outcome is Cancellation.TASK_UNKNOWN and attempts < _TASK_ID_ATTEMPTS)
        if again:
            await self._ports.postpone_cancellation(row.run_id, row.message_id, delay)
            asyncio.get_running_loop().call_later(delay.total_seconds(), self.wake)
            return
        await self._ports.settle_cancellation(row.run_id, row.message_id, outcome)
        self._metrics.cancellation(outcome.value)
        log.info(
            "task_cancelled",
            run_id=external_id(row.run_id),
            message_id=row.message_id,
            agent=row.agent_name,
            outcome=outcome.value,
        )

    async def _ask(self, row: OpenCancellation) -> Cancellation:
        if row.task is None:
            return Cancellation.TASK_UNKNOWN
        agent = await self._ports.agent(row.agent_name)
        if agent is None:
            return Cancellation.UNREACHABLE
        return await self._ports.cancel(agent, row.task)
