"""What a world is like, by its seed: agents and their moods, workflows, weather, and the plan."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from orchestrator import json_text
from orchestrator.actors.ports import Limits
from tests.simulation.database import Database
from tests.simulation.process import Plan
from tests.simulation.rows import EPOCH, TermRow
from tests.simulation.wire import Weather

CALM: Mapping[str, float] = {"answer": 3.0, "task": 1.0}
_MOODS: Sequence[Mapping[str, float]] = (
    {"answer": 1},
    {"answer": 6, "transient": 2, "busy": 1, "final": 0.3},
    {"answer": 4, "hang": 1, "reset": 2, "lost": 1, "transient": 1},
    {"answer": 1, "task": 5, "task failing": 0.5, "task silent": 1, "task forgotten": 1},
    {"answer": 3, "endless": 1, "task endless": 1, "transient": 2, "task": 1},
    {"answer": 4, "crash": 2, "task crash": 1, "unstorable": 1, "transient": 1, "task": 1},
    {
        "answer": 1,
        "task": 1,
        "task asking": 4,
        "task login": 4,
        "transient": 0.7,
        "reset": 0.3,
        "final": 0.2,
    },
    {"answer": 1, "task asking": 3, "transient": 1, "hang": 1, "reset": 1, "lost": 1, "final": 0.5},
    {"answer": 1, "task login": 6, "task asking": 2, "transient": 1, "task silent": 1},
    {"answer": 2, "task": 1, "transient": 2, "hang": 1, "reset": 1, "lost": 1, "task silent": 3},
)
_AGENTS = ("alpha", "beta")
_STEPS = ("first", "second", "third")
# Faults that delay what was decided by more than a moment.
_DELAYING = frozenset(("away", "pause"))


@dataclass(frozen=True, slots=True)
class Expected:
    """What the judge knows of a workflow's step."""

    timeout: float
    max_attempts: int
    resend: bool  # whether it may be sent again when its outcome is unknown


@dataclass(frozen=True, slots=True)
class Action:
    """Something that happens to the world; `chance` decides its details."""

    at: float
    kind: str
    chance: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What was chosen for a world."""

    shared: bool  # among several processes, by a group
    size: int  # how many
    common: Plan
    chains: Mapping[UUID, Mapping[str, Expected]]  # workflows by id, their steps in order
    mood: Mapping[str, float]
    weather: Weather
    plan: Sequence[Action]

    @property
    def prompt(self) -> bool:
        """Whether what was decided is written within a moment."""
        return self.weather == Weather() and not _DELAYING & {action.kind for action in self.plan}

    @property
    def punctual(self) -> bool:
        """Whether nothing is wrong at all but what agents do: what is due happens soon."""
        kinds = [action.kind for action in self.plan]
        room = self.common.limits.max_active_runs >= 4 * len(kinds)
        return self.prompt and room and not set(kinds) - {"execute", "cancel", "retry"}


def choose(database: Database, chance: random.Random) -> Setting:
    """Choose a setting, and put its agents and workflows into the database."""
    shared = chance.random() < 0.7
    partitions = chance.choice((1, 2, 4))
    for partition in range(partitions):
        database.terms[partition] = TermRow()
    attempts = [_add_agent(database, name, chance) for name in _AGENTS]
    return Setting(
        shared,
        chance.choice((2, 2, 3)) if shared else 1,
        Plan(partitions=partitions, limits=_limits(chance), lanes=chance.choice((1, 2))),
        dict(_add_workflow(database, number, attempts, chance) for number in range(3)),
        chance.choice(_MOODS),
        _weather(chance),
        _plan(shared=shared, chance=chance),
    )


def _limits(chance: random.Random) -> Limits:
    return Limits(
        max_active_runs=chance.choice((1, 3, 100)),
        scan_interval=timedelta(seconds=1),
        park_after=timedelta(seconds=chance.choice((0.3, 2))),
        shutdown_grace=timedelta(seconds=chance.choice((0.1, 2))),
        handover_grace=timedelta(seconds=chance.choice((0.1, 1))),
    )


def _weather(chance: random.Random) -> Weather:
    if chance.random() < 0.5:
        return Weather()
    return Weather(
        slow=chance.choice((0, 0.02, 0.2)),
        cut_before=chance.choice((0, 0.01, 0.03)),
        cut_after=chance.choice((0, 0.01, 0.05)),
        silent=chance.choice((0, 0, 0.003)),
    )


def _add_agent(database: Database, name: str, chance: random.Random) -> int:
    """Register an agent; return how many attempts its policy allows."""
    max_retries = chance.choice((0, 1, 2, 2))
    database.agents[name] = {
        "id": UUID(int=chance.getrandbits(120)),
        "name": name,
        "url": "http://127.0.0.1:1",
        "description": None,
        "auth_type": "none",
        "auth_sealed": None,
        "timeout_ms": 3000,
        "max_retries": max_retries,
        "initial_delay_ms": chance.choice((1, 100, 2500)),
        "max_delay_ms": 4000,
        "backoff_multiplier": 2.0,
        "options": "{}",
        "probe": None,
        "status": "active",
        "created_at": EPOCH,
        "updated_at": EPOCH,
    }
    return max_retries + 1


def _add_workflow(
    database: Database, number: int, attempts: Sequence[int], chance: random.Random
) -> tuple[UUID, dict[str, Expected]]:
    """Create a workflow of one to three steps; few have data that cannot be used, or none."""
    workflow_id = UUID(int=chance.getrandbits(120))
    names = _STEPS[: chance.choice((1, 2, 2, 3))]
    steps: dict[str, Any] = {}
    chain: dict[str, Expected] = {}
    for place, name in enumerate(names):
        agent, timeout_ms = chance.randrange(2), chance.choice((1500, 8000, 60_000, 60_000))
        unknown = chance.choice(("resend", "resend", "fail"))
        mapping = {"given": "${workflow.input.n}"}
        if place:
            mapping["before"] = f"${{{names[place - 1]}.output}}"
            if chance.random() < 0.05:
                mapping["missing"] = "${first.output.nothing}"
        steps[name] = {
            "id": name,
            "agent_name": _AGENTS[agent],
            "next_step": names[place + 1] if place + 1 < len(names) else None,
            "input_mapping": mapping,
            "timeout_ms": timeout_ms,
            "on_unknown_outcome": unknown,
        }
        chain[name] = Expected(timeout_ms / 1000, attempts[agent], unknown == "resend")
    broken = number == 2 and chance.random() < 0.1
    data = {"start_step": names[0], "steps": {names[0]: "no step"} if broken else steps}
    row = {"key": f"wf-{number}", "name": f"workflow {number}", "data": json_text.dumps(data)}
    if not (broken and chance.random() < 0.5):
        database.definitions[workflow_id, 1] = row
    return workflow_id, chain


def _plan(*, shared: bool, chance: random.Random) -> Sequence[Action]:
    span = chance.choice((3.0, 10.0, 25.0))
    kinds = ["execute"] * chance.choice((2, 5, 12))
    kinds += ["cancel"] * chance.choice((0, 2, 5)) + ["retry"] * chance.choice((0, 2, 4))
    faults = ["kill", "stop", "pause", "away", "agent off", "steal"]
    faults += ["group away", "rebalance", "rebalance", "expel"] if shared else []
    kinds += chance.choices(faults, k=chance.choice((0, 1, 3, 6)))
    plan = [Action(span * chance.random(), kind, chance.getrandbits(32)) for kind in kinds]
    return sorted(plan, key=lambda action: action.at)
