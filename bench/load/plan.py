"""What a load is to do."""

from dataclasses import dataclass
from typing import Any

from bench.load.samples import Window


@dataclass(frozen=True, slots=True)
class Plan:
    """A load: with `rate` an open loop, else a closed one of `concurrency` users."""

    urls: tuple[str, ...]
    duration: float
    warmup: float = 0.0
    rate: float | None = None
    concurrency: int = 1
    workflow: str | None = None  # of the user's; else one of our own, with our own agents
    input_data: dict[str, Any] | None = None
    agents: int = 1
    agent_host: str = "127.0.0.1"
    agent_delay_ms: float = 0.0
    agent_echo: bool = False  # answers bring along what the agent was given
    connections: int = 256
    drain: float = 60.0  # what runs get to end after the load

    @property
    def window(self) -> Window:
        return Window(self.warmup, self.warmup + self.duration)
