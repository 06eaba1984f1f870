"""The statements of owners: looks, terms, cancellations, agents, and sessions with their locks."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.simulation.rows import TermRow, moment
from tests.simulation.tables import Rows, Session, Tables


class OwnerStatements(Tables):
    """A mixin of `Database`; each statement is a method."""

    # -- the scan ---------------------------------------------------------------------------------

    def _scan(self, args: Sequence[Any], _: Session) -> Rows:
        partitions, ids, seqs, _, _, limit = args
        active, now = dict(zip(ids, seqs, strict=True)), self.now()
        # What is due, at work, and pending, partition by partition.
        found: dict[int, tuple[list[Any], list[Any], list[Any]]] = {
            partition: ([], [], []) for partition in partitions
        }
        waiting: list[float] = []
        for run in self.unfinished.values():
            if run.partition not in found or run.id in active:
                continue
            due, running, pending = found[run.partition]
            if run.wake_at is not None:
                if run.wake_at > now:
                    waiting.append(run.wake_at)
                else:
                    due.append((run.wake_at, run.id))
            elif run.status == "RUNNING":
                running.append((0, run.id))
            else:
                pending.append((1, run.id))
        ready: list[tuple[int, UUID]] = []
        for due, running, pending in found.values():
            ready += [(0, run_id) for _, run_id in sorted(due)[: limit + 1]]
            ready += sorted(running)[: limit + 1] + sorted(pending)[: limit + 1]
        moved = [
            run_id
            for run_id, seq in active.items()
            if (row := self.runs.get(run_id)) is None or row.seq != seq
        ]
        ready.sort()
        return [
            {
                "moved": moved,
                "ready": [run_id for _, run_id in ready[: limit + 1]],
                "next_due": timedelta(seconds=min(waiting) - now) if waiting else None,
            }
        ]

    # -- terms ------------------------------------------------------------------------------------

    def _claim(self, args: Sequence[Any], _: Session) -> Rows:
        partition, owner, name = args
        term = self.terms.setdefault(partition, TermRow())
        term.epoch, term.owner, term.owner_name = term.epoch + 1, owner, name
        term.released = False
        return [{"epoch": term.epoch}]

    def _confirm(self, args: Sequence[Any], _: Session) -> Rows:
        return [
            {"partition": partition, "epoch": epoch}
            for partition, epoch in zip(*args, strict=True)
            if partition in self.terms and self.terms[partition].epoch == epoch
        ]

    def _release(self, args: Sequence[Any], _: Session) -> Rows:
        partition, epoch = args
        term = self.terms.get(partition)
        if term is None or term.epoch != epoch:
            return []
        term.released = True
        return [{"partition": partition}]

    def _vacant(self, args: Sequence[Any], _: Session) -> Rows:
        partitions, owner = args
        free = []
        for partition in partitions:
            term = self.terms.get(partition)
            if (
                term is None
                or term.released
                or term.owner in (None, owner)
                or not self._held(("owner", term.owner))
            ):
                free.append({"partition": partition})
        return free

    # -- cancellations ----------------------------------------------------------------------------

    def _due_cancellations(self, args: Sequence[Any], _: Session) -> Rows:
        partitions, limit = args
        now = self.now()
        due = [
            row
            for row in self.cancellations.values()
            if row.partition in partitions and row.outcome is None and row.next_at <= now
        ]
        due.sort(key=lambda row: row.next_at)
        return [
            {
                "run_id": row.run_id,
                "message_id": row.message_id,
                "agent_name": row.agent_name,
                "task_id": row.task_id,
                "task_context": row.task_context,
                "attempts": row.attempts,
                "age": timedelta(seconds=now - row.asked_at),
            }
            for row in due[:limit]
        ]

    def _settle(self, args: Sequence[Any], _: Session) -> Rows:
        run_id, message_id, outcome = args
        row = self.cancellations.get((run_id, message_id))
        if row is not None and row.outcome is None:
            row.outcome = str(outcome)
            row.attempts += 1
        return []

    def _postpone(self, args: Sequence[Any], _: Session) -> Rows:
        run_id, message_id, delay = args
        row = self.cancellations.get((run_id, message_id))
        if row is not None and row.outcome is None:
            row.attempts += 1
            row.next_at = self.now() + delay.total_seconds()
        return []

    def _learn_task(self, args: Sequence[Any], _: Session) -> Rows:
        run_id, message_id, task_id, task_context = args
        row = self.cancellations.get((run_id, message_id))
        if row is not None and row.task_id is None:
            row.task_id, row.task_context = task_id, task_context
            row.next_at, row.outcome = self.now(), None
        return []

    # -- agents and definitions -------------------------------------------------------------------

    def _agent(self, args: Sequence[Any], _: Session) -> Rows:
        row = self.agents.get(args[0])
        return [] if row is None or row["status"] != "active" else [row]

    def _definition(self, args: Sequence[Any], _: Session) -> Rows:
        row = self.definitions.get((args[0], args[1]))
        return [] if row is None else [row]

    # -- sessions and their locks -----------------------------------------------------------------

    def _held(self, name: tuple[str, UUID | None]) -> bool:
        return any(name in session.locks for session in self.sessions.values())

    def _take(self, session: Session, name: tuple[str, UUID | None], *rivals: str) -> Rows:
        others = [other for other in self.sessions.values() if other is not session]
        if any((rival, name[1]) in other.locks for rival in rivals for other in others):
            return [{"taken": False}]
        session.locks.add(name)
        return [{"taken": True}]

    def _take_exclusive(self, _: Sequence[Any], session: Session) -> Rows:
        return self._take(session, ("exclusive", None), "exclusive", "shared")

    def _take_shared(self, _: Sequence[Any], session: Session) -> Rows:
        return self._take(session, ("shared", None), "exclusive")

    def _take_owner(self, args: Sequence[Any], session: Session) -> Rows:
        return self._take(session, ("owner", args[0]), "owner")

    def _session(self, _: Sequence[Any], session: Session) -> Rows:
        return [{"pid": session.number, "backend_start": moment(0)}]

    def _end_session(self, args: Sequence[Any], _: Session) -> Rows:
        self.sessions.pop(args[0], None)
        return []
