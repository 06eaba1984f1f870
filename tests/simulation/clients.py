"""Clients of the API: they execute, cancel and retry at random, sometimes many at once.

They do what the handlers of `api/` do, with the real functions that these are given.
"""

import random
from collections.abc import Callable, Sequence
from uuid import UUID

from orchestrator import json_text
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import RunId
from orchestrator.store import pool, runs
from orchestrator.store.creation import NewRun
from tests.simulation.loop import ProcessLoop, State
from tests.simulation.process import Process

Note = Callable[..., None]


class Clients:
    """Everybody who asks the processes for something."""

    def __init__(
        self,
        outside: ProcessLoop,
        processes: Sequence[Process],
        workflows: Sequence[UUID],
        note: Note,
        chance: random.Random,
    ) -> None:
        self.accepted: dict[UUID, None] = {}  # runs that were answered 202
        self.over = False  # nobody asks any more
        self._outside = outside
        self._processes = processes
        self._workflows = workflows
        self._note = note
        self._chance = chance

    def execute(self, chance: random.Random) -> None:
        process = self._serving(chance)
        if process is None:
            return
        workflow_id = chance.choice(self._workflows)
        for _ in range(chance.choice((1, 1, 2, 4))):
            process.begin(self._execute(process, workflow_id, chance))

    def change(self, kind: str, chance: random.Random) -> None:
        """Cancel or retry some run."""
        if self.accepted:
            self._change(kind, chance.choice(list(self.accepted)), chance)

    def asked(self, run_id: UUID, path: str, waiting_for: str) -> None:
        """Answer a question after a while, perhaps twice, perhaps never."""
        chance = self._chance
        for _ in range(chance.choice((1, 1, 2)) if waiting_for == "input" else 0):
            if chance.random() < 0.9:
                self._outside.call_later(chance.expovariate(1), self._answer, run_id, path)

    def _answer(self, run_id: UUID, path: str) -> None:
        process = self._serving(self._chance)
        if process is not None:
            process.begin(self._give_input(process, RunId(run_id), path))

    async def _give_input(self, process: Process, run_id: RunId, path: str) -> None:
        deps = process.deps
        if deps is None:
            return
        try:
            async with pool.acquire(process.pool) as conn:
                row = await runs.give_input(conn, run_id, path, '{"text":"so"}', None)
        except OrchestratorError as error:
            self._note("answer refused", error)
            return
        deps.nudge(Hint(HintKind.INPUT_GIVEN, row.id, row.partition, row.seq))

    def _serving(self, chance: random.Random) -> Process | None:
        serving = [
            process
            for process in self._processes
            if process.deps is not None and process.loop.state is State.RUNNING
        ]
        return chance.choice(serving) if serving else None

    async def _execute(self, process: Process, workflow_id: UUID, chance: random.Random) -> None:
        deps = process.deps
        if deps is None:
            return
        value = {"n": chance.randrange(10)}
        new = NewRun(workflow_id, 1, "wf", "workflow", json_text.dumps(value))
        try:
            created = await deps.execute(new, value)
        except OrchestratorError as error:
            self._note("execute refused", error)
            return
        self.accepted[created.id] = None
        if chance.random() < 0.3:  # a cancel at any moment of the run
            wait = chance.expovariate(4)
            self._outside.call_later(wait, self._change, "cancel", created.id, chance)

    def _change(self, kind: str, run_id: UUID, chance: random.Random) -> None:
        """Cancel or retry a run, sometimes by several clients at once."""
        if self.over:
            return
        for _ in range(chance.choice((1, 1, 2))):
            process = self._serving(chance)
            if process is not None:
                process.begin(self._ask(process, kind, RunId(run_id), chance))

    async def _ask(self, process: Process, kind: str, run_id: RunId, chance: random.Random) -> None:
        deps = process.deps
        if deps is None:
            return
        try:
            async with pool.acquire(process.pool) as conn:
                if kind == "cancel":
                    row = await runs.cancel(conn, run_id, chance.choice((None, "a reason")))
                else:
                    row = await runs.retry(conn, run_id)
        except OrchestratorError as error:
            self._note(kind, "refused", error)
            return
        self._note(kind, run_id.hex[-4:], "answered")
        told = HintKind.CANCEL_REQUESTED if kind == "cancel" else HintKind.RETRY_REQUESTED
        deps.nudge(Hint(told, row.id, row.partition, row.seq))
        if kind == "cancel" and chance.random() < 0.5:
            self._outside.call_later(chance.expovariate(3), self._change, "retry", run_id, chance)
