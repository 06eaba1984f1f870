"""The run actor when the agent asks somebody something: how it leaves, and what brings it back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.actors.run_actor import Left, Phase
from orchestrator.domain.agent import Asked, Call, Failure, Outcome, Output, TaskRef, WaitingFor
from orchestrator.domain.errors import CallFailed, Stale
from orchestrator.domain.messages import StepFailed
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import Run, RunStatus, StepExecution, StepPath, StepStatus
from tests.unit.actors.test_run_actor import World, a_run, echo

ONE = StepPath("one")
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
TASK = TaskRef("t1", "c1", "q1")
INPUT, AUTH = WaitingFor.INPUT, WaitingFor.AUTH
LOADED = StepExecution(
    ONE,
    StepStatus.RUNNING,
    1,
    1,
    TASK,
    deadline_in=HOUR,
    input={"n": 1},
    waiting_for=INPUT,
    waited=timedelta(0),
)


def loaded(**changes: Any) -> Run:
    """Return a run as it is loaded whose first step waits."""
    return a_run(RunStatus.RUNNING, replace(LOADED, **changes))


def given(**answer: Any) -> dict[str, Any]:
    """Return what an answer in the database changes."""
    return {
        "waiting_for": None,
        "waited": None,
        "due_in": timedelta(0),
        "attempt": 0,
        "message_no": 2,
        "answer": answer,
    }


def asking(waiting_for: WaitingFor = INPUT) -> Any:
    async def ask(_: object) -> Asked:
        return Asked(TASK, waiting_for, {"text": "which?", "parts": []})

    return ask


@pytest.mark.parametrize("waiting_for", WaitingFor)
async def test_a_question_is_stored_and_the_actor_leaves(waiting_for: WaitingFor) -> None:
    world = World(asking(waiting_for))
    actor = world.actor(a_run())

    assert await actor.live() is Left.PARKED

    assert world.done[2:] == ['call one 1 {"n":1}', "StepParked"]
    assert world.entries[-1].texts == ('{"text":"which?","parts":[]}',)
    assert actor.run.steps[ONE].waiting_for is waiting_for
    assert actor.parked_for is not None
    at_most = HOUR if waiting_for is INPUT else 5 * SECOND
    assert at_most - 2 * SECOND < actor.parked_for <= at_most


async def test_a_task_that_asks_while_it_is_followed_parks_too() -> None:
    async def task(_: Call) -> TaskRef:
        return TaskRef("t1", "c1")

    world = World(task)
    world.follow = asking()

    assert await world.actor(a_run()).live() is Left.PARKED
    assert world.done[3:] == ["TaskRecorded", "follow t1", "StepParked"]


@pytest.mark.parametrize("due_in", [None, 3 * SECOND, 2 * HOUR])
async def test_a_run_that_waits_is_left_alone_by_whoever_loads_it(due_in: timedelta | None) -> None:
    world = World(echo)
    actor = world.actor(loaded(due_in=due_in, waiting_for=AUTH if due_in else INPUT))

    assert await actor.live() is Left.PARKED

    assert world.done == []
    assert actor.parked_for is not None
    assert actor.parked_for <= min(due_in or HOUR, HOUR)


async def test_a_wait_without_a_deadline_has_no_time_to_come_back() -> None:
    actor = World(echo).actor(loaded(deadline_in=None))

    assert await actor.live() is Left.PARKED
    assert actor.parked_for is None


async def test_a_step_that_waited_too_long_times_out_and_its_task_is_cancelled() -> None:
    world = World(echo)
    actor = world.actor(loaded(deadline_in=-SECOND))

    assert await actor.live() is Left.ENDED

    (failed, _) = world.entries[-1].decision.events
    assert isinstance(failed, StepFailed)
    assert failed.cancel_task
    assert actor.run.error == "Step 'one' failed: timed out after 3600000 ms"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"text": "blue"}, "None blue"),
        ({"input_data": {"colour": "blue"}}, '{"colour":"blue"} None'),
        ({"input_data": {}, "text": "blue"}, "{} blue"),
    ],
)
async def test_an_answer_is_sent_once_its_attempt_is_durable(
    answer: dict[str, Any], said: str
) -> None:
    world = World(echo)

    assert await world.actor(loaded(**given(**answer))).live() is Left.ENDED

    assert world.done[:3] == ["StepStarted", f"answer 2 t1 {said}", "StepCompleted"]


async def test_an_answer_to_a_task_of_unknown_context_goes_into_the_runs() -> None:
    world = World(echo)
    run = loaded(**given(text="blue"), task=TaskRef("t1", None, "q1"))

    assert await world.actor(run).live() is Left.ENDED


async def test_an_answer_that_fails_is_sent_again_as_the_answer_it_is() -> None:
    answers: list[Any] = [CallFailed(Failure("cut", Outcome.UNKNOWN))]

    async def answer(call: Call) -> Output:
        if answers:
            raise answers.pop()
        return await echo(call)

    world = World(answer, RetryPolicy(1, 1, 1))

    assert await world.actor(loaded(**given(text="blue"))).live() is Left.ENDED

    sent = "answer 2 t1 None blue"
    assert world.done[:6] == [
        "StepStarted",
        sent,
        "AttemptFailed",
        "StepStarted",
        sent,
        "StepCompleted",
    ]


async def test_a_crash_while_an_answer_is_out_sends_it_again() -> None:
    world = World(echo)
    out = given(text="blue") | {"due_in": None, "attempt": 1}

    await world.actor(loaded(**out)).live()

    assert world.done[:2] == ["RunTakenOver", "answer 2 t1 None blue"]


async def test_a_draining_process_leaves_an_answer_to_the_next_owner() -> None:
    world = World(echo)
    world.draining = True
    out = given(text="blue")

    assert await world.actor(loaded(**out)).live() is Left.HELD
    assert world.done == []


async def test_nothing_is_sent_to_a_task_whose_run_was_cancelled_meanwhile() -> None:
    world = World(echo)
    actor = world.actor(loaded(**given(text="blue")))

    async def answer(_: Call) -> Output:
        assert actor.phase is Phase.SENDING
        actor.doomed = True
        world.refusals = {1: Stale("cancelled")}
        return await echo(_)

    world._answer = answer
    with pytest.raises(Stale):
        await actor.live()


async def test_a_question_that_comes_after_a_cancel_leaves_its_task_to_be_cancelled() -> None:
    world = World(echo)
    actor = world.actor(a_run())

    async def ask(_: Call) -> Asked:
        actor.doomed = True
        world.refusals = {1: Stale("cancelled")}
        return Asked(TASK, INPUT, {})

    world._answer = ask
    with pytest.raises(Stale):
        await actor.live()
    assert world.learned == [TASK]


# -- a login that somebody makes elsewhere --------------------------------------------------------

DUE = {"waiting_for": AUTH, "due_in": -SECOND, "waited": 60 * SECOND}


async def test_a_look_that_is_due_is_put_off_first_and_then_made() -> None:
    world = World(echo)

    async def nothing_new(_: TaskRef) -> None:
        return None

    world.look = nothing_new
    actor = world.actor(loaded(**DUE))

    assert await actor.live() is Left.PARKED

    assert world.done == ["StillWaiting", "look t1"]
    assert actor.parked_for == 30 * SECOND


async def test_a_task_that_went_on_is_followed_to_its_end() -> None:
    async def goes_on(task: TaskRef) -> TaskRef:
        return task

    world = World(echo)
    world.look, world.follow = goes_on, echo

    assert await world.actor(loaded(**DUE)).live() is Left.ENDED
    assert world.done[1:5] == ["look t1", "TaskRecorded", "follow t1", "StepCompleted"]


async def test_a_task_that_ended_meanwhile_ends_the_step() -> None:
    async def lost(_: TaskRef) -> Any:
        raise CallFailed(Failure("rejected the task", Outcome.FINAL))

    done, failed = World(echo), World(echo)
    done.look, failed.look = echo, lost

    await done.actor(loaded(**DUE)).live()
    await failed.actor(loaded(**DUE)).live()

    assert done.done[1:3] == ["look t1", "StepCompleted"]
    assert failed.done[1:] == ["look t1", "StepFailed", "RunFailed"]


async def test_a_task_that_asks_for_something_else_parks_anew() -> None:
    async def other(_: TaskRef) -> Asked:
        return Asked(replace(TASK, asked="q2"), INPUT, {"text": "and now?"})

    world = World(echo)
    world.look = other
    actor = world.actor(loaded(**DUE))

    assert await actor.live() is Left.PARKED
    assert world.done[1:] == ["look t1", "StepParked"]
    assert actor.run.steps[ONE].waiting_for is INPUT
