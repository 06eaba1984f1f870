"""What the API is given: the database, the limits, and the functions of the layers beside it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol

from aiohttp import web
from asyncpg import Pool

from orchestrator.api.throttle import Throttle
from orchestrator.domain.agent import Agent
from orchestrator.domain.hint import Hint
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.store.creation import Created, NewRun
from orchestrator.store.definitions import Definitions
from orchestrator.store.sealing import Sealer
from orchestrator.telemetry.metrics import Metrics

VERSION = "1.0.0"  # the API's, not the program's


class AgentHealth(Protocol):
    """What a look at an agent's /health found."""

    @property
    def healthy(self) -> bool: ...
    @property
    def status_code(self) -> int | None: ...
    @property
    def response_time_ms(self) -> float | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def card_reachable(self) -> bool | None: ...


@record
class Check:
    """One dependency, as /health/ready shows it."""

    status: Literal["healthy", "unhealthy", "disabled"]
    message: str
    response_time_ms: float | None = None


@record
class Deps:
    """The functions are bound by `service`, since the layers do not know each other."""

    pool: Pool
    sealer: Sealer
    definitions: Definitions
    metrics: Metrics
    throttle: Throttle
    # durable when it returns; wakes the actor, with the input's value, which need not be parsed
    execute: Callable[[NewRun, Any], Awaitable[Created]]
    nudge: Callable[[Hint], None]  # tells the partition's owner, whoever that is; never waits
    agents_changed: Callable[[], None]  # what this process remembers of agents is no longer so
    agent_health: Callable[[Agent], Awaitable[AgentHealth]]
    # What is shown of an agent: its card as understood, and what it was found to do with an input.
    agent_view: Callable[[Agent], Awaitable[Mapping[str, Any]]]
    agent_probe: Callable[[Agent, str], Awaitable[Mapping[str, Any]]]
    # Whether a push to an address is believed (its name, the two headers), and what it says.
    push_accepted: Callable[[str, str | None, str | None], bool]
    pushed: Callable[[Any], None]
    wait_ended: Callable[[RunId, float], Awaitable[None]]  # until its end, or as long as one may
    feed: str  # embedded or kafka
    feed_check: Callable[[], Awaitable[Check]]
    lags: Callable[[], Awaitable[Mapping[Partition, int]]]  # empty where they are not known
    draining: Callable[[], bool]
    started: float  # time.monotonic() at the start of the process
    partitions: int
    step_timeout: timedelta
    max_body_bytes: int
    logs_endpoint: Literal["history", "placeholder"] = "history"
    readiness_requires_kafka: bool = False


DEPS: web.AppKey[Deps] = web.AppKey("DEPS", Deps)
