"""The run state machine, transition by transition."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.domain import machine, workflow
from orchestrator.domain.agent import Failure, Outcome, TaskRef
from orchestrator.domain.errors import Refused
from orchestrator.domain.messages import (
    NOTHING,
    AttemptFailed,
    BackoffOver,
    CallAgent,
    Command,
    CompleteStep,
    DeadlineReached,
    Decision,
    FailAttempt,
    FailRun,
    FinishRun,
    FollowTask,
    RecordTask,
    RecoverRun,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTakenOver,
    StartRun,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskRecorded,
    WaitBackoff,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Partition
from orchestrator.domain.workflow import WorkflowId

A, B = StepPath("a"), StepPath("b")
TASK = TaskRef("t1", "c1")
TIMEOUT = timedelta(minutes=2)
SECOND = timedelta(seconds=1)
ZERO = timedelta(0)
POLICY = RetryPolicy(max_retries=1)


def pending(on_unknown: str = "resend", **a_mapping: Any) -> Run:
    """Return a run of two steps: b takes what a put out."""
    data = {
        "start_step": "a",
        "steps": {
            "a": {
                "id": "a",
                "agent_name": "agent-a",
                "next_step": "b",
                "input_mapping": {"n": "${workflow.input.n}", **a_mapping},
                "timeout_ms": 1500,
                "on_unknown_outcome": on_unknown,
            },
            "b": {
                "id": "b",
                "agent_name": "agent-b",
                "next_step": None,
                "input_mapping": {"x": "${a.output.x}"},
            },
        },
    }
    definition = workflow.parse(WorkflowId(UUID(int=1)), 1, "wf-x-001", "x", data, TIMEOUT)
    workflow.validate(definition)
    return Run(RunId(UUID(int=2)), Partition(0), definition, {"n": 5}, RunStatus.PENDING, 1)


def after(run: Run, *commands: Command) -> Run:
    for command in commands:
        run = machine.replay(run, machine.decide(run, command).events)
    return run


def changed(run: Run, path: StepPath, **changes: Any) -> Run:
    return replace(run, steps={**run.steps, path: replace(run.steps[path], **changes)})


def put_back(run: Run, path: StepPath) -> Run:
    """Do what a retry does in the database."""
    fresh = {"attempt": 0, "task": None, "due_in": None, "deadline_in": None}
    run = changed(run, path, status=StepStatus.PENDING, **fresh)
    return replace(run, status=RunStatus.PENDING, error=None)


def failing(outcome: Outcome, attempt: int = 1, retry_after: timedelta | None = None) -> Command:
    return FailAttempt(A, attempt, Failure("it broke", outcome, retry_after), POLICY, 0.0)


def running(on_unknown: str = "resend") -> Run:
    return after(pending(on_unknown), StartRun())


def waiting() -> Run:
    return after(running(), failing(Outcome.TRANSIENT))


def following(on_unknown: str = "resend") -> Run:
    return after(running(on_unknown), RecordTask(A, 1, TASK))


# -- the way of a run that goes well --------------------------------------------------------------


def test_a_start_starts_the_first_step() -> None:
    run = pending()

    decision = machine.decide(run, StartRun())

    started = StepStarted(A, 1, 1, {"n": 5}, timedelta(seconds=1.5))
    assert decision == Decision((RunStarted(), started), (CallAgent(A, 1, 1),))
    step = machine.replay(run, decision.events).steps[A]
    assert step == StepExecution(
        A, StepStatus.RUNNING, 1, 1, deadline_in=timedelta(seconds=1.5), input={"n": 5}
    )


def test_an_output_completes_the_step_and_starts_the_next() -> None:
    decision = machine.decide(running(), CompleteStep(A, 1, {"x": [1]}))

    assert decision == Decision(
        (StepCompleted(A, 1, {"x": [1]}), StepStarted(B, 1, 1, {"x": [1]}, TIMEOUT)),
        (CallAgent(B, 1, 1),),
    )


def test_the_last_output_completes_the_run() -> None:
    run = after(running(), CompleteStep(A, 1, {"x": 1}))

    decision = machine.decide(run, CompleteStep(B, 1, None))

    assert decision == Decision((StepCompleted(B, 1, None), RunCompleted()), (FinishRun(),))
    ended = machine.replay(run, decision.events)
    assert (ended.status, ended.seq, ended.error) == (RunStatus.COMPLETED, 7, None)
    assert ended.steps[A].output == {"x": 1}


def test_a_task_is_recorded_before_it_is_followed() -> None:
    decision = machine.decide(running(), RecordTask(A, 1, TASK))

    assert decision == Decision((TaskRecorded(A, 1, TASK),), (FollowTask(A, 1, TASK),))
    assert following().steps[A].task == TASK
    assert following().steps[A].deadline_in == timedelta(seconds=1.5)


# -- mappings that cannot be resolved -------------------------------------------------------------


def test_a_missing_reference_fails_the_step_before_its_agent_is_called() -> None:
    run = pending(y="${workflow.input.y}")
    cause = "there is nothing behind ${workflow.input.y}"

    decision = machine.decide(run, StartRun())

    assert decision == Decision(
        (RunStarted(), StepFailed(A, 0, cause), RunFailed(f"Step 'a' failed: {cause}")),
        (FinishRun(),),
    )
    failed = machine.replay(run, decision.events)
    assert failed.steps == {A: StepExecution(A, StepStatus.FAILED)}
    assert failed.error == f"Step 'a' failed: {cause}"


def test_a_missing_output_fails_the_next_step_and_keeps_the_completed_one() -> None:
    run = after(running(), CompleteStep(A, 1, {"z": 1}))

    assert run.status is RunStatus.FAILED
    assert run.error == "Step 'b' failed: there is nothing behind ${a.output.x}"
    assert run.steps[A].status is StepStatus.COMPLETED
    assert run.steps[B].status is StepStatus.FAILED


# -- attempts that fail ---------------------------------------------------------------------------


def test_a_transient_failure_backs_off_under_a_new_message_number() -> None:
    decision = machine.decide(running(), failing(Outcome.TRANSIENT))

    assert decision == Decision(
        (AttemptFailed(A, 1, "it broke", SECOND, 2),), (WaitBackoff(A, 1, SECOND),)
    )


def test_an_unknown_outcome_backs_off_under_the_same_message_number() -> None:
    decision = machine.decide(running(), failing(Outcome.UNKNOWN))

    assert decision.events == (AttemptFailed(A, 1, "it broke", SECOND, 1),)


def test_retry_after_and_jitter_reach_the_delay() -> None:
    failure = Failure("busy", Outcome.TRANSIENT, timedelta(seconds=7))
    longer = machine.decide(running(), FailAttempt(A, 1, failure, POLICY, 0.5))
    shorter = machine.decide(
        running(), FailAttempt(A, 1, replace(failure, retry_after=None), POLICY, 0.5)
    )

    assert longer.effects == (WaitBackoff(A, 1, timedelta(seconds=7)),)
    assert shorter.effects == (WaitBackoff(A, 1, SECOND * 0.75),)


def test_a_failed_attempt_forgets_its_task_and_keeps_its_deadline_and_input() -> None:
    step = after(following(), failing(Outcome.TRANSIENT)).steps[A]

    assert step == StepExecution(
        A,
        StepStatus.RUNNING,
        attempt=1,
        message_no=2,
        due_in=SECOND,
        deadline_in=timedelta(seconds=1.5),
        input={"n": 5},
    )


@pytest.mark.parametrize("outcome", [Outcome.TRANSIENT, Outcome.UNKNOWN])
def test_the_last_attempt_ends_the_step(outcome: Outcome) -> None:
    run = after(waiting(), BackoffOver(A, 1))

    decision = machine.decide(run, failing(outcome, attempt=2))

    unknown = outcome is Outcome.UNKNOWN
    assert decision == Decision(
        (StepFailed(A, 2, "it broke", unknown), RunFailed("Step 'a' failed: it broke")),
        (FinishRun(),),
    )


def test_a_final_failure_ends_the_step_at_once() -> None:
    decision = machine.decide(following(), failing(Outcome.FINAL))

    assert decision.events == (
        StepFailed(A, 1, "it broke", cancel_task=False),
        RunFailed("Step 'a' failed: it broke"),
    )


def test_an_unknown_outcome_ends_a_step_that_is_not_to_be_sent_again() -> None:
    decision = machine.decide(running("fail"), failing(Outcome.UNKNOWN))

    assert decision.events[0] == StepFailed(A, 1, "it broke", cancel_task=True)


def test_a_step_that_is_not_to_be_sent_again_is_still_retried_after_a_known_failure() -> None:
    decision = machine.decide(running("fail"), failing(Outcome.TRANSIENT))

    assert decision.effects == (WaitBackoff(A, 1, SECOND),)


def test_the_end_of_a_backoff_starts_the_next_attempt_with_the_same_input() -> None:
    decision = machine.decide(waiting(), BackoffOver(A, 1))

    assert decision == Decision((StepStarted(A, 2, 2, {"n": 5}),), (CallAgent(A, 2, 2),))
    step = machine.replay(waiting(), decision.events).steps[A]
    assert (step.due_in, step.deadline_in) == (None, timedelta(seconds=1.5))


# -- deadlines and reasons of the run's own -------------------------------------------------------


@pytest.mark.parametrize(("run", "at_work"), [(running(), True), (waiting(), False)])
def test_a_deadline_ends_the_step_and_cancels_what_may_be_at_work(run: Run, at_work: bool) -> None:  # noqa: FBT001 - a table
    decision = machine.decide(run, DeadlineReached(A))

    assert decision == Decision(
        (
            StepFailed(A, 1, "timed out after 1500 ms", cancel_task=at_work),
            RunFailed("Step 'a' failed: timed out after 1500 ms"),
        ),
        (FinishRun(),),
    )


def test_a_run_that_cannot_go_on_takes_its_steps_with_it() -> None:
    run = after(running(), CompleteStep(A, 1, {"x": 1}))

    decision = machine.decide(run, FailRun("a corrupt row"))

    assert decision == Decision(
        (StepFailed(B, 1, "a corrupt row", cancel_task=True), RunFailed("a corrupt row")),
        (FinishRun(),),
    )
    assert machine.decide(pending(), FailRun("x")) == Decision((RunFailed("x"),), (FinishRun(),))
    assert machine.decide(waiting(), FailRun("x")).events[0] == StepFailed(A, 1, "x")


def test_a_step_whose_definition_is_gone_can_still_be_failed_with_its_run() -> None:
    lost = StepExecution(StepPath("lost"), StepStatus.RUNNING, 1, 1)
    run = replace(running(), steps={lost.path: lost})

    with pytest.raises(Refused, match=r"^run-0{8}-.*2 has no step 'lost'$"):
        machine.decide(run, RecoverRun())

    assert after(run, FailRun("corrupt")).steps[lost.path].status is StepStatus.FAILED


# -- going on from rows ---------------------------------------------------------------------------


def test_a_takeover_follows_a_known_task() -> None:
    decision = machine.decide(following("fail"), RecoverRun())

    assert decision == Decision((RunTakenOver(),), (FollowTask(A, 1, TASK),))


def test_a_takeover_sends_a_call_of_unknown_outcome_again_as_the_same_attempt() -> None:
    decision = machine.decide(running(), RecoverRun())

    assert decision == Decision((RunTakenOver(),), (CallAgent(A, 1, 1),))


def test_a_takeover_ends_a_step_that_is_not_to_be_sent_again() -> None:
    decision = machine.decide(running("fail"), RecoverRun())

    cause = "the outcome of its call is unknown, and it is not to be sent again"
    assert decision == Decision(
        (
            RunTakenOver(),
            StepFailed(A, 1, cause, cancel_task=True),
            RunFailed(f"Step 'a' failed: {cause}"),
        ),
        (FinishRun(),),
    )


def test_a_takeover_waits_for_what_remains_of_a_backoff() -> None:
    decision = machine.decide(changed(waiting(), A, due_in=SECOND / 4), RecoverRun())

    assert decision == Decision((RunTakenOver(),), (WaitBackoff(A, 1, SECOND / 4),))


@pytest.mark.parametrize("due_in", [ZERO, -SECOND])
def test_a_takeover_starts_an_attempt_that_is_due(due_in: timedelta) -> None:
    decision = machine.decide(changed(waiting(), A, due_in=due_in), RecoverRun())

    assert decision == Decision(
        (RunTakenOver(), StepStarted(A, 2, 2, {"n": 5})), (CallAgent(A, 2, 2),)
    )


@pytest.mark.parametrize("run", [running(), following(), changed(waiting(), A, due_in=ZERO)])
@pytest.mark.parametrize("left", [ZERO, -SECOND])
def test_a_takeover_ends_a_step_whose_deadline_has_passed(run: Run, left: timedelta) -> None:
    decision = machine.decide(changed(run, A, deadline_in=left), RecoverRun())

    assert decision.events[1:] == machine.decide(run, DeadlineReached(A)).events
    assert decision.effects == (FinishRun(),)


def test_a_takeover_goes_on_where_a_drained_owner_stopped() -> None:
    run = running()
    drained = machine.replay(run, machine.decide(run, CompleteStep(A, 1, {"x": 1})).events[:1])
    started = machine.evolve(pending(), RunStarted())
    finished = machine.evolve(
        after(running(), CompleteStep(A, 1, {"x": 1})), StepCompleted(B, 1, 0)
    )

    assert machine.decide(drained, RecoverRun()) == Decision(
        (RunTakenOver(), StepStarted(B, 1, 1, {"x": 1}, TIMEOUT)), (CallAgent(B, 1, 1),)
    )
    assert machine.decide(started, RecoverRun()).effects == (CallAgent(A, 1, 1),)
    assert machine.decide(finished, RecoverRun()).events == (RunTakenOver(), RunCompleted())


def test_to_recover_a_pending_run_is_to_start_it() -> None:
    assert machine.decide(pending(), RecoverRun()) == machine.decide(pending(), StartRun())


def test_with_several_steps_at_work_one_that_is_over_ends_them_all() -> None:
    run = changed(following(), A, deadline_in=SECOND)
    late = StepExecution(B, StepStatus.RUNNING, 2, 3, due_in=ZERO, deadline_in=SECOND)
    run = replace(run, steps={**run.steps, B: late})

    both = machine.decide(run, RecoverRun())
    due = changed(run, A, task=None, due_in=ZERO)
    one = machine.decide(changed(due, B, deadline_in=ZERO), RecoverRun())

    assert both.effects == (FollowTask(A, 1, TASK), CallAgent(B, 3, 3))
    assert both.events == (RunTakenOver(), StepStarted(B, 3, 3, None))
    error = "Step 'b' failed: timed out after 120000 ms"
    assert one.events == (
        RunTakenOver(),
        StepFailed(B, 2, "timed out after 120000 ms"),
        StepFailed(A, 1, error),
        RunFailed(error),
    )


# -- going on after a retry -----------------------------------------------------------------------


def test_a_retry_starts_the_failed_step_under_a_new_message_number_and_deadline() -> None:
    run = after(running(), CompleteStep(A, 1, {"x": 1}), DeadlineReached(B))
    run = changed(put_back(run, B), B, deadline_in=-SECOND)

    decision = machine.decide(run, StartRun())

    assert decision == Decision(
        (RunStarted(), StepStarted(B, 1, 2, {"x": 1}, TIMEOUT)), (CallAgent(B, 1, 2),)
    )
    assert machine.replay(run, decision.events).steps[B].deadline_in == TIMEOUT


def test_a_retry_of_a_run_whose_steps_are_all_completed_completes_it() -> None:
    run = after(running(), CompleteStep(A, 1, {"x": 1}), CompleteStep(B, 1, 0))
    run = replace(run, status=RunStatus.PENDING)

    decision = machine.decide(run, StartRun())

    assert decision == Decision((RunStarted(), RunCompleted()), (FinishRun(),))


def test_a_put_back_step_that_cannot_start_keeps_its_attempt_and_number() -> None:
    run = put_back(after(running(), DeadlineReached(A)), A)
    run = replace(changed(run, A, attempt=3), input={})

    decision = machine.decide(run, StartRun())

    assert decision.events[1] == StepFailed(A, 3, "there is nothing behind ${workflow.input.n}")
    assert machine.replay(run, decision.events).steps[A].message_no == 1


# -- what is stale, repeated, or unknown ----------------------------------------------------------

STEP_COMMANDS: list[Command] = [
    CompleteStep(A, 1, 0),
    RecordTask(A, 1, TASK),
    failing(Outcome.TRANSIENT),
    failing(Outcome.FINAL),
    BackoffOver(A, 1),
    DeadlineReached(A),
]
COMMANDS = [*STEP_COMMANDS, StartRun(), RecoverRun(), FailRun("x")]


@pytest.mark.parametrize("status", [s for s in RunStatus if s.ended])
@pytest.mark.parametrize("command", COMMANDS, ids=repr)
def test_an_ended_run_decides_nothing(status: RunStatus, command: Command) -> None:
    assert machine.decide(replace(running(), status=status), command) is NOTHING


@pytest.mark.parametrize("command", STEP_COMMANDS, ids=repr)
def test_a_pending_run_takes_no_news_of_its_steps(command: Command) -> None:
    stale = replace(running(), status=RunStatus.PENDING)

    assert machine.decide(pending(), command) is NOTHING
    assert machine.decide(stale, command) is NOTHING


@pytest.mark.parametrize("command", STEP_COMMANDS, ids=repr)
@pytest.mark.parametrize("status", [s for s in StepStatus if s is not StepStatus.RUNNING])
def test_a_step_that_is_not_running_takes_no_news(status: StepStatus, command: Command) -> None:
    assert machine.decide(changed(running(), A, status=status), command) is NOTHING


@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize("run", [running(), waiting()])
def test_news_of_another_attempt_are_stale(run: Run, attempt: int) -> None:
    for command in (
        CompleteStep(A, attempt, 0),
        RecordTask(A, attempt, TASK),
        failing(Outcome.FINAL, attempt),
        BackoffOver(A, attempt),
    ):
        assert machine.decide(run, command) is NOTHING


def test_between_two_attempts_the_failed_one_has_no_more_to_say() -> None:
    for command in (CompleteStep(A, 1, 0), RecordTask(A, 1, TASK), failing(Outcome.FINAL)):
        assert machine.decide(waiting(), command) is NOTHING


def test_a_running_run_is_not_started_and_a_call_has_no_backoff_or_second_task() -> None:
    assert machine.decide(running(), StartRun()) is NOTHING
    assert machine.decide(running(), BackoffOver(A, 1)) is NOTHING
    assert machine.decide(following(), RecordTask(A, 1, TaskRef("t2", None))) is NOTHING


@pytest.mark.parametrize("kind", [CompleteStep, RecordTask, BackoffOver, DeadlineReached])
def test_a_step_that_the_definition_does_not_have_is_refused(kind: Any) -> None:
    path = StepPath("nope")
    arguments = {CompleteStep: (path, 1, 0), RecordTask: (path, 1, TASK), BackoffOver: (path, 1)}

    with pytest.raises(Refused, match="has no step 'nope'"):
        machine.decide(running(), kind(*arguments.get(kind, (path,))))


def test_only_a_step_that_has_started_has_a_history() -> None:
    with pytest.raises(ValueError, match="step 'b' has not started"):
        machine.evolve(running(), StepCompleted(B, 1, 0))


def test_evolving_leaves_the_run_that_it_began_with() -> None:
    run = running()

    ended = after(run, CompleteStep(A, 1, {"x": 1}), CompleteStep(B, 1, 0))

    assert ended.seq == 7
    assert run == running()
