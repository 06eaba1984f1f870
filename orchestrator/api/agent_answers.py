"""What the server answers about agents, as documented; like `answers`."""

from uuid import UUID

from pydantic import BaseModel, Field

from orchestrator.api.answers import JsonObject, Moment, Page, Warned
from orchestrator.api.fields import ListedStatus


class RetryPolicy(BaseModel):
    """How attempts of a step at this agent are repeated."""

    max_retries: int
    initial_delay_ms: int
    max_delay_ms: int
    backoff_multiplier: float


class Probe(BaseModel):
    """What an agent really does, as a probe found it."""

    grade: str = Field(
        description="A: all of it; B: it answers, and its tasks can be polled and cancelled; C: it"
        " answers; F: it does not. More may come."
    )
    probed_at: Moment
    version: str | None = Field(description="The A2A version spoken.")
    answers: str | None = Field(description="message or task.")
    poll: str = Field(description="ok, failed or untried.")
    cancel: str = Field(description="confirmed, unsupported, …, or untried.")
    stream: str = Field(description="ok, failed, or unsupported as the card says.")
    dedupe: str = Field(description="yes, no, or untried: whether it knows a message id again.")
    lookup: str = Field(
        description="yes, no, or untried: whether a message's task is found in the agent's list."
    )
    error: str | None = Field(description="Why it did not answer, or not to the end.")


class Skill(BaseModel):
    """Something that an agent says it can do."""

    id: str
    name: str
    description: str
    input_modes: list[str]


class AgentCard(BaseModel):
    """An agent's card, and how it is understood here."""

    card_url: str | None = Field(description="Where the card is; null: the agent shows none.")
    version: str | None = Field(description="The A2A version that is spoken with the agent.")
    binding: str | None = Field(description="JSONRPC or HTTP+JSON; more may come.")
    interface_url: str | None = Field(description="Where calls go.")
    tenant: str | None
    streaming: bool | None
    push_notifications: bool | None
    input_as: str | None = Field(description="How input goes to it by itself: data or text.")
    skills: list[Skill]
    card: JsonObject | None = Field(description="The card as the agent shows it.")
    error: str | None = Field(description="Why the agent cannot be called as its card says.")


class Agent(Warned):
    """A registered agent; its auth_config is never shown."""

    id: UUID
    name: str
    url: str
    description: str | None
    auth_type: str = Field(description="none, bearer or apikey.")
    timeout_ms: int
    retry_config: RetryPolicy
    status: ListedStatus
    created_at: Moment
    updated_at: Moment
    protocol: str = Field(description="auto, 0.2, 0.3, 1.0 or 1.0-rest; more may come.")
    interface_url: str | None
    headers: dict[str, str]
    card_path: str | None
    call_mode: str = Field(description="auto, stream, poll or wait.")
    push: bool
    max_concurrency: int | None
    rate_limit: float | None
    probe: Probe | None = Field(description="What the last probe found; null: there was none.")


class AgentHealth(BaseModel):
    """What a look at the agent's /health found."""

    healthy: bool
    status_code: int | None
    response_time_ms: float | None
    error: str | None
    card_reachable: bool | None = Field(
        description="Whether the agent's card answers; many A2A agents have no /health."
    )


class AgentList(Page[Agent]):
    """One page of agents."""
