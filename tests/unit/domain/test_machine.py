"""The run state machine, transition by transition: how a run goes on, fails and ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain import machine
from orchestrator.domain.agent import Failure, Outcome
from orchestrator.domain.errors import Refused
from orchestrator.domain.messages import (
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
    StartRun,
    StepCompleted,
    StepFailed,
    StepStarted,
    TaskRecorded,
    WaitBackoff,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepPath, StepStatus
from tests.unit.domain.two_steps import (
    POLICY,
    SECOND,
    TASK,
    TIMEOUT,
    A,
    B,
    after,
    failing,
    following,
    pending,
    running,
    waiting,
)

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


@pytest.mark.parametrize("on_unknown", ["resend", "fail"])
def test_a_task_that_gave_no_news_is_followed_again_and_not_sent(on_unknown: str) -> None:
    waits = after(following(on_unknown), failing(Outcome.UNKNOWN))
    decision = machine.decide(waits, BackoffOver(A, 1))

    assert waits.steps[A].task == TASK
    assert decision == Decision((StepStarted(A, 2, 1, {"n": 5}),), (FollowTask(A, 2, TASK),))
    again = machine.replay(waits, decision.events)
    assert again.steps[A].task == TASK
    assert machine.decide(again, RecoverRun()).effects == (FollowTask(A, 2, TASK),)


@pytest.mark.parametrize("end", [DeadlineReached(A), FailRun("x")])
def test_a_task_that_gave_no_news_is_cancelled_with_its_step(end: Command) -> None:
    waits = after(following(), failing(Outcome.UNKNOWN))

    (failed, _) = machine.decide(waits, end).events

    assert isinstance(failed, StepFailed)
    assert failed.cancel_task
    assert after(waits, end).steps[A].task == TASK


def test_a_task_that_its_agent_forgot_is_sent_anew() -> None:
    again = after(following(), failing(Outcome.UNKNOWN), BackoffOver(A, 1))
    policy = RetryPolicy(2)
    forgot = Failure("no longer knows the task", Outcome.TRANSIENT)

    waits = after(again, FailAttempt(A, 2, forgot, policy, 0.0))

    assert (waits.steps[A].task, waits.steps[A].message_no) == (None, 2)
    assert machine.decide(waits, BackoffOver(A, 2)).effects == (CallAgent(A, 3, 2),)


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
