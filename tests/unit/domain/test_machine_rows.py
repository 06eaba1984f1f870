"""The state machine, transition by transition: going on from rows after a takeover or retry."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain import machine
from orchestrator.domain.messages import (
    CallAgent,
    CompleteStep,
    DeadlineReached,
    Decision,
    FindTask,
    FinishRun,
    FollowTask,
    RecoverRun,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunTakenOver,
    StartRun,
    StepCompleted,
    StepFailed,
    StepStarted,
    WaitBackoff,
)
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepStatus
from tests.unit.domain.two_steps import (
    SECOND,
    TASK,
    TIMEOUT,
    ZERO,
    A,
    B,
    after,
    changed,
    following,
    pending,
    put_back,
    running,
    waiting,
)

# -- going on from rows ---------------------------------------------------------------------------


def test_a_takeover_follows_a_known_task() -> None:
    decision = machine.decide(following("fail"), RecoverRun())

    assert decision == Decision((RunTakenOver(),), (FollowTask(A, 1, TASK),))


def test_a_takeover_sends_a_call_of_unknown_outcome_again_as_the_same_attempt() -> None:
    decision = machine.decide(running(), RecoverRun())

    assert decision == Decision((RunTakenOver(),), (CallAgent(A, 1, 1),))


def test_a_takeover_asks_for_the_task_of_a_message_that_is_not_to_be_sent_again() -> None:
    decision = machine.decide(running("fail"), RecoverRun())

    assert decision == Decision((RunTakenOver(),), (FindTask(A, 1, 1, None),))


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
