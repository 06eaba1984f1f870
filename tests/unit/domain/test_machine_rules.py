"""The run state machine against its rules, over any sequence of commands, cancels and retries.

The test keeps books of its own: what was completed, how often a step was tried since the last
retry, under which number it was last sent and whether that call's outcome is known. It plays the
agents, the clock, and the API's cancel, retry and answer (which the database decides).
"""

from dataclasses import replace
from datetime import timedelta
from functools import reduce
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.domain import machine, workflow
from orchestrator.domain.agent import Asked, Failure, Outcome, TaskRef, WaitingFor
from orchestrator.domain.messages import (
    NOTHING,
    AttemptFailed,
    BackoffOver,
    CallAgent,
    Command,
    CompleteStep,
    DeadlineReached,
    Decision,
    Event,
    FailAttempt,
    FailRun,
    FindTask,
    FinishRun,
    FollowTask,
    LookAtTask,
    LookDue,
    Park,
    ParkStep,
    RecordTask,
    RecoverRun,
    RunCompleted,
    RunFailed,
    SendAnswer,
    StartRun,
    StepCompleted,
    StepFailed,
    StepParked,
    StepStarted,
    TaskRecorded,
    WaitBackoff,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Partition
from orchestrator.domain.workflow import WorkflowId

POLICY = RetryPolicy(max_retries=2)
DELAYS = timedelta(milliseconds=500), timedelta(seconds=2)
ZERO = timedelta(0)

paths = st.sampled_from([StepPath("a"), StepPath("b"), StepPath("c")])
tasks = st.builds(TaskRef, st.sampled_from(["t1", "t2"]), st.none())
questions = st.builds(
    Asked,
    st.builds(TaskRef, st.sampled_from(["t1", "t2"]), st.none(), st.sampled_from(["q1", "q2"])),
    st.sampled_from(WaitingFor),
    st.just({"text": "?"}),
)
failures = st.builds(Failure, st.just("it broke"), st.sampled_from(Outcome))
commands = st.one_of(
    st.just(StartRun()),
    st.builds(RecordTask, paths, st.integers(0, 4), tasks),
    st.builds(ParkStep, paths, st.integers(0, 4), questions),
    st.builds(LookDue, paths),
    st.builds(CompleteStep, paths, st.integers(0, 4), st.integers(0, 9)),
    st.builds(FailAttempt, paths, st.integers(0, 4), failures, st.just(POLICY), st.just(0.0)),
    st.builds(BackoffOver, paths, st.integers(0, 4)),
    st.builds(DeadlineReached, paths),
)


def pending(length: int, on_unknown: list[str]) -> Run:
    """Return a run of a chain whose every step takes what the one before put out."""
    ids = ["a", "b", "c"][:length]
    data = {
        "start_step": "a",
        "steps": {
            name: {
                "id": name,
                "agent_name": name,
                "next_step": following,
                "input_mapping": {"x": f"${{{before}.output}}" if before else "first"},
                "on_unknown_outcome": on_unknown.pop(),
            }
            for before, name, following in zip([None, *ids], ids, [*ids[1:], None], strict=False)
        },
    }
    definition = workflow.parse(
        WorkflowId(UUID(int=1)), 1, "wf-x-001", "x", data, timedelta(hours=1)
    )
    workflow.validate(definition)
    return Run(RunId(UUID(int=2)), Partition(0), definition, {}, RunStatus.PENDING, 1)


class RunMachine(RuleBasedStateMachine):
    run: Run

    @initialize(
        length=st.integers(1, 3),
        on_unknown=st.lists(st.sampled_from(["resend", "fail"]), min_size=3, max_size=3),
    )
    def create(self, length: int, on_unknown: list[str]) -> None:
        self.run = pending(length, on_unknown)
        self.order = workflow.order(self.run.definition)
        self.outputs: dict[str, Any] = {}
        self.tries: dict[str, int] = {}  # since the last retry
        self.number: dict[str, int] = {}  # what the next attempt is sent under, or the last was
        self.sent: set[tuple[str, int]] = set()
        self.unknown: set[str] = set()  # steps whose last call has an unknown outcome
        self.tasks: dict[str, TaskRef] = {}
        self.open: dict[str, TaskRef] = {}  # questions that nobody has answered
        self.answers: dict[str, int] = {}  # given, and their agent may not have them

    # -- what happens to a run --------------------------------------------------------------------

    @rule()
    def start(self) -> None:
        self.tell(StartRun())

    @rule(command=commands)
    def hear_anything(self, command: Command) -> None:
        path = getattr(command, "path", None)
        if path is None or path in self.order:
            self.tell(command)

    @precondition(lambda self: self.in_call())
    @rule(task=tasks)
    def get_a_task(self, task: TaskRef) -> None:
        step = self.active()
        self.tell(RecordTask(step.path, step.attempt, task))

    @precondition(lambda self: self.in_call())
    @rule(output=st.integers())
    def get_an_output(self, output: int) -> None:
        step = self.active()
        self.tell(CompleteStep(step.path, step.attempt, output))
        assert self.outputs[step.path] == output

    @precondition(lambda self: self.in_call())
    @rule(failure=failures, jitter=st.floats(0, 1, exclude_max=True))
    def get_a_failure(self, failure: Failure, jitter: float) -> None:
        step = self.active()
        self.tell(FailAttempt(step.path, step.attempt, failure, POLICY, jitter))

    @precondition(lambda self: self.backing_off())
    @rule()
    def wait(self) -> None:
        step = self.active()
        self.tell(BackoffOver(step.path, step.attempt))
        assert self.active().attempt == step.attempt + 1

    @precondition(lambda self: self.in_call() or self.open)
    @rule(asked=questions)
    def be_asked(self, asked: Asked) -> None:
        step = self.active()
        self.tell(ParkStep(step.path, step.attempt, asked))
        assert self.open[step.path] == asked.task

    @precondition(lambda self: self.open)
    @rule(passed=st.sampled_from([ZERO, timedelta(seconds=9)]))
    def be_looked_at(self, passed: timedelta) -> None:
        step = self.active()
        self.age(passed)
        due = step.due_in is not None and step.due_in <= passed
        assert (machine.decide(self.run, LookDue(step.path)) is not NOTHING) == due
        self.tell(LookDue(step.path))

    @precondition(lambda self: self.open)
    @rule(answer=st.integers(1, 9))
    def be_answered(self, answer: int) -> None:
        step = self.active()
        given = replace(
            step,
            waiting_for=None,
            waited=None,
            due_in=ZERO,
            attempt=0,
            message_no=step.message_no + 1,
            answer=answer,
        )
        self.run = replace(
            self.run, seq=self.run.seq + 1, steps={**self.run.steps, step.path: given}
        )
        self.answers[step.path] = answer
        del self.open[step.path]
        self.number[step.path] = given.message_no
        self.tries[step.path] = 0
        self.unknown.discard(step.path)

    @precondition(lambda self: self.run.status is RunStatus.RUNNING)
    @rule(passed=st.sampled_from([ZERO, timedelta(seconds=1), timedelta(hours=2)]))
    def be_taken_over(self, passed: timedelta) -> None:
        self.age(passed)
        self.tell(RecoverRun())

    @precondition(lambda self: self.in_call())
    @rule()
    def complete_while_draining(self) -> None:
        step = self.active()
        decision = machine.decide(self.run, CompleteStep(step.path, step.attempt, 1))
        self.note(decision.events[0])
        self.run = machine.evolve(self.run, decision.events[0])

    @precondition(lambda self: not self.run.status.ended)
    @rule()
    def fail_for_a_reason_of_its_own(self) -> None:
        self.tell(FailRun("corrupt"))
        assert self.run.error == "corrupt"

    @precondition(lambda self: not self.run.status.ended)
    @rule()
    def be_cancelled(self) -> None:
        ends = {StepStatus.RUNNING: StepStatus.FAILED, StepStatus.PENDING: StepStatus.SKIPPED}
        self.rewrite(RunStatus.CANCELLED, ends)

    @precondition(lambda self: self.run.status in (RunStatus.FAILED, RunStatus.CANCELLED))
    @rule()
    def be_retried(self) -> None:
        back = {StepStatus.FAILED: StepStatus.PENDING, StepStatus.SKIPPED: StepStatus.PENDING}
        self.rewrite(RunStatus.PENDING, back)
        self.tries.clear()
        self.unknown.clear()

    # -- the rules --------------------------------------------------------------------------------

    def tell(self, command: Command) -> None:
        before, decision = self.run, machine.decide(self.run, command)
        assert not before.status.ended or decision is NOTHING
        assert bool(decision.events) == bool(decision.effects)
        for event in decision.events:
            self.note(event)
        self.run = machine.replay(before, decision.events)

        assert self.run == reduce(machine.evolve, decision.events, before)
        assert self.run.seq == before.seq + len(decision.events)
        if not isinstance(command, RecoverRun):
            assert machine.decide(self.run, command) is NOTHING
        self.check_effects(command, decision)
        if isinstance(command, FailAttempt) and decision.effects and not self.run.status.ended:
            unknown = command.failure.outcome is Outcome.UNKNOWN
            assert (command.path in self.unknown) == unknown

    def note(self, event: Event) -> None:
        """Check an event against the books, and enter it."""
        match event:
            case StepStarted(path=path):
                self.note_start(event)
            case TaskRecorded(path=path, task=task):
                assert path not in self.tasks or path in self.open or path in self.answers
                self.tasks[path] = task
                self.settle(path)
            case StepParked(path=path, task=task):
                self.settle(path)
                self.tasks[path] = self.open[path] = task
            case AttemptFailed():
                self.note_failure(event)
            case StepCompleted(path=path, output=output):
                assert path not in self.outputs
                self.outputs[path] = output
                self.tasks.pop(path, None)
                self.settle(path)
            case StepFailed(path=path):
                assert path not in self.outputs
                assert event.cancel_task or path not in self.answers
                self.tasks.pop(path, None)
                self.settle(path)
            case RunCompleted():
                assert set(self.outputs) == set(self.order)
            case RunFailed(error=error):
                assert error == "corrupt" or error.startswith("Step '")
            case _:
                pass

    def note_failure(self, event: AttemptFailed) -> None:
        path = event.path
        assert DELAYS[0] <= event.delay <= DELAYS[1]
        assert event.message_no - self.number[path] in (0, 1)
        if event.message_no == self.number[path]:
            self.unknown.add(path)
        elif path not in self.answers:
            self.tasks.pop(path, None)
        self.number[path] = event.message_no
        self.open.pop(path, None)

    def settle(self, path: str) -> None:
        """Forget what was asked and answered."""
        self.open.pop(path, None)
        self.answers.pop(path, None)

    def note_start(self, event: StepStarted) -> None:
        path, place = event.path, self.order.index(event.path)
        assert path not in self.outputs  # a completed step is never called again
        assert set(self.outputs) == set(self.order[:place])
        assert event.input == {"x": self.outputs[self.order[place - 1]] if place else "first"}
        self.tries[path] = self.tries.get(path, 0) + 1
        assert event.attempt == self.tries[path] <= POLICY.max_retries + 1
        assert path not in self.open  # nothing is sent while somebody is asked
        anew = event.attempt == 1 and path not in self.answers
        assert (event.timeout is not None) == anew
        assert event.message_no == self.number.get(path, 0) + anew
        assert (path in self.unknown) == ((path, event.message_no) in self.sent)
        self.number[path] = event.message_no
        self.sent.add((path, event.message_no))
        self.unknown.discard(path)

    def check_effects(self, command: Command, decision: Decision) -> None:
        for effect in decision.effects:
            match effect:
                case CallAgent(path, attempt, message_no):
                    step = self.run.steps[path]
                    assert (step.attempt, step.message_no) == (attempt, message_no)
                    assert step.in_call
                    assert (path, message_no) in self.sent
                    started = any(isinstance(e, StepStarted) for e in decision.events)
                    assert started or isinstance(command, RecoverRun)
                    assert path not in self.tasks
                case FollowTask(path, attempt, task):
                    assert self.run.steps[path].attempt == attempt
                    assert self.tasks[path] == self.run.steps[path].task == task
                case SendAnswer(path, attempt, message_no, task):
                    step = self.run.steps[path]
                    assert (step.attempt, step.message_no) == (attempt, message_no)
                    assert step.in_call
                    assert (path, message_no) in self.sent
                    assert step.answer == self.answers[path]
                    assert task == self.tasks[path]
                case FindTask(path, attempt, message_no, task):
                    step = self.run.steps[path]
                    assert isinstance(command, RecoverRun)
                    assert (step.attempt, step.message_no) == (attempt, message_no)
                    assert step.in_call
                    assert (path, message_no) in self.sent
                    assert self.run.definition.steps[path].on_unknown_outcome.value == "fail"
                    assert task == (self.tasks[path] if path in self.answers else None)
                case LookAtTask(path, attempt, task):
                    assert isinstance(command, LookDue)
                    assert self.run.steps[path].attempt == attempt
                    assert task == self.open[path]
                case Park(path, look_in):
                    assert path in self.open
                    assert self.run.steps[path].due_in == look_in
                case WaitBackoff(path, attempt, delay):
                    assert self.run.steps[path].attempt == attempt
                    assert self.run.steps[path].due_in == delay
                case FinishRun():
                    assert self.run.status.ended

    @invariant()
    def at_most_one_step_of_a_chain_is_at_work(self) -> None:
        active = [s for s in self.run.steps.values() if s.status is StepStatus.RUNNING]

        assert len(active) <= (self.run.status is RunStatus.RUNNING)

    @invariant()
    def what_waits_for_somebody_has_a_task_and_no_call(self) -> None:
        waiting = {s.path: s.task for s in self.run.steps.values() if s.waiting_for is not None}

        assert waiting == self.open
        assert not any(self.run.steps[path].in_call for path in waiting)
        answered = {s.path: s.answer for s in self.run.steps.values() if s.answer is not None}
        assert answered == self.answers

    @invariant()
    def the_run_has_the_outputs_that_were_given(self) -> None:
        completed = {
            s.path: s.output for s in self.run.steps.values() if s.status is StepStatus.COMPLETED
        }

        assert completed == self.outputs
        assert (self.run.status is RunStatus.COMPLETED) <= (len(completed) == len(self.order))
        assert (self.run.error is not None) == (self.run.status is RunStatus.FAILED)

    # -- the world --------------------------------------------------------------------------------

    def active(self) -> StepExecution:
        return next(s for s in self.run.steps.values() if s.status is StepStatus.RUNNING)

    def in_call(self) -> bool:
        return any(step.in_call for step in self.run.steps.values())

    def backing_off(self) -> bool:
        return any(
            step.status is StepStatus.RUNNING
            and step.due_in is not None
            and step.waiting_for is None
            for step in self.run.steps.values()
        )

    def age(self, passed: timedelta) -> None:
        """Let time pass, and load the rows again."""
        steps = {path: aged(step, passed) for path, step in self.run.steps.items()}
        self.run = replace(self.run, steps=steps)

    def rewrite(self, status: RunStatus, steps: dict[StepStatus, StepStatus]) -> None:
        """Do what cancel and retry do to the rows; the attempts are counted anew at a start."""
        gone = ("task", "due_in", "deadline_in", "waiting_for", "waited", "answer")
        fresh: dict[str, Any] = {"attempt": 0, **dict.fromkeys(gone)}
        for book in (self.tasks, self.open, self.answers):
            book.clear()
        self.run = replace(
            self.run,
            status=status,
            error=None,
            seq=self.run.seq + 1,
            steps={
                path: replace(step, status=steps[step.status], **fresh)
                if step.status in steps
                else step
                for path, step in self.run.steps.items()
            },
        )


def aged(step: StepExecution, passed: timedelta) -> StepExecution:
    """Return a step as its row is loaded some time later."""
    due_in = None if step.due_in is None else step.due_in - passed
    deadline_in = None if step.deadline_in is None else step.deadline_in - passed
    waited = None if step.waited is None else step.waited + passed
    return replace(step, due_in=due_in, deadline_in=deadline_in, waited=waited)


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = settings(max_examples=60, stateful_step_count=40)
