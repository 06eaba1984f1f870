"""The simulated database: the engine's statements, in Python, on rows in memory.

A statement is found by its very text, so that one which changes, or a new one, is missed here
aloud. What each does is kept honest by `tests/integration/store/test_simulated_database.py`,
which runs the same operations on PostgreSQL. Statements are atomic here: what happens between the
locks of two of them is PostgreSQL's matter, and tested there.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.store import (
    agents,
    cancellations,
    creation,
    definitions,
    loading,
    lock,
    runs,
    scan,
    terms,
)
from orchestrator.store import journal as journals
from tests.simulation.api_statements import ApiStatements
from tests.simulation.owner_statements import OwnerStatements
from tests.simulation.tables import Rows, Session, Statement


class Database(ApiStatements, OwnerStatements):
    """Rows and statements; `time` is the database's clock, in seconds."""

    def __init__(self, time: Callable[[], float], chance: random.Random) -> None:
        super().__init__(time, chance)
        self.statements: dict[str, Statement] = {
            journals.SQL["write"]: self._write,
            journals.SQL["explain"]: self._explain,
            creation.SQL["create"]: self._create,
            loading.SQL["load"]: self._load,
            loading.SQL["partition"]: self._partition,
            loading.SQL["fail_corrupt"]: self._fail_corrupt,
            scan.SQL["scan"]: self._scan,
            terms.SQL["claim"]: self._claim,
            terms.SQL["confirm"]: self._confirm,
            terms.SQL["release"]: self._release,
            terms.SQL["vacant"]: self._vacant,
            runs.SQL["get"]: self._get,
            runs.SQL["state"]: self._state,
            runs.SQL["cancel"]: self._cancel,
            runs.SQL["retry"]: self._retry,
            runs.SQL["give_input"]: self._give_input,
            runs.SQL["step_defined"]: self._step_defined,
            cancellations.SQL["due"]: self._due_cancellations,
            cancellations.SQL["settle"]: self._settle,
            cancellations.SQL["postpone"]: self._postpone,
            cancellations.SQL["learn_task"]: self._learn_task,
            agents.SQL["get_active"]: self._agent,
            definitions.SQL["definition"]: self._definition,
            lock.SQL["take_exclusive"]: self._take_exclusive,
            lock.SQL["take_shared"]: self._take_shared,
            lock.SQL["take_owner"]: self._take_owner,
            lock.SQL["session"]: self._session,
            lock.SQL["end_session"]: self._end_session,
            lock.SQL["look"]: _one,
            "SELECT 1": _one,
        }

    def execute(self, statement: str, args: Sequence[Any], session: Session) -> Rows:
        """Run a statement; it takes effect at once, or raises and has none."""
        return self.statements[statement](args, session)


def _one(_args: Sequence[Any], _session: Session) -> Rows:
    return [{"?column?": 1}]
