"""What an operation is: the routes and the OpenAPI document are made of a table of them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field

from aiohttp import web
from pydantic import BaseModel

from orchestrator.api import answers
from orchestrator.api.schemas import Body
from orchestrator.domain.record import record

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@record
class Answer:
    """One status an operation answers with; `model` None: the media type is not JSON."""

    description: str
    model: type[BaseModel] | None
    many: bool = False  # a JSON array of the model
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    # The operations that take this answer's `id`, by the name of the parameter that it is there.
    leads_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Operations to which it leads by other means: their parameters, as runtime expressions.
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@record
class Operation:
    """One endpoint: its route, what it takes, and everything it may answer."""

    method: str
    path: str
    handler: Handler
    id: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, Answer]
    path_params: Mapping[str, "PathParam"] = field(default_factory=dict)
    query: type[BaseModel] | None = None
    headers: Mapping[str, "Header"] = field(default_factory=dict)
    body: type[Body] | None = None
    body_required: bool = True


@record
class PathParam:
    description: str
    format: str | None
    example: str


@record
class Header:
    """A request header that means something to an operation."""

    description: str
    max_length: int
    pattern: str


AGENT_ID = PathParam("UUID of the agent.", "uuid", "123e4567-e89b-12d3-a456-426614174000")
WORKFLOW_ID = PathParam("UUID of the workflow.", "uuid", "456e7890-e89b-12d3-a456-426614174000")
ANY_VERSION_ID = PathParam(
    "UUID of any version of the workflow.", "uuid", "456e7890-e89b-12d3-a456-426614174000"
)
STEP_ID = PathParam("Id of the step in its workflow.", None, "extract")
RUN_ID = PathParam("Run identifier.", None, "run-789e0123-e89b-12d3-a456-426614174000")


def ok(
    model: type[BaseModel],
    description: str,
    *,
    many: bool = False,
    leads_to: Mapping[str, tuple[str, ...]] | None = None,
    links: Mapping[str, Mapping[str, str]] | None = None,
) -> Answer:
    return Answer(description, model, many, leads_to=leads_to or {}, links=links or {})


def problem(description: str) -> Answer:
    return Answer(description, answers.Problem)


INVALID = Answer("Validation error: one or more fields are wrong.", answers.ValidationProblem)
TOO_LARGE = problem("The request body is larger than the setting max_body_bytes.")
UNEXPECTED = problem("An unexpected error occurred.")
UNAVAILABLE = Answer(
    "The database is away; try again later.",
    answers.Problem,
    headers={"Retry-After": "Seconds after which to try again."},
)
OVERLOADED = Answer(
    "Too much at the moment; try again later.",
    answers.Problem,
    headers={"Retry-After": "Seconds after which to try again."},
)
