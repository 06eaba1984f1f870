"""What clients send about agents: request bodies, with every bound and default."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from orchestrator.api.fields import (
    HeaderName,
    Headers,
    InitialDelayMs,
    MaxDelayMs,
    Name,
    Path,
    Places,
    Retries,
    Secret,
    Status,
    TimeoutMs,
    Url,
)
from orchestrator.api.schemas import Body


class RetryConfig(Body):
    """How attempts of a step at this agent are repeated."""

    max_retries: Retries = Field(3, description="Maximum retry attempts.")
    initial_delay_ms: InitialDelayMs = Field(1000, description="Delay before the first retry.")
    max_delay_ms: MaxDelayMs = Field(30000, description="Maximum delay between retries.")
    backoff_multiplier: float = Field(
        2.0, ge=1.0, allow_inf_nan=False, description="Exponential backoff multiplier."
    )


class AuthConfig(Body):
    """Secrets of the authentication: they go in and never come out."""

    # `bearer` cannot do without a token nor `apikey` without a key: the store says so, since only
    # it knows what an update is merged with.
    token: Secret | None = Field(
        None, description="`bearer` sends `Authorization: Bearer <token>`."
    )
    key: Secret | None = Field(None, description="`apikey` sends `X-API-Key: <key>`.")
    header: HeaderName | None = Field(None, description="Another header for `apikey`.")

    echoed: ClassVar[frozenset[str]] = frozenset()


class AgentCreate(Body):
    """A new agent."""

    name: Name = Field(description="Unique agent name.", examples=["data-processor"])
    url: Url = Field(
        description="Absolute http(s) URL of the agent.", examples=["http://data-processor:8080"]
    )
    description: str | None = Field(None, description="Human-readable description.")
    auth_type: Literal["none", "bearer", "apikey"] = Field(
        "none", description="How requests to the agent are authenticated."
    )
    auth_config: AuthConfig | None = Field(None, description="Secrets; never shown again.")
    timeout_ms: TimeoutMs = Field(30000, description="Bound of one HTTP exchange with the agent.")
    retry_config: RetryConfig | None = Field(None, description="Retries; unset: the defaults.")
    protocol: Literal["auto", "0.2", "0.3", "1.0", "1.0-rest"] = Field(
        "auto",
        description="What is spoken: JSON-RPC of a version, or HTTP+JSON of 1.0. auto: what the"
        " agent's card offers.",
    )
    interface_url: Url | None = Field(
        None,
        description="Where calls go, instead of the url in the agent's card; credentials go there"
        " too.",
    )
    headers: Headers | None = Field(
        None,
        description="Headers of every request to the agent. They are shown: what is secret belongs"
        " into auth_config.",
    )
    card_path: Path | None = Field(
        None, description="Path of the card below the url, where it is not a well-known one."
    )
    call_mode: Literal["auto", "stream", "poll", "wait"] = Field(
        "auto",
        description="How a call waits: by stream, by polls, or in one request that the agent"
        " answers when it is done. auto: by stream if the card says that the agent streams.",
    )
    push: bool = Field(
        default=False,
        description="Have the agent send news of its tasks; needs the setting public_url.",
    )
    max_concurrency: Places | None = Field(
        None, description="Steps at work at the agent at a time."
    )
    rate_limit: float | None = Field(
        None, ge=0.001, le=100_000, allow_inf_nan=False, description="Requests a second."
    )

    echoed: ClassVar[frozenset[str]] = Body.echoed | {"probe"}
    inner: ClassVar[Mapping[str, type[Body]]] = {
        "retry_config": RetryConfig,
        "auth_config": AuthConfig,
    }


class AgentUpdate(Body):
    """Changes of an agent: what is absent (or null, where null means nothing) stays."""

    name: Name | None = Field(None, description="New name, unique.")
    url: Url | None = Field(None, description="Absolute http(s) URL of the agent.")
    description: str | None = Field(None, description="Human-readable description; null clears it.")
    auth_type: Literal["none", "bearer", "apikey"] | None = Field(
        None, description="How requests to the agent are authenticated."
    )
    auth_config: AuthConfig | None = Field(
        None, description="Secrets; replaced as a whole, null clears them."
    )
    timeout_ms: TimeoutMs | None = Field(
        None, description="Bound of one HTTP exchange with the agent."
    )
    retry_config: RetryConfig | None = Field(
        None, description="Merged: fields that are absent keep their values."
    )
    protocol: Literal["auto", "0.2", "0.3", "1.0", "1.0-rest"] | None = Field(
        None, description="What is spoken."
    )
    interface_url: Url | None = Field(None, description="Where calls go; null: as the card says.")
    headers: Headers | None = Field(
        None, description="Headers of every request; replaced as a whole, null clears them."
    )
    card_path: Path | None = Field(None, description="Path of the card; null: a well-known one.")
    call_mode: Literal["auto", "stream", "poll", "wait"] | None = Field(
        None, description="How a call waits."
    )
    push: bool | None = Field(None, description="Have the agent send news of its tasks.")
    max_concurrency: Places | None = Field(
        None, description="Steps at work at the agent at a time; null: any."
    )
    rate_limit: float | None = Field(
        None,
        ge=0.001,
        le=100_000,
        allow_inf_nan=False,
        description="Requests a second; null: any.",
    )
    status: Status | None = Field(None, description="`deleted` is DELETE's.")

    echoed: ClassVar[frozenset[str]] = Body.echoed | {"probe"}
    inner: ClassVar[Mapping[str, type[Body]]] = {
        "retry_config": RetryConfig,
        "auth_config": AuthConfig,
    }


class ProbeRequest(Body):
    """What an agent is probed with."""

    input_data: dict[str, Any] | None = Field(
        None,
        description='Input of the messages that are sent; unset: `{"probe": true}`.',
        examples=[{"probe": True}],
    )

    echoed: ClassVar[frozenset[str]] = frozenset()
