"""One world: processes, agents, clients and a database, driven by a seed, judged all the time.

The seed makes a plan, a list of actions at given times (executions, cancels, retries, faults); then
the world runs until the plan is done, the faults stop, and the world must come to rest. A world can
be run with the first actions of its plan only: so a failing one is made small.
"""

import random
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from orchestrator.domain.machine import decide as real_decide
from orchestrator.domain.messages import Command, Decision
from orchestrator.domain.run import Run
from tests.simulation.agents import Agents
from tests.simulation.clients import Clients
from tests.simulation.coverage import Coverage
from tests.simulation.database import Database
from tests.simulation.group import Group
from tests.simulation.judge import Judge
from tests.simulation.loop import Clock, ProcessLoop, Runaway, State
from tests.simulation.patches import GROUND
from tests.simulation.process import Process, Surroundings
from tests.simulation.setting import CALM, Action, choose
from tests.simulation.wire import COMMAND_TIMEOUT_S, Weather, Wire

REST_S = 600.0  # in which a world must come to rest once the faults stop
LEAVE_S = COMMAND_TIMEOUT_S + 10  # in which the last actor must leave: one may wait for an answer
SOON_S = 4.0  # the same where every answer comes
_DEAD_TO_GROUP_S = 6.0  # without a heartbeat


@dataclass(slots=True)
class Outcome:
    """What became of a world."""

    seed: int
    actions: int
    runs: int
    violations: list[str]
    trace: list[str] = field(default_factory=list)


class World:
    """`live` is its whole life."""

    def __init__(self, seed: int, coverage: Coverage, *, traced: bool = False) -> None:
        self.seed = seed
        self.coverage = coverage
        self.violations: list[str] = []
        self.trace: list[str] | None = [] if traced else None
        self.chance = chance = random.Random(seed)
        self.clock = Clock()
        self.outside = ProcessLoop(self.clock, "outside", self.wrong)
        self.database = Database(lambda: self.clock.now, random.Random(chance.random()))
        self.setting = setting = choose(self.database, random.Random(chance.random()))
        self.wire = Wire(self.database, self.outside, random.Random(chance.random()))
        self.wire.weather = replace(setting.weather)
        self.agents = Agents(self.outside, random.Random(chance.random()))
        self.agents.weights = setting.mood
        self.judge = Judge(self.database, self.agents, setting, self.wrong)
        self.group = self._make_group()
        self.processes: list[Process] = []
        self.clients = Clients(
            self.outside,
            self.processes,
            list(setting.chains),
            self.note,
            random.Random(chance.random()),
        )
        self.judge.asked = self.clients.asked
        self._made = 0

    def _make_group(self) -> Group | None:
        if not self.setting.shared:
            return None
        partitions = self.setting.common.partitions
        return Group(partitions, self.outside, random.Random(self.chance.random()))

    # -- living -----------------------------------------------------------------------------------

    def live(self, actions: int | None = None) -> Outcome:
        """Do the first actions of the plan, then let the world come to rest, and judge it."""
        plan = self.setting.plan[:actions]
        GROUND.now = lambda: self.clock.now
        GROUND.chance = random.Random(self.seed + 1)
        GROUND.decide = self._decide
        GROUND.log.unexpected = self.wrong
        GROUND.log.told = None if self.trace is None else self._log
        for _ in range(self.setting.size):
            self._start()
        self._see_that_some_live()
        try:
            for action in plan:
                self.clock.run(action.at, self._is_over)
                if self._is_over():
                    break
                self._do(action)
            self._come_to_rest()
        except Runaway as runaway:
            self.wrong(f"it goes round and round at one moment: {runaway}")
        self.coverage.worlds += 1
        self.coverage.runs += len(self.database.runs)
        self.coverage.ends.update(self.judge.ends)
        self.coverage.forget()
        for process in self.processes:
            process.loop.end()
        return Outcome(
            self.seed, len(plan), len(self.database.runs), self.violations, self.trace or []
        )

    def _come_to_rest(self) -> None:
        self._heal()
        end = self.clock.now + REST_S
        self.clock.run(self.clock.now + 1.0, self._is_over)  # what was asked for last is under way
        while self.clock.now < end and not self.judge.is_quiet() and not self.violations:
            self.clock.run(min(end, self.clock.now + 1.0), self._is_over)
        if self.violations:
            return
        for run_id in self.judge.unfinished:
            run = self.database.runs[run_id]
            self.wrong(f"run-{run_id} has no end: {run} {self.judge.lives[run_id].steps}")
        for row in self.judge.open_cancellations():
            self.wrong(f"never settled: {row}")
        leave = LEAVE_S if self.setting.weather.silent else SOON_S
        self.clock.run(self.clock.now + leave, lambda: self._is_over() or not self._busy())
        self.judge.conclude(self.clients.accepted)
        for process in self._busy():
            self.wrong(f"{process.name} keeps actors of ended runs")

    def _busy(self) -> list[Process]:
        """Return the processes that have actors."""
        return [p for p in self._alive() if p.node is not None and p.node._active]

    def _heal(self) -> None:
        """Stop the faults."""
        self.clients.over = True
        self.wire.weather = Weather()
        self.agents.weights = CALM
        for row in self.database.agents.values():
            row["status"] = "active"
        for process in self._alive():
            self._go_on(process)
        while len(self._alive()) < self.setting.size:
            self._start()
        if self.group is not None and self.group.away:
            self._group_back()

    def wrong(self, what: str) -> None:
        """Note what must not be."""
        self.violations.append(f"at {self.clock.now:.4f}: {what}")
        self.note("WRONG", what)

    def note(self, *what: object) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.clock.now:9.4f} " + " ".join(map(str, what)))

    def _log(self, level: str, event: str, values: dict[str, Any]) -> None:
        self.note("log", level, event, values)

    def _is_over(self) -> bool:
        return bool(self.violations)

    def _decide(self, run: Run, command: Command) -> Decision:
        decision = real_decide(run, command)
        self.coverage.met(run, command)
        self.coverage.probe(run, command, decision, self.wrong)
        if self.trace is not None:
            self.note("decide", run.id.hex[-4:], run.status, run.seq, command, "->", decision)
        return decision

    # -- processes --------------------------------------------------------------------------------

    def _alive(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    def _start(self) -> None:
        self._made += 1
        name = f"p{self._made}"
        self.note("start", name)
        around = Surroundings(
            self.clock, self.wire, self.agents, self.group, self.wrong, self.judge.drains
        )
        owner = UUID(int=self.chance.getrandbits(120))
        self.processes.append(Process(name, owner, self.setting.common, around))

    def _see_that_some_live(self) -> None:
        """Start another process for one that ended, as a service manager does."""
        if len(self._alive()) < self.setting.size:
            self._start()
        self.outside.call_later(0.2 + 2 * self.chance.random(), self._see_that_some_live)

    def _go_on(self, process: Process) -> None:
        if process.loop.state is State.PAUSED:
            self.note("go on", process.name)
            process.loop.go_on()
        if self.group is not None and not self.group.away:
            process.join_again()

    # -- actions ----------------------------------------------------------------------------------

    def _do(self, action: Action) -> None:
        chance = random.Random(action.chance)
        self.note("do", action.kind)
        alive = self._alive()
        process = chance.choice(alive) if alive else None
        match action.kind:
            case "execute":
                self.clients.execute(chance)
            case "cancel" | "retry":
                self.clients.change(action.kind, chance)
            case "away":
                self.wire.go_away()
                self.outside.call_later(chance.choice((0.1, 1, 8)), self._database_back)
            case "agent off":
                agent = self.database.agents[chance.choice(("alpha", "beta"))]
                agent["status"] = "inactive"
                self.outside.call_later(chance.random(), agent.__setitem__, "status", "active")
            case "steal":  # a process that still believes in its old assignment
                self.wire.steal(chance.randrange(self.setting.common.partitions))
            case "kill" if process is not None:
                process.kill()
            case "stop" if process is not None:
                process.stop()
            case "pause" if process is not None:
                process.loop.pause()
                seconds = chance.choice((0.1, 1, 4, 12))
                if seconds > _DEAD_TO_GROUP_S:
                    self.outside.call_later(_DEAD_TO_GROUP_S, process.expelled)
                self.outside.call_later(seconds, self._end_pause, process)
            case _:
                self._trouble_group(action.kind, process, chance)

    def _database_back(self) -> None:
        self.wire.weather.away = False

    def _end_pause(self, process: Process) -> None:
        if process.alive:
            self._go_on(process)

    def _trouble_group(self, kind: str, process: Process | None, chance: random.Random) -> None:
        group = self.group
        if group is None or process is None:
            return
        match kind:
            case "rebalance":
                group.rebalance()
            case "expel":  # without a pause: its heartbeats were late
                process.expelled()
                self.outside.call_later(chance.choice((0.1, 2)), process.join_again)
            case "group away":
                group.away = True
                self.outside.call_later(chance.choice((1, 6)), self._group_back)
            case _:
                pass

    def _group_back(self) -> None:
        if self.group is not None:
            self.group.away = False
            self.group.rebalance()
