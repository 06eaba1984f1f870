"""The statements by which the API decides: cancel, retry, and the answer to a question."""

import json
from collections.abc import Sequence
from typing import Any

from tests.simulation.rows import ENDED, StepRow
from tests.simulation.run_statements import RunStatements, refuse_nul
from tests.simulation.tables import Rows, Session


class ApiStatements(RunStatements):
    """A mixin of `Database`; each statement is a method."""

    def _get(self, args: Sequence[Any], _: Session) -> Rows:
        run = self.runs.get(args[0])
        return [] if run is None else [run.record()]

    def _state(self, args: Sequence[Any], _: Session) -> Rows:
        found = (self.runs.get(run_id) for run_id in args[0])
        return [
            {"id": run.id, "status": run.status, "seq": run.seq} for run in found if run is not None
        ]

    def _cancel(self, args: Sequence[Any], _: Session) -> Rows:
        run_id, reason = args
        refuse_nul([reason])
        run = self.runs.get(run_id)
        if run is None or run.status in ENDED:
            return []
        now, reason = self.now(), (reason or "").strip(" ") or None
        said = "Cancelled" if reason is None else f"Cancelled: {reason}"
        self._move(run, "CANCELLED", 0, said, now)
        run.cancelled_at, run.cancelled_by = now, "system"
        self._end_running_steps(run, now)
        event = {"kind": "RunCancelled", "reason": reason}
        self._record(run, now, [{k: v for k, v in event.items() if v is not None}])
        return [run.record()]

    def _retry(self, args: Sequence[Any], _: Session) -> Rows:
        run = self.runs.get(args[0])
        if run is None or run.status not in ("FAILED", "CANCELLED"):
            return []
        now = self.now()
        self._move(run, "PENDING", 0, None, now)
        run.completed_at = run.cancelled_at = run.cancelled_by = None
        for path, step in run.steps.items():
            if step.status != "COMPLETED":
                run.steps[path] = StepRow(
                    path, step.position, step.agent_name, "PENDING", 0, step.message_no
                )
                run.steps[path].task_asked = step.task_asked
        self._record(run, now, [{"kind": "RunRetried"}])
        return [run.record()]

    def _give_input(self, args: Sequence[Any], _: Session) -> Rows:
        run_id, path, given, question = args
        refuse_nul([path, given])
        run, now = self.runs.get(run_id), self.now()
        step = None if run is None else run.steps.get(path)
        if (
            run is None
            or step is None
            or step.status != "RUNNING"
            or step.waiting_for is None
            or question not in (None, step.asked_seq)
            or (step.deadline_at is not None and step.deadline_at <= now)
        ):
            return []
        step.ask_no_more()
        step.answer, step.attempt, step.message_no = given, 0, step.message_no + 1
        step.due_at = now
        self._move(run, run.status, 0, run.error_message, now)
        run.wake_at = now
        self._record(run, now, [{"kind": "InputGiven", "step_id": path}])
        return [run.record()]

    def _step_defined(self, args: Sequence[Any], _: Session) -> Rows:
        run = self.runs.get(args[0])
        if run is None:
            return []
        row = self.definitions.get((run.workflow_id, run.workflow_version))
        return [{"defined": None if row is None else args[1] in json.loads(row["data"])["steps"]}]
