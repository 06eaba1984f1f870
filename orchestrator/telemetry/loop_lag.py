"""Watches how late the event loop is: everything that the process does waits as long."""

import asyncio

from orchestrator.telemetry.metrics import Metrics

_EVERY_S = 0.1


async def watch(metrics: Metrics) -> None:
    """Observe the lag ten times a second until cancelled, and let the tasks be counted."""
    loop = asyncio.get_running_loop()
    metrics.watch(metrics.tasks, lambda: len(asyncio.all_tasks(loop)))
    while True:
        due = loop.time() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        metrics.loop_lag.observe(max(0.0, loop.time() - due))
