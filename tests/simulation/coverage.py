"""Which (run's status, step's state, command) the state machine was asked for, and which there are.

What was asked is collected while worlds live. Beside each command of an actor, the machine is asked
for some it must not fall for: those that it has already decided in this actor's life (its third
rule), and for the end of the run for a reason of its own, which may come at any time. What there is
to be asked is found by walking through the machine itself: every answer to every effect, crashes,
take-overs, drains, cancels and retries, on a workflow of two steps.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.domain import machine
from orchestrator.domain.machine import decide
from orchestrator.domain.messages import (
    NOTHING,
    Command,
    Decision,
    Park,
    RecoverRun,
)
from orchestrator.domain.run import Run, RunId, StepStatus
from tests.simulation.pairs import NO_REASON, Pair, pair
from tests.simulation.walk import reachable

_REMEMBERED = 12


@dataclass(slots=True)
class Coverage:
    """What was met, over all worlds."""

    worlds: int = 0
    runs: int = 0
    pairs: Counter[Pair] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    _decided: dict[RunId, tuple[Run, list[Command]]] = field(default_factory=dict)

    def met(self, run: Run, command: Command) -> None:
        """Count what an actor asked."""
        self.pairs[pair(run, command)] += 1

    def probe(
        self, run: Run, command: Command, decision: Decision, wrong: Callable[[str], None]
    ) -> None:
        """Ask the machine again for what it has decided in this life of the run's actor."""
        known, decided = self._decided.get(run.id, (None, []))
        if known != run:  # another life of its actor: the decision before was not written
            decided = []
        after = machine.replay(run, decision.events)
        if command not in decided:
            decided = [*decided[-_REMEMBERED:], command]
        if any(isinstance(effect, Park) for effect in decision.effects):
            decided = [command]  # the actor leaves: what it decided before cannot come again
        self._decided[run.id] = after, decided
        for repeated in decided:
            if isinstance(repeated, RecoverRun):
                continue
            self.pairs[pair(after, repeated)] += 1
            if decide(after, repeated) is not NOTHING:
                wrong(f"{repeated} is decided twice, the second time on {after}")
        self.pairs[pair(after, NO_REASON)] += 1
        ended = machine.replay(after, decide(after, NO_REASON).events)
        left = [step for step in ended.steps.values() if step.status is StepStatus.RUNNING]
        if not ended.status.ended or left:
            wrong(f"{NO_REASON} does not end {after}")

    def add(self, other: "Coverage") -> None:
        """Take over what was met elsewhere."""
        self.worlds += other.worlds
        self.runs += other.runs
        self.pairs.update(other.pairs)
        self.ends.update(other.ends)

    def forget(self) -> None:
        """Forget the runs of a world that is over."""
        self._decided.clear()


def unmet(coverage: Coverage) -> frozenset[Pair]:
    return reachable() - coverage.pairs.keys()


def impossible(coverage: Coverage) -> frozenset[Pair]:
    """Return what was met though the walk does not find it."""
    return frozenset(coverage.pairs.keys() - reachable(rare=True))
