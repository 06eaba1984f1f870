"""A walk through the state machine: every question that can be put to it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from uuid import UUID

from orchestrator.domain import machine, workflow
from orchestrator.domain.agent import Asked, Failure, Outcome, TaskRef, WaitingFor
from orchestrator.domain.machine import decide
from orchestrator.domain.messages import (
    BackoffOver,
    CallAgent,
    Command,
    CompleteStep,
    DeadlineReached,
    Decision,
    Effect,
    FailAttempt,
    FindTask,
    FollowTask,
    LookAtTask,
    LookDue,
    Park,
    ParkStep,
    RecordTask,
    RecoverRun,
    SendAnswer,
    StartRun,
    StepStarted,
    WaitBackoff,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepStatus
from orchestrator.domain.term import Partition
from orchestrator.domain.workflow import WorkflowId
from tests.simulation.pairs import NO_REASON, Pair, pair, step_state

_POLICY = RetryPolicy(max_retries=2)
_TASK = TaskRef("t", None)
_OVER = timedelta(0)


@cache
def reachable(*, rare: bool = False) -> frozenset[Pair]:
    """Walk through the machine; return every pair that can be met, probes included.

    Of what was decided before one command at a time is kept in mind, any of them: enough for pairs.
    With `rare`, also those of a run that is to end just when it was loaded, because it has crashed
    its actors (the machine is asked the same right after each decision), and of one whose deadline
    is over in the moment that it parks.
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
            found |= {pair(run, NO_REASON), *_repeated(run, decided)}
        todo.extend((other, (), None) for other in (*_put_back(run), *_answered(run)))
        parked = any(isinstance(effect, Park) for effect in effects)
        # Its deadline may be over by then: a rare way for the actor to stay.
        same_life = bool(effects) and (rare or not parked)
        run, effects = (_later(run), ()) if parked else (run, effects)
        for command in _answers(effects) if effects else _begin(run, rare):
            found.add(pair(run, command))
            decision = decide(run, command)
            after = machine.replay(run, decision.events)
            parks = any(isinstance(effect, Park) for effect in decision.effects)
            kept = machine.replay(run, _until_start(decision).events)
            todo += [
                (after, decision.effects, command),
                (after, decision.effects, decided if same_life and not parks else None),
                (_later(after), (), None),  # its owner dies
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
        yield NO_REASON
    backing_off = [
        step
        for step in run.steps.values()
        if step.status is StepStatus.RUNNING
        and (step.due_in is not None or step.waiting_for is not None)
    ]
    waiting = [step for step in backing_off if step.waiting_for is not None]
    backing_off = [step for step in backing_off if step.waiting_for is None]
    if run.status is RunStatus.PENDING:
        yield StartRun()
    elif waiting:
        yield DeadlineReached(waiting[0].path)
        if waiting[0].due_in is not None:
            yield LookDue(waiting[0].path)
    elif not backing_off:
        yield RecoverRun()
    for step in backing_off:
        yield BackoffOver(step.path, step.attempt)
        yield DeadlineReached(step.path)


def _answers(effects: tuple[Effect, ...]) -> Iterable[Command]:
    """Yield what may come of effects."""
    for effect in effects:
        match effect:
            case (
                CallAgent(path=path, attempt=attempt)
                | FindTask(path=path, attempt=attempt)
                | FollowTask(path=path, attempt=attempt)
                | SendAnswer(path=path, attempt=attempt)
                | LookAtTask(path=path, attempt=attempt)
            ):
                if not isinstance(effect, FollowTask):
                    yield RecordTask(path, attempt, _TASK)
                for name, wanted in (("q", WaitingFor.INPUT), ("r", WaitingFor.AUTH)):
                    yield ParkStep(path, attempt, Asked(replace(_TASK, asked=name), wanted, None))
                for outcome in Outcome:
                    if isinstance(effect, LookAtTask) and outcome is Outcome.UNKNOWN:
                        continue  # then the task is said to wait as before
                    yield FailAttempt(path, attempt, Failure("f", outcome), _POLICY, 0.0)
                for output in (dict[str, int](), {"perhaps": 1}):
                    yield CompleteStep(path, attempt, output)
                yield DeadlineReached(path)
            case WaitBackoff(path, attempt, _):
                yield BackoffOver(path, attempt)
                yield DeadlineReached(path)
            case _:
                pass
    yield NO_REASON


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


def _answered(run: Run) -> Iterable[Run]:
    """Yield what an answer makes of a run with a step that waits."""
    for path, step in run.steps.items():
        if step.status is StepStatus.RUNNING and step.waiting_for is not None:
            answered = replace(
                step, waiting_for=None, attempt=0, due_in=_OVER, answer={}, waited=None
            )
            yield replace(run, steps={**run.steps, path: answered})


def _later(run: Run) -> Run:
    """Return a run that waits as it is when its task is to be looked at."""
    steps = {
        path: replace(step, due_in=_OVER)
        if step.waiting_for is not None and step.due_in is not None
        else step
        for path, step in run.steps.items()
    }
    return replace(run, steps=steps)


def _key(run: Run, effects: tuple[Effect, ...], decided: Command | None) -> object:
    steps = tuple(
        (path, step_state(step), step.attempt, len(step.output or ()))
        for path, step in run.steps.items()
    )
    once = run.definition.steps["first"].on_unknown_outcome
    kept = decided and (pair(run, decided)[2], getattr(decided, "path", None))
    attempt = getattr(decided, "attempt", None)
    return run.status, steps, once, tuple(type(e).__name__ for e in effects), kept, attempt
