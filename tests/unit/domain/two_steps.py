"""A run of two steps, and what may have become of it, for the tests of the state machine."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from orchestrator.domain import machine, workflow
from orchestrator.domain.agent import Asked, Failure, Outcome, TaskRef, WaitingFor
from orchestrator.domain.messages import (
    BackoffOver,
    Command,
    FailAttempt,
    ParkStep,
    RecordTask,
    StartRun,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepPath, StepStatus
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
    fresh = {"attempt": 0, "task": None, "due_in": None, "deadline_in": None, "answer": None}
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


def asked(
    waiting_for: WaitingFor = WaitingFor.INPUT, question: str = "q1", task_id: str = "t1"
) -> Asked:
    return Asked(TaskRef(task_id, "c1", question), waiting_for, {"text": question})


def parked(waiting_for: WaitingFor = WaitingFor.INPUT, on_unknown: str = "resend") -> Run:
    return after(following(on_unknown), ParkStep(A, 1, asked(waiting_for)))


def answered(run: Run, path: StepPath = A, answer: Any = "blue") -> Run:
    """Do what an answer does in the database."""
    fresh = {"waiting_for": None, "waited": None, "due_in": ZERO, "attempt": 0, "answer": answer}
    return changed(run, path, message_no=run.steps[path].message_no + 1, **fresh)


def answering(on_unknown: str = "resend") -> Run:
    return after(answered(parked(on_unknown=on_unknown)), BackoffOver(A, 0))
