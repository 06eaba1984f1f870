"""Workflow definitions: a versioned graph of steps, read from its data, and the rules it obeys.

Today a graph is one chain from `start_step` along `next_step`. Nothing here recurses, so that a
chain may be as long as it likes.
"""

import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from types import UnionType
from typing import Any, NewType
from uuid import UUID

from orchestrator.domain import mapping
from orchestrator.domain.agent import ContextScope, InputAs
from orchestrator.domain.errors import Refused
from orchestrator.domain.mapping import Template
from orchestrator.domain.record import record
from orchestrator.domain.reference import MalformedReference

WorkflowId = NewType("WorkflowId", UUID)

_NAMED = 10  # steps that a message names before it says how many more there are


class WorkflowStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


class OnUnknownOutcome(StrEnum):
    """What to do when nobody knows whether an agent did the work and no task is to be found."""

    RESEND = "resend"
    FAIL = "fail"


@record
class StepDefinition:
    """One step of a graph; `timeout` bounds the whole step, over all its attempts.

    `position` counts from 0 along the path from the start step; steps that it does not reach
    come last. `template` is the step's `input_mapping`, compiled; `prompt`, if any, the text that
    goes along with it.
    """

    id: str
    agent_name: str
    next_step: str | None
    template: Template
    timeout: timedelta
    on_unknown_outcome: OnUnknownOutcome
    position: int
    input_as: InputAs = InputAs.AUTO
    prompt: Template | None = None
    skill: str | None = None
    context: ContextScope = ContextScope.RUN


@record
class WorkflowDefinition:
    """One version of a workflow: what a run is pinned to."""

    workflow_id: WorkflowId
    version: int
    key: str  # the human key, wf-<slug>-001
    name: str
    start_step: str
    steps: Mapping[str, StepDefinition]  # as the data has them, `key` by `id` once validated


def parse(
    workflow_id: WorkflowId,
    version: int,
    key: str,
    name: str,
    data: Mapping[str, Any],
    default_timeout: timedelta,
) -> WorkflowDefinition:
    """Read workflow data: `start_step`, and `steps` by id.

    Raises `Refused`, naming the step, for a malformed `${…}` and for data that has not the
    documented form at all. The graph itself is not looked at: that is `validate`.
    """
    start = _field(data, "start_step", str, "Workflow")
    steps = _field(data, "steps", dict, "Workflow")
    for step_id, step in steps.items():
        if not isinstance(step, dict):
            raise Refused(f"Step '{step_id}' is not an object")
    positions = _positions(start, steps)
    return WorkflowDefinition(
        workflow_id,
        version,
        key,
        name,
        start,
        {
            step_id: _parse_step(step_id, step, steps, positions[step_id], default_timeout)
            for step_id, step in steps.items()
        },
    )


def validate(definition: WorkflowDefinition) -> None:
    """Raise `Refused`, naming the step, unless the graph is sound.

    Sound is: it has steps, each under its own id; `start_step` and every `next_step` exist; there
    is no cycle; every step is reached from the start; references go to the workflow's input and
    to steps that have run before.
    """
    steps = definition.steps
    if not steps:
        raise Refused("Workflow has no steps")
    for step_id, step in steps.items():
        if step.id != step_id:
            raise Refused(f"Step '{step_id}' has another id: '{step.id}'")
    if definition.start_step not in steps:
        raise Refused(f"Start step '{definition.start_step}' not found in steps")
    for step_id, step in steps.items():
        if step.next_step is not None and step.next_step not in steps:
            raise Refused(f"Step '{step_id}': next step '{step.next_step}' not found in steps")
    if cycle := _cycle(steps):
        raise Refused(f"Circular reference at step '{cycle[0]}': {_listed(cycle, ' -> ')}")
    reached = set(_path(definition.start_step, steps))
    if lost := [step_id for step_id in steps if step_id not in reached]:
        named = _listed([f"'{step_id}'" for step_id in lost], ", ")
        subject = f"Step {named} is" if len(lost) == 1 else f"Steps {named} are"
        raise Refused(f"{subject} not reachable from start step '{definition.start_step}'")
    for step in steps.values():
        _validate_references(step, steps)


def order(definition: WorkflowDefinition) -> tuple[str, ...]:
    """Return the step ids along the path from the start step."""
    return tuple(sorted(definition.steps, key=lambda step: definition.steps[step].position))


def agent_names(definition: WorkflowDefinition) -> dict[str, str]:
    """Return the agents that the workflow needs, each with the first step that needs it."""
    names: dict[str, str] = {}
    for step_id in order(definition):
        names.setdefault(definition.steps[step_id].agent_name, step_id)
    return names


def agent_missing(agent_name: str, step_id: str | None = None) -> str:
    """Say that a step's agent cannot be used, in the words of the guide."""
    sentence = f"Agent '{agent_name}' not found or inactive"
    return sentence if step_id is None else f"{sentence} (step '{step_id}')"


def slug(name: str) -> str:
    """Return a name in lowercase ASCII letters, digits and hyphens; never empty.

    Accents are dropped (`Größe à la carte` is `grosse-a-la-carte`); a name with nothing left is
    `workflow`.
    """
    letters = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(each for each in letters if not unicodedata.combining(each))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:255].rstrip("-") or "workflow"


def key_for(slugged: str, number: int) -> str:
    """Return a workflow's human key; the number, from 1, rises when the slug is taken."""
    return f"wf-{slugged}-{number:03d}"


def _parse_step(
    step_id: str,
    data: Mapping[str, Any],
    steps: Mapping[str, Any],
    position: int,
    default_timeout: timedelta,
) -> StepDefinition:
    label = f"Step '{step_id}'"
    timeout_ms = _field(data, "timeout_ms", int | float, label, None)
    unknown = _field(data, "on_unknown_outcome", str, label, OnUnknownOutcome.RESEND.value)
    prompt = _field(data, "prompt", str, label, None)
    try:
        return StepDefinition(
            id=_field(data, "id", str, label),
            agent_name=_field(data, "agent_name", str, label),
            next_step=_field(data, "next_step", str, label, None),
            template=mapping.compile(_field(data, "input_mapping", dict, label), steps),
            timeout=default_timeout if timeout_ms is None else timedelta(milliseconds=timeout_ms),
            on_unknown_outcome=OnUnknownOutcome(unknown),
            position=position,
            input_as=InputAs(_field(data, "input_as", str, label, InputAs.AUTO.value)),
            prompt=None if prompt is None else mapping.compile(prompt, steps),
            skill=_field(data, "skill", str, label, None),
            context=ContextScope(_field(data, "context", str, label, ContextScope.RUN.value)),
        )
    except MalformedReference as wrong:
        raise Refused(f"{label}: {wrong.message}") from None
    except (ValueError, OverflowError) as wrong:
        raise Refused(f"{label}: {wrong}") from None


_REQUIRED = object()


def _field(
    data: Mapping[str, Any], name: str, kind: type | UnionType, label: str, default: Any = _REQUIRED
) -> Any:
    """Return a field of the given kind; null and absent are the default, where there is one."""
    value = data.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Refused(f"{label}: {name} is missing or of the wrong type")
    return value


def _positions(start: str, steps: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Give the steps their places along the path from `start`, then those not reached."""
    positions: dict[str, int] = {}
    step_id: Any = start
    while isinstance(step_id, str) and step_id in steps and step_id not in positions:
        positions[step_id] = len(positions)
        step_id = steps[step_id].get("next_step")
    for each in steps:
        positions.setdefault(each, len(positions))
    return positions


def _path(start: str, steps: Mapping[str, StepDefinition]) -> list[str]:
    """Follow `next_step` from a step to the end, or to the first step that was met before."""
    path: dict[str, None] = {}
    step_id: str | None = start
    while step_id is not None and step_id not in path:
        path[step_id] = None
        step_id = steps[step_id].next_step
    return list(path)


def _cycle(steps: Mapping[str, StepDefinition]) -> list[str]:
    """Return a cycle, its first step repeated at its end; empty if there is none."""
    cleared: set[str] = set()
    for start in steps:
        trail: dict[str, None] = {}
        step_id: str | None = start
        while step_id is not None and step_id not in cleared and step_id not in trail:
            trail[step_id] = None
            step_id = steps[step_id].next_step
        if step_id is not None and step_id in trail:
            walked = list(trail)
            return [*walked[walked.index(step_id) :], step_id]
        cleared.update(trail)
    return []


def _validate_references(step: StepDefinition, steps: Mapping[str, StepDefinition]) -> None:
    prompted = () if step.prompt is None else step.prompt.references
    for ref in (*step.template.references, *prompted):
        if ref.step is None:
            continue
        source = steps.get(ref.step)
        said = f"Step '{step.id}': {ref.text} refers to step '{ref.step}', which"
        if source is None:
            raise Refused(f"{said} does not exist")
        if source.position >= step.position:
            raise Refused(f"{said} cannot have run before it")


def _listed(names: list[str], separator: str) -> str:
    """List names in a message, and of many only the first ones."""
    more = [f"… ({len(names)} in all)"] if len(names) > _NAMED else []
    return separator.join(names[:_NAMED] + more)
