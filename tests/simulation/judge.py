"""The judge: a second, independent account of what may happen to a run, held against every commit.

It reads the history as it is written and the calls as they arrive, keeps a plain model of each run,
and says what was wrong the moment it is. It knows nothing of fences and guards: only their purpose.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from orchestrator import json_text
from orchestrator.domain.run import message_id
from tests.simulation.agents import Agents, Made
from tests.simulation.database import Database
from tests.simulation.lives import Life, Step, may_fail
from tests.simulation.rows import ENDED, EventRow, RunRow
from tests.simulation.setting import Setting

_EARLY = 0.002  # delays are told in whole milliseconds
_MOMENT = 0.1  # from a decision to its commit, where nothing delays it
_LATE = 6.0  # where nothing is wrong: a few looks, and the first rebalances


class Judge:
    """`wrong` is told each thing that must not be."""

    def __init__(
        self,
        database: Database,
        agents: Agents,
        setting: Setting,
        wrong: Callable[[str], None],
    ) -> None:
        self.lives: dict[UUID, Life] = {}
        self.unfinished: dict[UUID, None] = {}
        self.ends: Counter[str] = Counter()
        self.asked: Callable[[UUID, str, str], None] = lambda *_: None  # somebody is to answer
        self._draining: dict[str, float] = {}  # processes that start nothing any more, since when
        self._database = database
        self._agents = agents
        self._chains = setting.chains
        self._prompt = setting.prompt
        self._punctual = setting.punctual
        self._crashes_allowed = "crash" in setting.mood
        self._say = wrong
        database.observe = self.observe
        agents.arrived = self.arrived

    def drains(self, process: str) -> None:
        self._draining[process] = self._database.now()

    # -- the history ------------------------------------------------------------------------------

    def observe(self, run: RunRow, decision: EventRow) -> None:
        """Take note of a commit."""
        life = self.lives.get(run.id)
        if life is None:
            life = self.lives[run.id] = Life(self._chains[run.workflow_id])
        if decision.seq - len(decision.events) != life.seq:
            self._wrong(run, f"the history has a gap after {life.seq}: {decision}")
        if decision.epoch and decision.epoch != self._database.terms[run.partition].epoch:
            self._wrong(run, f"written under an old term: {decision}")
        life.seq = decision.seq
        for event in decision.events:
            self._take(run, life, event, decision)
        life.epoch = decision.epoch or life.epoch
        self._compare(run, life)
        if life.status in ENDED:
            self.unfinished.pop(run.id, None)
        else:
            self.unfinished[run.id] = None

    def _take(self, run: RunRow, life: Life, event: dict[str, Any], at: EventRow) -> None:
        kind, path = event["kind"], event.get("step_id")
        if path is not None:
            step = life.steps.setdefault(path, Step())
            self._take_step(run, life, step, event, at)
            return
        before = life.status
        match kind:
            case "RunCreated":
                fine = life.seq == 1
            case "RunStarted":
                fine, life.status = before == "PENDING", "RUNNING"
            case "RunTakenOver":
                fine = before == "RUNNING" and self._may_be_taken_over(life, at)
                for name, step in life.steps.items():
                    sends = step.task is None or step.answering
                    if step.in_call and sends and life.chain[name].resend:
                        step.licences[step.attempt, step.number] += 1
            case "RunCompleted":
                done = [s for s in life.steps.values() if s.status == "COMPLETED"]
                fine = before == "RUNNING" and len(done) == len(life.chain)
                life.status = "COMPLETED"
            case "RunFailed":
                fine, life.status = before not in ENDED, "FAILED"
                self._fail_rest(run, life)
                fine = fine and may_fail(self._crashes_allowed, event["cause"])
            case "RunCancelled":
                fine, life.status = before not in ENDED, "CANCELLED"
                self._fail_rest(run, life)
            case "RunRetried":
                fine, life.status = before in ("FAILED", "CANCELLED"), "PENDING"
                for path, step in life.steps.items():
                    if step.status != "COMPLETED":
                        life.steps[path] = Step(number=step.number, licences=step.licences)
            case _:
                fine = False
        if not fine:
            self._wrong(run, f"{event} of a run that was {before}: {life.steps}")

    def _take_step(
        self, run: RunRow, life: Life, step: Step, event: dict[str, Any], at: EventRow
    ) -> None:
        kind, path, now = event["kind"], event["step_id"], at.at
        attempt = event.get("attempt", 0)
        fine = life.status == "RUNNING" and not self._is_late(step, now)
        same = step.attempt == attempt and (step.in_call or step.waiting_for is not None)
        match kind:
            case "StepStarted":
                fine = fine and self._may_start(life, step, path, attempt, now)
                self._start(life, step, path, attempt, now)
            case "TaskRecorded":
                again = step.answering or step.waiting_for is not None
                fine = fine and same and (step.task is None or again)
                step.task, step.due = event["task_id"], None
                step.answering, step.waiting_for = False, None
                fine = fine and self._is_of(run, path, step)
            case "StepParked":
                fine = fine and same and step.task in (None, event["task_id"])
                step.task, step.waiting_for = event["task_id"], event["waiting_for"]
                asked = run.steps[path].task_asked
                fine = fine and not (step.answering and asked == step.asked)  # an answer is lost
                step.answering, step.due, step.asked = False, None, asked
                fine = fine and self._is_of(run, path, step)
                self.asked(run.id, path, event["waiting_for"])
            case "StillWaiting":
                fine = fine and step.waiting_for == "auth" and step.attempt == attempt
            case "InputGiven":
                fine = fine and step.waiting_for is not None and now <= step.deadline
                step.waiting_for, step.answering = None, True
                step.attempt, step.number, step.due = 0, step.number + 1, now
            case "AttemptFailed":
                fine = fine and same and attempt < life.chain[path].max_attempts
                step.due = now + event["delay_ms"] / 1000
                step.waiting_for = None
                if event["cause"].startswith("unknown"):
                    follows = step.task is not None and not step.answering
                    fine = fine and (follows or life.chain[path].resend)
                else:
                    step.number += 1
                    step.task = step.task if step.answering else None
            case "StepCompleted":
                fine = fine and same and self._is_answer(run, path, step)
                step.status, step.due, step.waiting_for = "COMPLETED", None, None
                step.answering = False
            case "StepFailed":
                started = step.status == "RUNNING"
                fine = (
                    fine
                    and step.status != "COMPLETED"
                    and may_fail(self._crashes_allowed, event["cause"])
                )
                if event["cause"].startswith("timed out"):
                    fine = fine and started and now >= step.deadline - _EARLY
                    fine = fine and not (self._punctual and now > step.deadline + _LATE)
                    if step.at_work:
                        self._expect_cancellation(run, path, step)
                step.status, step.attempt, step.due = "FAILED", attempt, None
                step.waiting_for, step.answering = None, False
            case _:
                fine = False
        if not fine:
            self._wrong(run, f"{event} at {now} while it was {life.status}: {life.steps}")

    def _is_late(self, step: Step, now: float) -> bool:
        return self._punctual and step.due is not None and now > step.due + _LATE

    def _may_be_taken_over(self, life: Life, at: EventRow) -> bool:
        """Whether its owner was another, or is to blame: else its actor was ended for nothing."""
        return at.epoch != life.epoch or self._crashes_allowed

    def _may_start(self, life: Life, step: Step, path: str, attempt: int, now: float) -> bool:
        if not life.has_reached(path) or attempt > life.chain[path].max_attempts:
            return False
        if self._prompt and now > self._draining.get(self._database.writer, now) + _MOMENT:
            return False
        if step.status == "PENDING":
            return attempt == 1
        early = step.due is None or now < step.due - _EARLY
        if self._prompt and now > step.deadline + _MOMENT:
            return False
        return step.status == "RUNNING" and attempt == step.attempt + 1 and not early

    def _start(self, life: Life, step: Step, path: str, attempt: int, now: float) -> None:
        if step.status == "PENDING":
            step.number += 1
            step.deadline = now + life.chain[path].timeout
        step.status, step.attempt, step.due = "RUNNING", attempt, None
        if step.task is None or step.answering:
            step.licences[attempt, step.number] += 1

    def _fail_rest(self, run: RunRow, life: Life) -> None:
        for path, step in life.steps.items():
            if step.status == "RUNNING":
                if step.at_work:
                    self._expect_cancellation(run, path, step)
                step.status, step.due, step.waiting_for = "FAILED", None, None
                step.answering = False

    def _is_of(self, run: RunRow, path: str, step: Step) -> bool:
        """Whether the task has heard a message of this step."""
        heard = self._agents.tasks[step.task or ""].heard
        return any(call.message_id.startswith(f"run-{run.id}.{path}.") for call in heard)

    def _is_answer(self, run: RunRow, path: str, step: Step) -> bool:
        """Whether the output is of the newest message, or of one that the step's task has heard."""
        output = json_text.loads(run.steps[path].output or "{}")
        heard = self._agents.tasks[step.task].heard if step.task else []
        told = {message_id(run.id, path, step.number), *(call.message_id for call in heard)}
        return output.get("of") in told

    def _expect_cancellation(self, run: RunRow, path: str, step: Step) -> None:
        row = self._database.cancellations.get((run.id, message_id(run.id, path, step.number)))
        if row is None or row.task_id != step.task:
            self._wrong(run, f"its call of {path} is not cancelled at the agent: {step}, {row}")

    def _compare(self, run: RunRow, life: Life) -> None:
        """Hold the rows against the model."""
        told = [
            (path, s.status, s.attempt, s.number, s.task, s.waiting_for, s.answering)
            for path, s in life.steps.items()
        ]
        rows = [
            (
                path,
                s.status,
                s.attempt,
                s.message_no,
                s.task_id,
                s.waiting_for,
                s.answer is not None,
            )
            for path, s in run.steps.items()
        ]
        if (run.status, run.seq) != (life.status, life.seq) or told != rows:
            self._wrong(run, f"its rows do not say what its history says: {rows}, {told}")

    # -- the agents' log --------------------------------------------------------------------------

    def arrived(self, made: Made) -> None:
        """Take note of a call: it needs a start, or a take-over, that was committed before."""
        call = made.call
        run_id = UUID(call.run.removeprefix("run-"))
        run, life = self._database.runs[run_id], self.lives[run_id]
        step = life.steps.get(call.step)
        head, _, number = call.message_id.rpartition(".")
        if step is None or head != f"{call.run}.{call.step}":
            self._wrong(run, f"a call of a step that has not started: {call}")
            return
        licence = (call.attempt, int(number))
        step.licences[licence] -= 1
        if step.licences[licence] < 0:
            self._wrong(run, f"a call too many: {call} by {made.process}, {step}")
        row = run.steps[call.step]
        is_answer = call.task_id is not None
        if is_answer and call.task_id != row.task_id and (row.attempt, row.message_no) == licence:
            self._wrong(run, f"an answer to another task than asked: {call}, {row}")
        same = not is_answer and (row.attempt, row.message_no) == licence
        if same and row.input not in (None, call.input):
            self._wrong(run, f"a call with another input than its row has: {call}, {row}")

    # -- in the end -------------------------------------------------------------------------------

    def is_quiet(self) -> bool:
        """Whether nothing is left to do."""
        return not self.unfinished and not self.open_cancellations()

    def open_cancellations(self) -> Sequence[Any]:
        return [row for row in self._database.cancellations.values() if not row.outcome]

    def conclude(self, accepted: Mapping[UUID, None]) -> None:
        """Look at the rows once everything is over."""
        for run_id in accepted:
            if run_id not in self._database.runs:
                self._say(f"{run_id} was accepted and is lost")
        for run in self._database.runs.values():
            self.ends[run.status] += 1
            seq = 0
            for event in run.history:
                seq += len(event.events)
                if event.seq != seq:
                    self._wrong(run, "its history has a gap")
        for row in self._database.cancellations.values():
            if row.outcome == "confirmed" and row.task_id not in self._agents.asked_to_cancel:
                self._say(f"{row} says confirmed, and the agent was never asked")

    def _wrong(self, run: RunRow, what: str) -> None:
        self._say(f"run-{run.id}: {what}")
