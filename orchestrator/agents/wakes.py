"""Wakes whoever follows a task, when something said that there is news of it."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Wakes:
    def __init__(self) -> None:
        self._sleeping: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def of(self, task_id: str) -> Iterator[asyncio.Event]:
        """Yield the event that is set by news of the task."""
        wake = asyncio.Event()
        self._sleeping[task_id].add(wake)
        try:
            yield wake
        finally:
            self._sleeping[task_id].discard(wake)
            if not self._sleeping[task_id]:
                del self._sleeping[task_id]

    def wake(self, task_id: str) -> bool:
        """Wake them; return whether anybody here follows the task."""
        sleeping = self._sleeping.get(task_id, ())
        for event in sleeping:
            event.set()
        return bool(sleeping)
