"""What clients send: request bodies and query parameters, with every bound and default.

The same models validate the requests and make the OpenAPI document.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.fields import (
    MAX_INT4,
    IsoDate,
    ListedStatus,
    Name,
    QueryText,
    QuestionId,
    RunStatus,
    SortOrder,
    Status,
    StepTimeoutMs,
)

_MAX_WARNINGS = 20
_COMMENT = re.compile(r"_|\$|//|#|x-")  # how people write a comment into JSON


class Body(BaseModel):
    """A request body: exact types; unknown fields are ignored, and named in `warnings`."""

    model_config = ConfigDict(strict=True, frozen=True)

    inner: ClassVar[Mapping[str, type["Body"]]] = {}  # fields that are objects
    inner_values: ClassVar[Mapping[str, type["Body"]]] = {}  # fields whose values are objects
    # What an answer holds and a client that sends it back means nothing by.
    echoed: ClassVar[frozenset[str]] = frozenset({"id", "created_at", "updated_at", "warnings"})


class Step(Body):
    """One step of a workflow."""

    id: Name = Field(description="The step's id: the key it stands under.", examples=["extract"])
    agent_name: Name = Field(description="Name of the agent that executes the step.")
    next_step: str | None = Field(None, description="Id of the next step; null: this is the last.")
    input_mapping: dict[str, Any] = Field(
        description="The step's input: static values, `${workflow.input.field}`,"
        " `${step_id.output.field}`, `${workflow.input.field:-default}`."
    )
    timeout_ms: StepTimeoutMs | None = Field(
        None, description="Bound of the whole step over all attempts; unset: the setting, one hour."
    )
    on_unknown_outcome: Literal["resend", "fail"] | None = Field(
        None,
        description="What to do when a request was sent and nobody knows whether the agent did the"
        " work: send it again (default) or fail the step.",
    )
    input_as: Literal["auto", "data", "text", "both"] | None = Field(
        None,
        description="How the input goes to the agent: as data, as its JSON in a text, or as both."
        " auto (default): as the input modes of the agent's card, or of the skill, say.",
    )
    prompt: str | None = Field(
        None,
        description="Text that goes along with the input, for agents that read language; may hold"
        " the same `${…}` as input_mapping.",
    )
    skill: QueryText | None = Field(
        None,
        min_length=1,
        max_length=255,
        description="Id of the agent's skill that is meant: its input modes count, and it stands"
        " in the message's metadata as skillId.",
    )
    context: Literal["run", "step", "none"] | None = Field(
        None,
        description="Which calls share the agent's conversation (A2A contextId): all of the run"
        " (default), those of this step, or what the agent makes of it.",
    )

    echoed = frozenset()


Steps = Annotated[dict[str, Step], Field(description="Step definitions by step id.")]


class WorkflowCreate(Body):
    """A new workflow."""

    name: Name = Field(description="Unique workflow name.", examples=["data-processing-pipeline"])
    description: str | None = Field(None, description="Human-readable description.")
    start_step: str = Field(description="Id of the first step.", examples=["extract"])
    steps: Steps

    inner_values = {"steps": Step}


class WorkflowUpdate(Body):
    """Changes of a workflow: what is absent (or null, where null means nothing) stays."""

    name: Name | None = Field(None, description="New name, unique.")
    description: str | None = Field(None, description="Human-readable description; null clears it.")
    start_step: str | None = Field(None, description="Id of the first step.")
    steps: Steps | None = None
    status: Status | None = Field(None, description="`deleted` is DELETE's.")

    inner_values = {"steps": Step}
    echoed = Body.echoed | {"version"}


class ExecuteRequest(Body):
    """The input of a run."""

    input_data: dict[str, Any] = Field(
        description="Input data of the workflow: what `${workflow.input.…}` refers to.",
        examples=[{"data_source": "https://api.example.com/data", "format": "json"}],
    )

    echoed = frozenset()


class RetryRequest(Body):
    """Nothing can be chosen yet."""

    echoed = frozenset()


class CancelRequest(Body):
    """Why a run is cancelled."""

    reason: str | None = Field(
        None,
        max_length=10_000,
        description="Stands in the run's error_message.",
        examples=["Incorrect input data provided"],
    )

    echoed = frozenset()


class InputRequest(Body):
    """An answer to an agent's question: data, text or both."""

    input_data: dict[str, Any] | None = Field(
        None, description="Goes to the agent as a data part.", examples=[{"colour": "blue"}]
    )
    text: str | None = Field(
        None,
        min_length=1,
        description="Goes to the agent as a text part.",
        examples=["Blue, please"],
    )
    question_id: QuestionId | None = Field(
        None,
        description="The question that is meant: another one that is open by now is not answered.",
    )

    echoed = frozenset()


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(frozen=True)

    page: int = Field(1, ge=1, le=MAX_INT4, description="Page number, from 1.")
    page_size: int = Field(20, ge=1, le=100, description="Items per page.")


class AgentsQuery(PageQuery):
    status: ListedStatus | None = Field(
        None, description="Only agents of this status; unset: all that are not deleted."
    )
    name: QueryText | None = Field(None, description="Only the agent of exactly this name.")


class WorkflowsQuery(PageQuery):
    status: ListedStatus | None = Field(
        None, description="Only workflows of this status; unset: all that are not deleted."
    )
    name: QueryText | None = Field(None, description="Only workflows of exactly this name.")
    sort_by: Literal["name", "created_at", "updated_at", "version"] = Field(
        "created_at", description="Sort field; ties go by id."
    )
    sort_order: SortOrder = Field("desc", description="Sort order.")


class RunsQuery(PageQuery):
    status: RunStatus | None = Field(None, description="Only runs of this status.")
    workflow_id: QueryText | None = Field(
        None, description="Only runs of this workflow_id.", examples=["wf-data-pipeline-001"]
    )
    workflow_definition_id: UUID | None = Field(
        None, description="Only runs of this workflow_definition_id."
    )
    created_after: IsoDate | None = Field(
        None, description="Only runs created after this time (ISO 8601; exclusive)."
    )
    created_before: IsoDate | None = Field(
        None, description="Only runs created before this time (ISO 8601; exclusive)."
    )
    sort_by: Literal["created_at", "updated_at", "completed_at", "status"] = Field(
        "created_at", description="Sort field; ties go by id, nulls come last."
    )
    sort_order: SortOrder = Field("desc", description="Sort order.")
    cursor: QueryText | None = Field(
        None,
        description="The next_cursor of a page: what comes behind it, also while runs are added."
        " The filters and the order must be the same; page is not looked at.",
    )


class RunQuery(BaseModel):
    model_config = ConfigDict(frozen=True)

    wait: float = Field(
        0, ge=0, le=60, description="Seconds to wait for the run's end before answering."
    )


def unknown_fields(model: type[Body], value: Mapping[str, Any]) -> list[str]:
    """Return a warning for each field, however deep, that a user may have meant something by."""
    return list(islice(_unknown(model, value, ""), _MAX_WARNINGS))


def _unknown(model: type[Body], value: Mapping[str, Any], path: str) -> Iterator[str]:
    known = model.model_fields
    for name, item in value.items():
        if name not in known:
            if name not in model.echoed and not _COMMENT.match(name):
                near = get_close_matches(name[:255], known, 1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                yield f"Unknown field '{path}{name[:255]}' was ignored{hint}"
        elif name in model.inner and isinstance(item, Mapping):
            yield from _unknown(model.inner[name], item, f"{path}{name}.")
        elif name in model.inner_values and isinstance(item, Mapping):
            for key, each in item.items():
                yield from _unknown(model.inner_values[name], each, f"{path}{name}.{key}.")
