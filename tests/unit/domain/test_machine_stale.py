"""The run state machine: what is stale, repeated or unknown decides nothing."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain import machine
from orchestrator.domain.agent import Outcome, TaskRef
from orchestrator.domain.errors import Refused
from orchestrator.domain.messages import (
    NOTHING,
    BackoffOver,
    Command,
    CompleteStep,
    DeadlineReached,
    FailRun,
    RecordTask,
    RecoverRun,
    StartRun,
    StepCompleted,
)
from orchestrator.domain.run import Run, RunStatus, StepPath, StepStatus
from tests.unit.domain.two_steps import (
    TASK,
    A,
    B,
    after,
    changed,
    failing,
    following,
    pending,
    running,
    waiting,
)

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
