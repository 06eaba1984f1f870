"""The state machine, transition by transition: a step whose agent asks somebody something."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain import machine
from orchestrator.domain.agent import Failure, Outcome, TaskRef, WaitingFor
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
    FindTask,
    FollowTask,
    LookAtTask,
    LookDue,
    Park,
    ParkStep,
    RecordTask,
    RecoverRun,
    RunFailed,
    RunTakenOver,
    SendAnswer,
    StepCompleted,
    StepFailed,
    StepParked,
    StepStarted,
    StillWaiting,
    TaskRecorded,
    WaitBackoff,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepStatus
from tests.unit.domain.two_steps import (
    SECOND,
    TIMEOUT,
    ZERO,
    A,
    B,
    after,
    answered,
    answering,
    asked,
    changed,
    failing,
    following,
    parked,
    put_back,
    running,
)

MINUTE = timedelta(minutes=1)
ASKED = TaskRef("t1", "c1", "q1")
INPUT, AUTH = WaitingFor.INPUT, WaitingFor.AUTH

# -- asking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [running(), following()])
def test_a_question_parks_the_step_with_its_task_and_nothing_is_in_flight(run: Run) -> None:
    decision = machine.decide(run, ParkStep(A, 1, asked()))

    event = StepParked(A, 1, ASKED, INPUT, {"text": "q1"}, None)
    assert decision == Decision((event,), (Park(A, None),))
    after_it = machine.replay(run, decision.events)
    assert after_it.status is RunStatus.RUNNING
    step = after_it.steps[A]
    assert step == StepExecution(
        A,
        StepStatus.RUNNING,
        1,
        1,
        ASKED,
        deadline_in=timedelta(seconds=1.5),
        input={"n": 5},
        waiting_for=INPUT,
        waited=ZERO,
    )
    assert (step.in_call, step.at_work) == (False, True)


def test_a_question_for_a_login_is_looked_at_later() -> None:
    decision = machine.decide(following(), ParkStep(A, 1, asked(AUTH)))

    assert decision.effects == (Park(A, 5 * SECOND),)
    assert parked(AUTH).steps[A].due_in == 5 * SECOND


def test_the_same_question_again_is_nothing_new_and_another_one_is() -> None:
    other = machine.decide(parked(), ParkStep(A, 1, asked(question="q2")))

    assert machine.decide(parked(), ParkStep(A, 1, asked())) is NOTHING
    assert [type(event) for event in other.events] == [StepParked]
    assert machine.decide(parked(), ParkStep(A, 2, asked(question="q2"))) is NOTHING


def test_a_parked_step_is_neither_started_again_nor_looked_at_before_its_time() -> None:
    for command in (BackoffOver(A, 1), LookDue(A), RecoverRun()):
        for run in (parked(), parked(AUTH)):
            decision = machine.decide(run, command)
            assert all(isinstance(effect, Park) for effect in decision.effects)
            assert decision.events in ((), (RunTakenOver(),))


@pytest.mark.parametrize(
    ("waited", "pause"),
    [(ZERO, 5), (5 * SECOND, 5), (MINUTE, 30), (timedelta(hours=9), 300), (None, 5)],
)
def test_a_login_is_looked_for_more_and_more_rarely(waited: timedelta | None, pause: int) -> None:
    run = changed(parked(AUTH), A, due_in=ZERO, waited=waited)

    decision = machine.decide(run, LookDue(A))

    look_in = pause * SECOND
    assert decision == Decision((StillWaiting(A, 1, look_in),), (LookAtTask(A, 1, ASKED),))
    after_it = machine.replay(run, decision.events)
    assert after_it.steps[A].due_in == look_in
    assert after_it.steps[A].waiting_for is AUTH
    assert machine.decide(after_it, LookDue(A)) is NOTHING


@pytest.mark.parametrize("run", [running(), following(), changed(answering(), A, due_in=ZERO)])
def test_only_a_step_that_waits_for_a_login_is_looked_at(run: Run) -> None:
    assert machine.decide(run, LookDue(A)) is NOTHING


# -- a task that goes on by itself ----------------------------------------------------------------


def test_a_task_that_went_on_by_itself_is_followed_again() -> None:
    decision = machine.decide(parked(AUTH), RecordTask(A, 1, ASKED))

    assert decision == Decision((TaskRecorded(A, 1, ASKED),), (FollowTask(A, 1, ASKED),))
    step = machine.replay(parked(AUTH), decision.events).steps[A]
    assert (step.waiting_for, step.due_in, step.in_call) == (None, None, True)


def test_a_task_that_ended_by_itself_ends_the_wait() -> None:
    done = machine.decide(parked(AUTH), CompleteStep(A, 1, {"x": 1}))
    failed = machine.decide(parked(AUTH), failing(Outcome.FINAL))
    lost = machine.decide(parked(AUTH), failing(Outcome.TRANSIENT))

    assert done.events[0] == StepCompleted(A, 1, {"x": 1})
    assert failed.events[0] == StepFailed(A, 1, "it broke")
    assert lost.events == (AttemptFailed(A, 1, "it broke", SECOND, 2),)
    waits = machine.replay(parked(AUTH), lost.events).steps[A]
    assert (waits.waiting_for, waits.task) == (None, None)
    completed = machine.replay(parked(AUTH), done.events).steps[A]
    assert (completed.waiting_for, completed.due_in) == (None, None)


# -- answering ------------------------------------------------------------------------------------


def test_an_answer_is_sent_to_the_task_that_asked_under_a_number_of_its_own() -> None:
    run = answered(parked())

    decision = machine.decide(run, BackoffOver(A, 0))

    started = StepStarted(A, 1, 2, {"n": 5})
    assert decision == Decision((started,), (SendAnswer(A, 1, 2, ASKED),))
    step = machine.replay(run, decision.events).steps[A]
    assert (step.answer, step.task, step.in_call) == ("blue", ASKED, True)
    assert step.deadline_in == timedelta(seconds=1.5)


def test_an_answer_that_its_agent_has_is_done_with() -> None:
    task = machine.decide(answering(), RecordTask(A, 1, ASKED))
    output = machine.decide(answering(), CompleteStep(A, 1, {"x": 1}))
    question = machine.decide(answering(), ParkStep(A, 1, asked(question="q2")))

    assert task.effects == (FollowTask(A, 1, ASKED),)
    assert isinstance(output.effects[0], CallAgent)
    assert question.effects == (Park(A, None),)
    for decision in (task, output, question):
        assert machine.replay(answering(), decision.events).steps[A].answer is None
    followed = machine.replay(answering(), task.events)
    assert machine.decide(followed, RecordTask(A, 1, ASKED)) is NOTHING
    assert machine.decide(followed, RecoverRun()).effects == (FollowTask(A, 1, ASKED),)


def test_an_answer_of_unknown_outcome_is_sent_again_under_the_same_number() -> None:
    waits = after(answering(), failing(Outcome.UNKNOWN))

    again = machine.decide(waits, BackoffOver(A, 1))

    assert (waits.steps[A].answer, waits.steps[A].task) == ("blue", ASKED)
    assert again.effects == (SendAnswer(A, 2, 2, ASKED),)
    assert machine.decide(answering(), RecoverRun()).effects == (SendAnswer(A, 1, 2, ASKED),)


def test_an_answer_that_did_not_arrive_is_sent_again_under_the_next_number() -> None:
    waits = after(answering(), failing(Outcome.TRANSIENT))

    again = machine.decide(waits, BackoffOver(A, 1))

    assert waits.steps[A].due_in == SECOND
    assert again.effects == (SendAnswer(A, 2, 3, ASKED),)


def test_an_answer_that_is_not_to_be_sent_again_ends_the_step() -> None:
    unknown = machine.decide(answering("fail"), failing(Outcome.UNKNOWN))
    taken_over = machine.decide(answering("fail"), RecoverRun())
    known = machine.decide(answering("fail"), failing(Outcome.TRANSIENT))

    assert unknown.events[0] == StepFailed(A, 1, "it broke", cancel_task=True)
    assert taken_over == Decision((RunTakenOver(),), (FindTask(A, 1, 2, ASKED),))
    assert isinstance(known.effects[0], WaitBackoff)


@pytest.mark.parametrize("outcome", Outcome)
def test_an_answer_that_cannot_be_delivered_leaves_a_task_to_be_cancelled(
    outcome: Outcome,
) -> None:
    never = FailAttempt(A, 1, Failure("it broke", outcome), RetryPolicy(0), 0.0)

    decision = machine.decide(answering(), never)

    assert decision.events[0] == StepFailed(A, 1, "it broke", cancel_task=True)


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [DeadlineReached(A), FailRun("x")])
@pytest.mark.parametrize("run", [parked(), parked(AUTH), answered(parked()), answering()])
def test_the_end_of_a_step_that_waits_has_its_task_cancelled(run: Run, end: Command) -> None:
    failed, over = machine.decide(run, end).events

    assert isinstance(failed, StepFailed)
    assert failed.cancel_task
    assert isinstance(over, RunFailed)
    step = after(run, end).steps[A]
    assert (step.waiting_for, step.answer, step.task) == (None, None, ASKED)


def test_a_takeover_ends_a_step_that_waited_too_long() -> None:
    for run in (parked(), parked(AUTH), answered(parked())):
        decision = machine.decide(changed(run, A, deadline_in=ZERO), RecoverRun())

        assert isinstance(decision.events[1], StepFailed)
        assert decision.events[1].cause == "timed out after 1500 ms"


def test_a_retry_begins_anew_without_the_old_task_and_answer() -> None:
    run = put_back(after(answering(), failing(Outcome.FINAL)), A)

    decision = machine.decide(run, RecoverRun())

    assert decision.effects == (CallAgent(A, 1, 3),)
    step = machine.replay(run, decision.events).steps[A]
    assert (step.task, step.answer) == (None, None)


def test_a_parked_step_beside_one_at_work_is_taken_up_with_it() -> None:
    other = StepExecution(B, StepStatus.RUNNING, 1, 1, deadline_in=TIMEOUT)
    run = replace(parked(AUTH), steps={**parked(AUTH).steps, B: other})

    decision = machine.decide(run, RecoverRun())

    assert decision.effects == (Park(A, 5 * SECOND), CallAgent(B, 1, 1))
