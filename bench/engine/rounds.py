"""Rounds: the floor and each variant in turn: a slow minute of the machine hits all alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from bench.engine import floor
from bench.engine.failure import EngineFailed
from bench.engine.processes import Deployed, cpu_s
from bench.load.deployment import Deployment
from bench.load.executes import Executes
from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.samples import percentile
from bench.load.stub_agents import StubAgents

# What the stub of the measurements in docs/performance.md took for a run's three calls; CPU figures
# are scaled to it, since machines differ and drift.
STUB_US = 220.0
_WARMUP_S = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One load of one variant. CPU in microseconds a run; latencies in milliseconds."""

    per_s: float
    ratio: float  # to the floor of the same round
    orchestrator_us: float
    postgres_us: float
    stub_us: float
    execute_p50_ms: float
    execute_p99_ms: float

    def scaled(self, microseconds: float) -> float:
        """Return a CPU figure as it would be where the stub takes `STUB_US`."""
        return microseconds * STUB_US / self.stub_us


@dataclass(frozen=True, slots=True)
class Round:
    floor_per_s: float
    floor_stub_us: float
    samples: Mapping[str, Sample]


async def one(
    deployed: Mapping[str, Deployed],
    agents: StubAgents,
    *,
    seconds: float,
    concurrency: int,
    say: Callable[[str], None],
) -> Round:
    """Measure the floor, then each variant under the same load."""
    before = cpu_s(*agents.pids)
    base = await floor.measure(agents.urls[0], seconds, concurrency)
    stub_us = (cpu_s(*agents.pids) - before) / base.runs * 1e6
    say(f"  floor {base.per_s:.0f} runs/s")
    samples = {}
    for name, each in deployed.items():
        plan = Plan(each.urls, seconds, warmup=_WARMUP_S, concurrency=concurrency)
        samples[name] = sample = await _load(plan, each, agents, base.per_s)
        say(f"  {name} {sample.per_s:.0f} runs/s, {sample.ratio:.2f} of the floor")
    return Round(base.per_s, stub_us, samples)


async def _load(plan: Plan, deployed: Deployed, agents: StubAgents, floor_per_s: float) -> Sample:
    async with (
        Executes(plan.concurrency) as sender,
        aiohttp.ClientSession() as other,
        Deployment(other, *deployed.urls).three_steps(agents.urls) as workflow,
    ):
        load = Load(plan, sender, other, workflow, told_by_agents=True)
        agents.tell(load.tell)
        before = [cpu_s(*pids) for pids in _parts(deployed, agents)]
        await load.run()
        after = [cpu_s(*pids) for pids in _parts(deployed, agents)]
        agents.fall_silent()
    if load.samples.errors or load.unfinished:
        raise EngineFailed(f"{dict(load.samples.errors)}, {load.unfinished} runs unfinished")
    ours, postgres, stub = (
        (b - a) / load.accepted * 1e6 for a, b in zip(before, after, strict=True)
    )
    executes = load.samples.executes.sorted_in(plan.window)
    per_s = load.samples.runs.ended_in(plan.window) / plan.window.seconds
    return Sample(
        per_s=per_s,
        ratio=per_s / floor_per_s,
        orchestrator_us=ours,
        postgres_us=postgres,
        stub_us=stub,
        execute_p50_ms=percentile(executes, 50) * 1000,
        execute_p99_ms=percentile(executes, 99) * 1000,
    )


def _parts(deployed: Deployed, agents: StubAgents) -> Sequence[Sequence[int]]:
    return deployed.orchestrators, (deployed.postgres,), agents.pids
