"""Which (run's status, step's state, command) the state machine was asked for, and which there are.

What was asked is collected while worlds live. Beside each command of an actor, the machine is asked
for some it must not fall for: those that it has already decided in this actor's life (its third
rule), and for the end of the run for a reason of its own, which may come at any time. What there is
to be asked is found by walking through the machine itself: every answer to every effect, crashes,
take-overs, drains, cancels and retries, on a workflow of two steps.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from uuid import UUID

from orchestrator.domain import machine, workflow
from orchestrator.domain.agent import Failure, Outcome, TaskRef
from orchestrator.domain.machine import decide
from orchestrator.domain.messages import (
    NOTHING,
    BackoffOver,
    CallAgent,
    Command,
    CompleteStep,
    DeadlineReached,
    Decision,
    Effect,
    FailAttempt,
    FailRun,
    FollowTask,
    RecordTask,
    RecoverRun,
    StartRun,
    StepStarted,
    WaitBackoff,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepStatus
from orchestrator.domain.term import Partition
from orchestrator.domain.workflow import WorkflowId

Pair = tuple[str, str, str]  # run's status, step's state, command
_REMEMBERED = 12
_NO_REASON = FailRun("probed")


def pair(run: Run, command: Command) -> Pair:
    """Name what the machine is asked."""
    kind = type(command).__name__
    if isinstance(command, FailAttempt):
        kind = f"{kind} {command.failure.outcome.value}"
    match command:
        case StartRun() | RecoverRun() | FailRun():
            at_work = [s for s in run.steps.values() if s.status is StepStatus.RUNNING]
            state = step_state(at_work[0]) if at_work else "no step at work"
        case _:
            state = step_state(run.steps.get(command.path))
    return run.status.value, state, kind


def step_state(step: StepExecution | None) -> str:
    """Name what a step is at, as far as the machine tells it apart."""
    if step is None:
        return "not started"
    if step.status is not StepStatus.RUNNING:
        return step.status.value.lower()
    if step.due_in is not None:
        return "backing off" if step.task is None else "backing off from a task"
    return "in a call" if step.task is None else "in a task"


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
        self._decided[run.id] = after, decided
        for repeated in decided:
            if isinstance(repeated, RecoverRun):
                continue
            self.pairs[pair(after, repeated)] += 1
            if decide(after, repeated) is not NOTHING:
                wrong(f"{repeated} is decided twice, the second time on {after}")
        self.pairs[pair(after, _NO_REASON)] += 1
        ended = machine.replay(after, decide(after, _NO_REASON).events)
        left = [step for step in ended.steps.values() if step.status is StepStatus.RUNNING]
        if not ended.status.ended or left:
            wrong(f"{_NO_REASON} does not end {after}")

    def add(self, other: "Coverage") -> None:
        """Take over what was met elsewhere."""
        self.worlds += other.worlds
        self.runs += other.runs
        self.pairs.update(other.pairs)
        self.ends.update(other.ends)

    def forget(self) -> None:
        """Forget the runs of a world that is over."""
        self._decided.clear()


# -- what there is --------------------------------------------------------------------------------

_POLICY = RetryPolicy(max_retries=2)
_TASK = TaskRef("t", None)


@cache
def reachable(*, rare: bool = False) -> frozenset[Pair]:
    """Walk through the machine; return every pair that can be met, probes included.

    Of what was decided before one command at a time is kept in mind, any of them: enough for pairs.
    With `rare`, also those of a run that is to end just when it was loaded, because it has crashed
    its actors: the machine is asked the same right after each decision.
    """
    found: set[Pair] = set()
    seen: set[object] = set()
    todo: deque[tuple[Run, tuple[Effect, ...], Command | None]] = deque()
    for on_unknown in ("resend", "fail"):
        todo.append((_new(on_unknown), (), None))
    while todo:
        run, effects, decided = todo.popleft()
        if (key := _key(run, effects, decided)) in seen:
            continue
        seen.add(key)
        if decided is not None:  # probes follow a decision
            found |= {pair(run, _NO_REASON), *_repeated(run, decided)}
        todo.extend((other, (), None) for other in _put_back(run))
        for command in _answers(effects) if effects else _begin(run, rare):
            found.add(pair(run, command))
            decision = decide(run, command)
            after = machine.replay(run, decision.events)
            kept = machine.replay(run, _until_start(decision).events)
            todo += [
                (after, decision.effects, command),
                (after, decision.effects, decided if effects else None),
                (after, (), None),  # its owner dies
                (kept, (), None),  # or drains
            ]
    return frozenset(found)


def _repeated(run: Run, command: Command) -> Iterable[Pair]:
    return () if isinstance(command, RecoverRun) else (pair(run, command),)


def _new(on_unknown: str) -> Run:
    steps = {
        name: {
            "id": name,
            "agent_name": "a",
            "next_step": following,
            "input_mapping": mapping,
            "on_unknown_outcome": on_unknown,
        }
        for name, following, mapping in (
            ("first", "second", {}),
            ("second", None, {"missing": "${first.output.perhaps}"}),
        )
    }
    data = {"start_step": "first", "steps": steps}
    definition = workflow.parse(WorkflowId(UUID(int=1)), 1, "k", "n", data, timedelta(hours=1))
    return Run(RunId(UUID(int=2)), Partition(0), definition, {}, RunStatus.PENDING, 1)


def _begin(run: Run, rare: bool) -> Iterable[Command]:  # noqa: FBT001
    """Yield what an actor begins with that was built from the rows (`RunActor._begin`)."""
    if run.status.ended:
        return
    if rare:
        yield _NO_REASON
    backing_off = [
        s for s in run.steps.values() if s.status is StepStatus.RUNNING and s.due_in is not None
    ]
    if run.status is RunStatus.PENDING:
        yield StartRun()
    elif not backing_off:
        yield RecoverRun()
    for step in backing_off:
        yield BackoffOver(step.path, step.attempt)
        yield DeadlineReached(step.path)


def _answers(effects: tuple[Effect, ...]) -> Iterable[Command]:
    """Yield what may come of effects."""
    for effect in effects:
        match effect:
            case CallAgent(path, attempt, _) | FollowTask(path, attempt, _):
                if isinstance(effect, CallAgent):
                    yield RecordTask(path, attempt, _TASK)
                for outcome in Outcome:
                    yield FailAttempt(path, attempt, Failure("f", outcome), _POLICY, 0.0)
                for output in (dict[str, int](), {"perhaps": 1}):
                    yield CompleteStep(path, attempt, output)
                yield DeadlineReached(path)
            case WaitBackoff(path, attempt, _):
                yield BackoffOver(path, attempt)
                yield DeadlineReached(path)
            case _:
                pass
    yield _NO_REASON


def _until_start(decision: Decision) -> Decision:
    """Return what a draining owner keeps of a decision."""
    events = decision.events
    starts = [index for index, event in enumerate(events) if isinstance(event, StepStarted)]
    return Decision(events[: starts[0]], ()) if starts else decision


def _put_back(run: Run) -> Iterable[Run]:
    """Yield what a retry makes of a run that failed, or was cancelled at this moment."""
    if run.status is RunStatus.COMPLETED or run.status is RunStatus.PENDING:
        return
    steps = {
        path: step
        if step.status is StepStatus.COMPLETED
        else StepExecution(path, StepStatus.PENDING, 0, step.message_no)
        for path, step in run.steps.items()
    }
    yield replace(run, status=RunStatus.PENDING, steps=steps, error=None)


def _key(run: Run, effects: tuple[Effect, ...], decided: Command | None) -> object:
    steps = tuple(
        (path, step_state(step), step.attempt, len(step.output or ()))
        for path, step in run.steps.items()
    )
    once = run.definition.steps["first"].on_unknown_outcome
    kept = decided and (pair(run, decided)[2], getattr(decided, "path", None))
    attempt = getattr(decided, "attempt", None)
    return run.status, steps, once, tuple(type(e).__name__ for e in effects), kept, attempt


def unmet(coverage: Coverage) -> frozenset[Pair]:
    return reachable() - coverage.pairs.keys()


def impossible(coverage: Coverage) -> frozenset[Pair]:
    """Return what was met though the walk does not find it."""
    return frozenset(coverage.pairs.keys() - reachable(rare=True))
