"""What the server answers, as documented: the models make the OpenAPI document.

Answers are written by `render` from rows, not through these models; tests hold the two together.
Values that later versions may add to (a step's status, an event's kind) are plain strings.
"""

from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field, WithJsonSchema

from orchestrator.api.fields import ListedStatus, RunStatus
from orchestrator.api.schemas import Step

_T = TypeVar("_T")

Moment = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2024-01-01T10:00:00Z"]}),
]
# Described, so that it is no empty schema; a list of all types makes generators invent classes.
AnyJson = Annotated[Any, WithJsonSchema({"description": "Any JSON value, or null."})]
RunId = Annotated[str, Field(examples=["run-789e0123-e89b-12d3-a456-426614174000"])]
JsonObject = dict[str, Any]


class Warned(BaseModel):
    """An answer to a body that may have held more than was understood."""

    warnings: list[str] = Field(
        default=[],
        description="Present when unknown fields of the request were ignored, or when something is"
        " to be known of a workflow's agents.",
    )


class Message(BaseModel):
    """What was done."""

    message: str


class WorkflowData(BaseModel):
    """The structure of a workflow, as it was sent."""

    start_step: str
    steps: dict[str, Step]


class Workflow(Warned):
    """One version of a workflow."""

    id: UUID = Field(description="Of the newest version: the workflow's id for life.")
    name: str
    description: str | None
    version: int
    workflow_data: WorkflowData
    status: ListedStatus
    created_at: Moment = Field(description="When this version was made.")
    updated_at: Moment


class Run(Warned):
    """One execution of a workflow."""

    id: RunId
    run_id: RunId
    workflow_id: str = Field(examples=["wf-data-pipeline-001"])
    workflow_name: str
    workflow_definition_id: UUID
    workflow_version: int = Field(description="The version that the run is pinned to.")
    status: RunStatus
    input_data: JsonObject
    triggered_by: str
    created_at: Moment
    updated_at: Moment
    completed_at: Moment | None
    cancelled_at: Moment | None
    cancelled_by: str | None
    error_message: str | None


class RunDetails(Run):
    """One run, and where it is executed."""

    partition: int = Field(description="The unit of ownership that the run belongs to.")
    owner: str | None = Field(
        description="The process (host:port) that owns the partition; null while nobody does."
    )


class Question(BaseModel):
    """What an agent asks."""

    id: int = Field(description="Tells the question from the run's other ones.")
    text: str = Field(description="What the agent said, as text; may be empty.")
    parts: list[JsonObject] = Field(
        description="What it said, part by part: `text`, `data`, or a file (`url` or `raw`, `name`,"
        " `mediaType`)."
    )
    asked_at: Moment
    expires_at: Moment | None = Field(description="When the step's timeout_ms is over.")


class StepExecution(BaseModel):
    """One step of a run."""

    id: str = Field(examples=["step-exec-123e4567-e89b-12d3-a456-426614174000"])
    run_id: RunId
    step_id: str
    step_name: str
    agent_name: str
    status: str = Field(description="PENDING, RUNNING, COMPLETED, FAILED, SKIPPED; more may come.")
    attempt: int = Field(description="The attempt at work, or the last one; 0 before the first.")
    input_data: JsonObject | None
    output_data: AnyJson
    started_at: Moment | None
    completed_at: Moment | None
    error_message: str | None
    waiting_for: str | None = Field(
        description="input or auth: the step's agent asks somebody something; more may come."
    )
    question: Question | None
    cancel: str | None = Field(
        description="What became of cancelling the agent's task: requested, confirmed, unsupported,"
        " unreachable, already_finished; null: there was nothing to cancel. More may come."
    )
    artifacts: list[JsonObject] | None = Field(
        description="The agent's artifacts as it sent them; null: it sent none."
    )


class InboxItem(BaseModel):
    """An open question, and the step that waits for the answer."""

    id: str = Field(examples=["step-exec-123e4567-e89b-12d3-a456-426614174000"])
    run_id: RunId
    step_id: str
    agent_name: str
    workflow_id: str = Field(examples=["wf-data-pipeline-001"])
    workflow_name: str
    workflow_definition_id: UUID
    waiting_for: str = Field(description="input or auth; more may come.")
    question: Question


class HistoryItem(BaseModel):
    """One event of a run's history."""

    seq: int = Field(description="Number of the event within the run, from 1.")
    timestamp: Moment
    event: str = Field(description="What happened: RunStarted, StepStarted, …; more may come.")
    message: str = Field(description="The same as a sentence.")
    step_id: str | None
    attempt: int | None
    details: JsonObject


class Page(BaseModel, Generic[_T]):
    """One page of a list."""

    items: list[_T]
    total: int
    page: int
    page_size: int
    total_pages: int


class WorkflowList(Page[Workflow]):
    """One page of workflows, or of a workflow's versions."""


class RunList(Page[Run]):
    """One page of runs."""

    next_cursor: str | None = Field(
        description="The query's cursor for what comes behind this page; null: nothing does."
    )


class InboxList(Page[InboxItem]):
    """One page of open questions, the oldest first."""


class HistoryList(Page[HistoryItem]):
    """One page of a run's history, in order."""


class Health(BaseModel):
    """The process is alive."""

    status: Literal["healthy"]
    timestamp: Moment
    version: str
    uptime_seconds: float
    services: JsonObject | None


class Check(BaseModel):
    """One dependency."""

    status: str = Field(description="healthy, unhealthy or disabled; more may come.")
    message: str
    response_time_ms: float | None


class Checks(BaseModel):
    database: Check
    kafka: Check


class Readiness(BaseModel):
    """Whether the process takes work."""

    ready: bool
    timestamp: Moment
    checks: Checks


class PartitionOwner(BaseModel):
    """A process that owns partitions."""

    id: UUID = Field(description="New at each start of the process.")
    name: str = Field(description="host:port")
    alive: bool = Field(description="Whether the process is connected to the database.")


class Partition(BaseModel):
    """Who owns a partition, or owned it last."""

    partition: int
    epoch: int = Field(description="Rises with every new owner.")
    owner: PartitionOwner | None
    released: bool = Field(description="Whether the owner has handed it over.")
    claimed_at: Moment | None
    pending: int = Field(description="Runs that wait to be taken up.")
    lag: int | None = Field(
        description="Commands in the topic that the owner has not confirmed yet (it does so every"
        " few seconds); null with the embedded feed, or while Kafka is away."
    )


class PartitionList(BaseModel):
    """All partitions of the deployment."""

    feed: str = Field(description="embedded or kafka.")
    items: list[Partition]


class FieldError(BaseModel):
    """One wrong field, in short."""

    field: str
    message: str
    type: str


class Fault(BaseModel):
    """One wrong field; `loc` begins with body, query, path or header."""

    type: str
    loc: list[str | int]
    msg: str
    input: AnyJson


class Envelope(BaseModel):
    """What every error has."""

    error: str = Field(description="Name of the status.", examples=["Not Found"])
    status_code: int
    timestamp: Moment
    path: str
    request_id: str = Field(examples=["req-123e4567-e89b-12d3-a456-426614174000"])


class Problem(Envelope):
    """An error, with one sentence."""

    detail: str


class ValidationProblem(Envelope):
    """Wrong fields of a request."""

    detail: list[Fault]
    errors: list[FieldError]


class NotReady(Readiness, Envelope):
    """The process takes no work now: the checks, and the fields of every error."""

    detail: str


class LogsPlaceholder(BaseModel):
    message: str
    run_id: RunId
    note: str


class NotImplementedProblem(Envelope):
    """Logs are switched off by the setting `logs_endpoint`."""

    detail: LogsPlaceholder
