"""The run actor against plain functions: what it journals, when it calls, how it leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from orchestrator.actors.ports import Limits, Ports
from orchestrator.actors.run_actor import Left, Phase, RunActor
from orchestrator.domain import workflow
from orchestrator.domain.agent import (
    Agent,
    AgentId,
    AgentStatus,
    Asked,
    AuthType,
    Call,
    Failure,
    Outcome,
    Output,
    TaskRef,
)
from orchestrator.domain.errors import CallFailed, Misconfigured, Poisoned, Stale, Unavailable
from orchestrator.domain.journal_entry import Entry
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunId, RunStatus, StepExecution, StepPath, StepStatus
from orchestrator.domain.term import Partition, Term
from orchestrator.domain.workflow import WorkflowId
from orchestrator.telemetry.metrics import Metrics

RUN_ID = RunId(UUID("01931f3e-0000-7000-8000-000000000001"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
IN_CALL = StepExecution(StepPath("one"), StepStatus.RUNNING, 1, 3, input={"n": 1})
Answer = Callable[[Call], Awaitable[Output | TaskRef | Asked]]


def definition(**step: Any) -> workflow.WorkflowDefinition:
    steps: dict[str, dict[str, Any]] = {
        "one": {"id": "one", "agent_name": "a", "next_step": "two", "input_mapping": {"n": 1}},
        "two": {
            "id": "two",
            "agent_name": "a",
            "next_step": None,
            "input_mapping": {"from": "${one.output.x}"},
        },
    }
    steps["one"] |= step
    data = {"start_step": "one", "steps": steps}
    return workflow.parse(WorkflowId(RUN_ID), 1, "wf-a-001", "a", data, timedelta(hours=1))


def a_run(status: RunStatus = RunStatus.PENDING, *steps: StepExecution, **step: Any) -> Run:
    return Run(RUN_ID, Partition(0), definition(**step), {}, status, 1, {s.path: s for s in steps})


def agent(retry: RetryPolicy) -> Agent:
    return Agent(
        AgentId(RUN_ID),
        "a",
        "http://127.0.0.1:1",
        None,
        AuthType.NONE,
        {},
        timedelta(seconds=1),
        retry,
        AgentStatus.ACTIVE,
        NOW,
        NOW,
    )


class World:
    """Records what an actor does, in order; refuses the writes it is told to."""

    def __init__(self, answer: Answer, retry: RetryPolicy | None = None) -> None:
        self.done: list[str] = []
        self.entries: list[Entry] = []
        self.learned: list[TaskRef] = []
        self.found: TaskRef | None = None
        self.draining = False
        self.refusals: dict[int, Exception] = {}
        self.known_agent: Agent | None = agent(retry or RetryPolicy(0))
        self.follow: Callable[[TaskRef], Awaitable[Output | Asked]] = _never
        self.look: Callable[[TaskRef], Awaitable[Output | TaskRef | Asked | None]] = _never
        self._answer = answer

    async def write(self, entry: Entry, term: Term) -> None:
        assert term.epoch == 7
        if (refusal := self.refusals.pop(len(self.entries), None)) is not None:
            self.entries.append(entry)
            raise refusal
        self.entries.append(entry)
        self.done += [type(event).__name__ for event in entry.decision.events]

    async def send(self, _: Agent, call: Call) -> Output | TaskRef | Asked:
        self.done.append(f"call {call.step} {call.message_id[-1]} {call.input}")
        return await self._answer(call)

    async def agent(self, _: str) -> Agent | None:
        return self.known_agent

    async def following(self, _: Agent, task: TaskRef) -> Output | Asked:
        self.done.append(f"follow {task.task_id}")
        return await self.follow(task)

    async def answering(self, _: Agent, call: Call, task: TaskRef) -> Any:
        self.done.append(f"answer {call.message_id[-1]} {task.task_id} {call.input} {call.text}")
        assert (call.task_id, call.context_id) == (task.task_id, task.context_id or call.run)
        return await self._answer(call)

    async def looking(self, _: Agent, task: TaskRef) -> Any:
        self.done.append(f"look {task.task_id}")
        return await self.look(task)

    async def finding(self, _: Agent, call: Call) -> TaskRef | None:
        self.done.append(f"find {call.message_id}")
        return self.found

    async def learn(self, _: RunId, message_id: str, task: TaskRef) -> None:
        assert message_id == f"run-{RUN_ID}.one.1"
        self.learned.append(task)

    def actor(self, run: Run, **limits: Any) -> RunActor:
        unused: Any = _never
        ports = Ports(
            write=self.write,
            send=self.send,
            agent=self.agent,
            follow=self.following,
            learn_task=self.learn,
            load=unused,
            fail_corrupt=unused,
            scan=unused,
            claim=unused,
            confirm=unused,
            release=unused,
            cancel=unused,
            open_cancellations=unused,
            settle_cancellation=unused,
            postpone_cancellation=unused,
            answer=self.answering,
            look=self.looking,
            find=self.finding,
        )
        values: dict[str, Any] = {
            "max_active_runs": 1,
            "scan_interval": timedelta(seconds=1),
            "park_after": timedelta(seconds=5),
            "shutdown_grace": timedelta(seconds=1),
        }
        return RunActor(
            run,
            Term(Partition(0), 7),
            ports=ports,
            limits=Limits(**(values | limits)),
            metrics=Metrics("1"),
            draining=lambda: self.draining,
            loop=asyncio.get_running_loop(),
        )


async def _never(*_: Any) -> Any:
    raise AssertionError("not to be called")


async def echo(_: object) -> Output:
    return Output({"x": 5}, '{"x":5}')


async def test_a_start_is_journaled_before_its_call_and_the_completion_before_the_next() -> None:
    world = World(echo)

    left = await world.actor(a_run()).live()

    assert left is Left.ENDED
    assert world.done == [
        "RunStarted",
        "StepStarted",
        'call one 1 {"n":1}',
        "StepCompleted",
        "StepStarted",
        'call two 1 {"from":5}',
        "StepCompleted",
        "RunCompleted",
    ]
    assert world.entries[0].texts == (None, '{"n":1}')
    assert world.entries[1].texts == ('{"x":5}', '{"from":5}')


async def test_a_task_is_durable_before_it_is_followed() -> None:
    async def task(_: Call) -> TaskRef:
        return TaskRef("t1", "c1")

    world = World(task)
    world.follow = echo

    await world.actor(a_run()).live()

    assert world.done[3:6] == ["TaskRecorded", "follow t1", "StepCompleted"]


async def test_a_recovered_task_is_followed_and_not_sent_again() -> None:
    step = StepExecution(StepPath("one"), StepStatus.RUNNING, 1, 1, TaskRef("t9", None), input={})
    world = World(echo)
    world.follow = echo

    await world.actor(a_run(RunStatus.RUNNING, step)).live()

    assert world.done[:3] == ["RunTakenOver", "follow t9", "StepCompleted"]


async def test_a_message_not_to_be_sent_again_is_asked_for_and_its_task_followed() -> None:
    world = World(echo)
    world.found, world.follow = TaskRef("t7", None), echo

    await world.actor(a_run(RunStatus.RUNNING, IN_CALL, on_unknown_outcome="fail")).live()

    assert world.done[:5] == [
        "RunTakenOver",
        f"find run-{RUN_ID}.one.3",
        "TaskRecorded",
        "follow t7",
        "StepCompleted",
    ]


async def test_a_message_not_to_be_sent_again_that_no_agent_knows_ends_its_step() -> None:
    world = World(echo)
    actor = world.actor(a_run(RunStatus.RUNNING, IN_CALL, on_unknown_outcome="fail"))

    await actor.live()

    cause = "the outcome of its call is unknown, and it is not to be sent again"
    assert actor.run.error == f"Step 'one' failed: {cause}"
    assert world.done == ["RunTakenOver", f"find run-{RUN_ID}.one.3", "StepFailed", "RunFailed"]
    assert world.entries[-1].decision.events[0].cancel_task  # type: ignore[union-attr]


@pytest.mark.parametrize("arrived", [True, False])
async def test_an_answer_not_to_be_sent_again_arrived_if_its_task_moved(*, arrived: bool) -> None:
    step = replace(IN_CALL, task=TaskRef("t1", None, "q1"), answer={"text": "yes"})
    world = World(echo)
    world.follow = echo

    async def look(_: TaskRef) -> TaskRef | None:
        return TaskRef("t1", None) if arrived else None

    world.look = look
    actor = world.actor(a_run(RunStatus.RUNNING, step, on_unknown_outcome="fail"))

    await actor.live()

    then = ["TaskRecorded", "follow t1"] if arrived else ["StepFailed", "RunFailed"]
    assert world.done[:4] == ["RunTakenOver", "look t1", *then]


async def test_a_drained_process_leaves_the_asking_to_the_next_owner() -> None:
    world = World(echo)
    world.draining = True

    left = await world.actor(a_run(RunStatus.RUNNING, IN_CALL, on_unknown_outcome="fail")).live()

    assert left is Left.HELD
    assert world.done == ["RunTakenOver"]


async def test_draining_records_what_is_over_and_leaves_the_next_step() -> None:
    world = World(echo)

    async def answer(call: Call) -> Output:
        world.draining = True
        return await echo(call)

    world._answer = answer
    actor = world.actor(a_run())

    left = await actor.live()

    assert left is Left.HELD
    assert world.done[2:] == ['call one 1 {"n":1}', "StepCompleted"]
    assert actor.run.steps[StepPath("one")].status is StepStatus.COMPLETED
    assert not actor.run.status.ended


async def test_a_long_wait_parks_the_run_and_a_short_one_does_not() -> None:
    async def fail(_: Call) -> Output:
        raise CallFailed(Failure("busy", Outcome.TRANSIENT))

    world = World(fail, RetryPolicy(1, 100_000, 100_000))
    long = world.actor(a_run())
    left = await long.live()
    assert left is Left.PARKED
    assert long.parked_for is not None
    assert long.parked_for > timedelta(seconds=49)

    world = World(fail, RetryPolicy(1, 1, 1))
    assert await world.actor(a_run()).live() is Left.ENDED
    assert [d for d in world.done if d.startswith("call")] == [
        'call one 1 {"n":1}',
        'call one 2 {"n":1}',
    ]


async def test_a_run_loaded_in_its_backoff_waits_for_the_rest_and_is_no_takeover() -> None:
    step = StepExecution(
        StepPath("one"), StepStatus.RUNNING, 1, 2, due_in=timedelta(0), input={"n": 1}
    )
    world = World(echo)

    await world.actor(a_run(RunStatus.RUNNING, step)).live()

    assert world.done[:2] == ["StepStarted", 'call one 2 {"n":1}']


async def test_a_run_loaded_after_its_backoff_and_its_deadline_is_over_and_calls_nobody() -> None:
    over = timedelta(seconds=-1)
    step = StepExecution(
        StepPath("one"), StepStatus.RUNNING, 1, 2, due_in=2 * over, deadline_in=over, input={}
    )
    world = World(echo)
    actor = world.actor(a_run(RunStatus.RUNNING, step))

    await actor.live()

    assert world.done == ["StepFailed", "RunFailed"]


async def test_the_steps_timeout_ends_a_call_that_hangs() -> None:
    async def hang(_: Call) -> Output:
        await asyncio.Event().wait()
        raise AssertionError

    world = World(hang)
    actor = world.actor(a_run(timeout_ms=20))

    await actor.live()

    assert actor.run.error == "Step 'one' failed: timed out after 20 ms"
    assert world.entries[-1].decision.events[0].cancel_task  # type: ignore[union-attr]


async def test_a_value_that_cannot_be_stored_fails_the_run_with_the_reason() -> None:
    world = World(echo)
    world.refusals = {1: Poisoned("invalid value")}
    actor = world.actor(a_run())

    await actor.live()

    assert actor.run.status is RunStatus.FAILED
    assert actor.run.error == "a value cannot be stored: invalid value"


async def test_a_failure_that_cannot_be_stored_either_is_raised() -> None:
    world = World(echo)
    world.refusals = {1: Poisoned("invalid value"), 2: Poisoned("again")}

    with pytest.raises(Poisoned):
        await world.actor(a_run()).live()


async def test_rows_that_moved_end_the_actor() -> None:
    world = World(echo)
    world.refusals = {1: Stale("moved")}

    with pytest.raises(Stale):
        await world.actor(a_run()).live()


async def test_nothing_is_sent_by_an_actor_that_was_doomed_while_it_wrote() -> None:
    world = World(echo)
    actor = world.actor(a_run())
    write = world.write

    async def doomed(entry: Entry, term: Term) -> None:
        assert actor.phase is Phase.WRITING
        actor.doomed = True
        await write(entry, term)

    object.__setattr__(actor._ports, "write", doomed)

    assert await actor.live() is Left.DOOMED
    assert world.done == ["RunStarted", "StepStarted"]


async def test_a_doomed_call_that_learns_its_task_leaves_it_to_be_cancelled() -> None:
    world = World(echo)
    actor = world.actor(a_run())

    async def task(_: Call) -> TaskRef:
        assert actor.phase is Phase.SENDING
        actor.doomed = True
        world.refusals = {1: Stale("cancelled")}
        return TaskRef("t1", None)

    world._answer = task

    with pytest.raises(Stale):
        await actor.live()
    assert world.learned == [TaskRef("t1", None)]


async def test_a_task_to_be_cancelled_is_noted_once_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.actors.run_actor._DATABASE_PAUSE_S", 0.0)
    world = World(echo)
    actor = world.actor(a_run())
    away = [Unavailable("away"), Unavailable("still away")]

    async def task(_: Call) -> TaskRef:
        actor.doomed = True
        world.refusals = {1: Stale("cancelled")}
        return TaskRef("t1", None)

    async def learn(run_id: RunId, message_id: str, learned: TaskRef) -> None:
        if away:
            raise away.pop()
        await world.learn(run_id, message_id, learned)

    world._answer = task
    object.__setattr__(actor._ports, "learn_task", learn)

    with pytest.raises(Stale):
        await actor.live()
    assert world.learned == [TaskRef("t1", None)]


async def test_an_agent_that_is_gone_fails_the_step_before_any_call() -> None:
    world = World(echo)
    world.known_agent = None
    actor = world.actor(a_run())

    await actor.live()

    assert actor.run.error == "Step 'one' failed: Agent 'a' not found or inactive"


async def test_secrets_that_do_not_open_fail_the_step_with_the_reason() -> None:
    world = World(echo)
    actor = world.actor(a_run())

    async def look_up(_: str) -> Agent | None:
        raise Misconfigured("sealed with another key")

    object.__setattr__(actor._ports, "agent", look_up)
    await actor.live()

    assert actor.run.error == "Step 'one' failed: sealed with another key"
    assert not any(done.startswith("call") for done in world.done)


async def test_an_agent_is_looked_up_again_once_the_database_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.actors.run_actor._DATABASE_PAUSE_S", 0.0)
    world = World(echo)
    away = [Unavailable("away")]

    async def look_up(_: str) -> Agent | None:
        if away:
            raise away.pop()
        return world.known_agent

    actor = world.actor(a_run())
    object.__setattr__(actor._ports, "agent", look_up)

    assert await actor.live() is Left.ENDED
    assert actor.run.status is RunStatus.COMPLETED
