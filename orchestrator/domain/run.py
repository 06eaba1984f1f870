"""A run and its step executions as values; the state machine that changes them is `machine`."""

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID, uuid5

from orchestrator.domain import mapping
from orchestrator.domain.agent import TaskRef, WaitingFor
from orchestrator.domain.mapping import Template
from orchestrator.domain.record import record
from orchestrator.domain.term import Partition
from orchestrator.domain.workflow import StepDefinition, WorkflowDefinition

RunId = NewType("RunId", UUID)
StepPath = NewType("StepPath", str)  # a step execution's key within its run; today the step's id

_STEP_NAMESPACE = UUID("8d0f6c1e-4a5b-5d6e-9f70-3b1c2a4d5e6f")


class RunStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        return self is not RunStatus.PENDING and self is not RunStatus.RUNNING


class StepStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


@record
class StepExecution:
    """One step within one run, once it has started (or was put back to PENDING by a retry).

    `attempt` counts from 1 since the last retry or answer. `message_no` is the n of the messageId
    `<run>.<step>.<n>`: raised by a definite failure, a retry and an answer only. `due_in` is the
    rest of a backoff (None: not backing off), `deadline_in` what remains of the step's timeout;
    both as of the moment the value was loaded or the event happened, since nobody here has a clock.

    A step that waits for somebody (`waiting_for`, `waited`: for how long by now) has no call out;
    `due_in` is then the rest until its task is looked at, if it ever is. `answer` is what somebody
    gave, as JSON, as long as its agent may not have it; the answer has a message number of its own.
    """

    path: StepPath
    status: StepStatus
    attempt: int = 0
    message_no: int = 0
    task: TaskRef | None = None
    due_in: timedelta | None = None
    deadline_in: timedelta | None = None
    input: Any = None
    output: Any = None
    waiting_for: WaitingFor | None = None
    waited: timedelta | None = None
    answer: Any = None

    @property
    def in_call(self) -> bool:
        """Whether it is in an attempt: not between two, and not waiting for somebody."""
        return (
            self.status is StepStatus.RUNNING and self.due_in is None and self.waiting_for is None
        )

    @property
    def at_work(self) -> bool:
        """Whether its agent has something open: outside an attempt, only a task that is known."""
        return self.in_call or (self.status is StepStatus.RUNNING and self.task is not None)

    def task_under(self, message_no: int) -> TaskRef | None:
        """Return the task as long as the message has the same number: another asks for another.

        An answer goes to the same task, under whatever number.
        """
        return self.task if self.answer is not None or self.message_no == message_no else None


@record
class Run:
    """One execution of a workflow definition, as its rows say; `seq` is its last event's number."""

    id: RunId
    partition: Partition
    definition: WorkflowDefinition
    input: Any
    status: RunStatus
    seq: int
    steps: Mapping[StepPath, StepExecution] = field(default_factory=dict)
    error: str | None = None


def external_id(run_id: UUID) -> str:
    """Return a run's id as users see it."""
    return f"run-{run_id}"


def parse_external_id(text: str) -> RunId | None:
    """Read an id written by `external_id`; None for any other text."""
    if not text.startswith("run-"):
        return None
    try:
        run_id = UUID(text[4:])
    except ValueError:
        return None
    return RunId(run_id) if external_id(run_id) == text else None


def step_execution_id(run_id: UUID, path: str) -> str:
    """Return a step execution's public id; it is known before the step has a row."""
    return f"step-exec-{uuid5(_STEP_NAMESPACE, f'{run_id}/{path}')}"


def message_id(run_id: UUID, path: str, message_no: int) -> str:
    """Return the A2A messageId: the same for calls whose outcome is unknown, else a new one."""
    return f"{external_id(run_id)}.{path}.{message_no}"


def definition_of(run: Run, path: StepPath) -> StepDefinition:
    """Return the definition that a step execution is an execution of."""
    return run.definition.steps[path]


def completed(run: Run, step_id: str) -> StepExecution | None:
    """Return a step's execution if it is COMPLETED."""
    step = run.steps.get(StepPath(step_id))
    return step if step is not None and step.status is StepStatus.COMPLETED else None


def step_input(run: Run, path: StepPath, fresh: Mapping[str, Any]) -> Any:
    """Resolve a step's mapping; `fresh` are outputs, by step, that the run does not have yet.

    Raises `MissingReference`.
    """
    return _resolved(run, definition_of(run, path).template, fresh)


def step_prompt(run: Run, path: StepPath) -> str | None:
    """Resolve the text that goes along with a step's input; None if there is none.

    The same for every attempt, since what it refers to does not change. Raises `MissingReference`.
    """
    template = definition_of(run, path).prompt
    if template is None:
        return None
    return mapping.as_text(_resolved(run, template, {}))


def _resolved(run: Run, template: Template, fresh: Mapping[str, Any]) -> Any:
    outputs = dict(fresh)
    for reference in template.references:
        if reference.step is None or reference.step in outputs:
            continue
        if (step := completed(run, reference.step)) is not None:
            outputs[reference.step] = step.output
    return mapping.resolve(template, run.input, outputs)
