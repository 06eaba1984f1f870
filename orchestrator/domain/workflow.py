"""Workflow definitions: a versioned graph of steps, and the rules a graph must obey."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, NewType
from uuid import UUID

WorkflowId = NewType("WorkflowId", UUID)


class WorkflowStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


class OnUnknownOutcome(StrEnum):
    """What to do when nobody knows whether an agent did the work and no task is to be found."""

    RESEND = "resend"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step of a graph; `timeout` bounds the whole step, over all its attempts."""

    id: str
    agent_name: str
    next_step: str | None
    input_mapping: Mapping[str, Any]
    timeout: timedelta = timedelta(hours=1)
    on_unknown_outcome: OnUnknownOutcome = OnUnknownOutcome.RESEND


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """One version of a workflow: what a run is pinned to."""

    workflow_id: WorkflowId
    version: int
    key: str  # the human key, wf-<slug>-001
    name: str
    start_step: str
    steps: Mapping[str, StepDefinition]
