"""The statements about runs: the journal's, those that create and load."""

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Any
from uuid import UUID

import asyncpg

from tests.simulation.rows import ENDED, CancellationRow, EventRow, RunRow, StepRow, moment
from tests.simulation.tables import Rows, Session, Tables

_UNDEFINED = {"key": "wf", "name": "workflow"}


class RunStatements(Tables):
    """A mixin of `Database`; each statement is a method."""

    def add_run(self, run: RunRow) -> None:
        """Insert a run with its first event."""
        self.runs[run.id] = run
        run.updated_at = run.created_at
        self._record(run, run.created_at, [{"kind": "RunCreated"}])

    # -- the journal ------------------------------------------------------------------------------

    def _write(self, args: Sequence[Any], _: Session) -> Rows:
        refuse_nul(args[4:34])
        now = self.now()
        fence = {
            (partition, epoch)
            for partition, epoch in zip(args[0], args[1], strict=True)
            if partition in self.terms and self.terms[partition].epoch == epoch
        }
        applied: dict[UUID, tuple[RunRow, list[dict[str, Any]]]] = {}
        for decision in zip_longest(*args[4:14]):
            run_id, partition, epoch, base_seq = decision[:4]
            run = self.runs.get(run_id)
            if (
                run is None
                or (partition, epoch) not in fence
                or run.partition != partition
                or run.seq != base_seq
                or run.status in ENDED
            ):
                continue
            self._apply(run, decision, now)
            applied[run_id] = run, json.loads(decision[9])
        for step in zip_longest(*args[14:34]):
            if step[0] in applied:
                self._write_step(applied[step[0]][0], step, now)
        for run, events in applied.values():
            self._record(run, now, events)
        return [(run_id,) for run_id in applied]

    def _apply(self, run: RunRow, decision: tuple[Any, ...], now: float) -> None:
        _, _, epoch, _, seq, token, status, error, wake_in, _ = decision
        run.seq, run.epoch, run.token, run.status = seq, epoch, token, str(status)
        run.error_message, run.updated_at = error, now
        run.completed_at = now if status in ("COMPLETED", "FAILED") else None
        run.wake_at = None
        if wake_in is not None:  # of the steps as they are before this statement
            ends = [
                step.deadline_at
                for step in run.steps.values()
                if step.status == "RUNNING" and step.deadline_at is not None
            ]
            run.wake_at = min([now + wake_in.total_seconds(), *ends])

    def _write_step(self, run: RunRow, step: tuple[Any, ...], now: float) -> None:
        _, path, position, agent_name, status, attempt, message_no, given, made, *rest = step
        error, task_id, task_context, due_in, timeout, cancel_task, *asks, _artifacts = rest
        row = run.steps.get(path)
        if row is None:
            row = run.steps[path] = StepRow(path, position, agent_name, "", 0, 0, answer="null")
            run.steps = dict(sorted(run.steps.items(), key=lambda item: item[1].position))
        if row.status != "COMPLETED":
            row.status, row.attempt, row.message_no = str(status), attempt, message_no
            row.input = row.input if given is None else given
            row.output = made
            row.error_message, row.task_id, row.task_context = error, task_id, task_context
            row.due_at = _later(now, due_in)
            if timeout is not None:
                row.deadline_at = _later(now, timeout)
            row.started_at = now if row.started_at is None else row.started_at
            row.completed_at = now if status in ("COMPLETED", "FAILED") else None
            self._write_question(run, row, asks, now)
        if cancel_task:
            self._ask_to_cancel(run, path, agent_name, message_no, task_id, task_context, now)

    def _write_question(self, run: RunRow, row: StepRow, asks: list[Any], now: float) -> None:
        waiting_for, question, row.task_asked, keeps_answer = asks
        if waiting_for is None:
            row.ask_no_more()
        else:
            row.waiting_for = str(waiting_for)
        if waiting_for is not None and question is not None:
            row.question, row.asked_at, row.asked_seq = question, now, run.seq
        row.answer = row.answer if keeps_answer else None

    def _ask_to_cancel(
        self,
        run: RunRow,
        path: str,
        agent_name: str,
        message_no: int,
        task_id: str | None,
        task_context: str | None,
        now: float,
    ) -> None:
        message_id = f"run-{run.id}.{path}.{message_no}"
        row = CancellationRow(
            run.id, message_id, path, run.partition, agent_name, task_id, task_context, now, now
        )
        self.cancellations.setdefault((run.id, message_id), row)

    def _record(self, run: RunRow, now: float, events: list[dict[str, Any]]) -> None:
        event = EventRow(run.seq, run.epoch, now, events)
        run.history.append(event)
        if run.status in ENDED:
            self.unfinished.pop(run.id, None)
        else:
            self.unfinished[run.id] = run
        self.observe(run, event)

    def _explain(self, args: Sequence[Any], _: Session) -> Rows:
        found = []
        for run_id, partition in zip(args[0], args[1], strict=True):
            run, term = self.runs.get(run_id), self.terms.get(partition)
            found.append(
                {
                    "run_id": run_id,
                    "seq": None if run is None else run.seq,
                    "token": None if run is None else run.token,
                    "epoch": None if term is None else term.epoch,
                }
            )
        return found

    # -- creating and loading ---------------------------------------------------------------------

    def _create(self, args: Sequence[Any], _: Session) -> Rows:
        refuse_nul(args[:5])
        *columns, _, _, _, partitions = args  # every workflow is executable here
        made = []
        for workflow_id, version, given, triggered_by, token in zip(*columns, strict=True):
            definition = self.definitions.get((workflow_id, version), _UNDEFINED)
            key, name = definition["key"], definition["name"]
            run_id, now = self._new_id(), self.now()
            partition = (run_id.int & 0xFFFFFFFF) % partitions
            run = RunRow(run_id, partition, workflow_id, version, key, name, given, now, token)
            run.triggered_by = triggered_by
            self.add_run(run)
            made.append(
                {
                    "token": token,
                    "id": run_id,
                    "partition": partition,
                    "created_at": moment(now),
                    "workflow_name": name,
                }
            )
        return made

    def _new_id(self) -> UUID:
        """Make an id in the order of time, its end at random."""
        self._made += 1
        milliseconds = int(moment(self.now()).timestamp() * 1000)
        return UUID(
            int=milliseconds << 80
            | 0x7 << 76
            | (self._made & 0xFFF) << 64
            | 0x2 << 62
            | self._chance.getrandbits(62)
        )

    def _load(self, args: Sequence[Any], _: Session) -> Rows:
        now = self.now()
        return [
            {
                "id": run.id,
                "partition": run.partition,
                "workflow_id": run.workflow_id,
                "workflow_version": run.workflow_version,
                "input": run.input,
                "status": run.status,
                "seq": run.seq,
                "error_message": run.error_message,
                "steps": [_loaded(step, now) for step in run.steps.values()],
            }
            for run_id in args[0]
            if (run := self.runs.get(run_id)) is not None
        ]

    def _partition(self, args: Sequence[Any], _: Session) -> Rows:
        run = self.runs.get(args[0])
        return [] if run is None else [{"partition": run.partition}]

    def _fail_corrupt(self, args: Sequence[Any], _: Session) -> Rows:
        run_id, reason, partition, epoch = args
        refuse_nul([reason])
        term, run = self.terms.get(partition), self.runs.get(run_id)
        if term is None or term.epoch != epoch:
            return [{"fail_run": False}]
        if run is not None and run.partition == partition and run.status not in ENDED:
            now = self.now()
            self._move(run, "FAILED", epoch, reason, now)
            run.completed_at = now
            self._end_running_steps(run, now)
            self._record(run, now, [{"kind": "RunFailed", "cause": reason}])
        return [{"fail_run": True}]

    def _move(self, run: RunRow, status: str, epoch: int, error: str | None, now: float) -> None:
        run.status, run.error_message, run.updated_at = status, error, now
        run.seq, run.epoch, run.wake_at = run.seq + 1, epoch, None
        run.token = self._chance.getrandbits(64) - (1 << 63)

    def _end_running_steps(self, run: RunRow, now: float) -> None:
        for step in run.steps.values():
            if step.status != "RUNNING":
                continue
            if step.due_at is None or step.task_id is not None:
                self._ask_to_cancel(
                    run,
                    step.path,
                    step.agent_name,
                    step.message_no,
                    step.task_id,
                    step.task_context,
                    now,
                )
            step.status, step.error_message = "FAILED", run.error_message
            step.due_at, step.completed_at, step.answer = None, now, None
            step.ask_no_more()


def _later(now: float, wait: timedelta | None) -> float | None:
    return None if wait is None else now + wait.total_seconds()


def _loaded(step: StepRow, now: float) -> tuple[Any, ...]:
    return (
        step.path,
        step.status,
        step.attempt,
        step.message_no,
        step.task_id,
        step.task_context,
        None if step.due_at is None else timedelta(seconds=step.due_at - now),
        None if step.deadline_at is None else timedelta(seconds=step.deadline_at - now),
        step.input if step.status == "RUNNING" else None,
        step.output if step.status == "COMPLETED" else None,
        step.waiting_for,
        None if step.asked_at is None else timedelta(seconds=now - step.asked_at),
        step.task_asked,
        step.answer,
    )


def refuse_nul(columns: Sequence[Any]) -> None:
    for column in columns:
        for value in column if isinstance(column, list | tuple) else [column]:
            if isinstance(value, str) and "\0" in value:
                raise asyncpg.CharacterNotInRepertoireError(
                    'invalid byte sequence for encoding "UTF8": 0x00'
                )
