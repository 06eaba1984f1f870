"""What a call says to its agent, and whether it may have been sent before."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.actors.run_actor import Left
from orchestrator.domain.agent import Call, Failure, InputAs, Outcome, Output
from orchestrator.domain.errors import CallFailed
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.run import RunStatus, StepExecution, StepPath, StepStatus
from tests.unit.actors.test_run_actor import RUN_ID, World, a_run

DONE = Output({"x": 1}, '{"x":1}', '[{"artifactId":"a"}]')


class Heard:
    """Answers as told, one answer a call; records the calls."""

    def __init__(self, *answers: Outcome | Output) -> None:
        self.calls: list[Call] = []
        self._answers = list(answers)

    async def __call__(self, call: Call) -> Output:
        self.calls.append(call)
        answer = self._answers.pop(0) if self._answers else DONE
        if isinstance(answer, Outcome):
            raise CallFailed(Failure("it broke", answer))
        return answer


async def test_a_step_says_how_its_input_goes() -> None:
    heard = Heard()
    fields: Any = {"prompt": "Count ${workflow.input.n:-7}!", "skill": "count", "input_as": "both"}

    await World(heard).actor(a_run(**fields)).live()

    one, two = heard.calls
    assert (one.prompt, one.skill, one.input_as) == ("Count 7!", "count", InputAs.BOTH)
    assert (two.prompt, two.skill, two.input_as) == (None, None, InputAs.AUTO)


@pytest.mark.parametrize(
    ("context", "sent"),
    [("run", f"run-{RUN_ID}"), ("step", f"run-{RUN_ID}.one"), ("none", None)],
)
async def test_a_step_says_who_shares_its_context(context: str, sent: str | None) -> None:
    heard = Heard()

    await World(heard).actor(a_run(context=context)).live()

    assert [call.context_id for call in heard.calls] == [sent, f"run-{RUN_ID}"]


async def test_a_prompt_with_nothing_behind_it_fails_the_step_before_anything_is_sent() -> None:
    heard = Heard()
    actor = World(heard).actor(a_run(prompt="Count ${workflow.input.n}!"))

    assert await actor.live() is Left.ENDED

    assert heard.calls == []
    assert actor.run.error == "Step 'one' failed: there is nothing behind ${workflow.input.n}"


@pytest.mark.parametrize(
    ("answers", "maybe_sent"),
    [
        ((), [False, False]),
        ((Outcome.TRANSIENT,), [False, False, False]),
        ((Outcome.UNKNOWN, Outcome.TRANSIENT), [False, True, False, False]),
    ],
)
async def test_a_message_that_may_have_arrived_is_known_as_such(
    answers: tuple[Any, ...], maybe_sent: list[bool]
) -> None:
    heard = Heard(*answers)

    await World(heard, RetryPolicy(3, 1, 1)).actor(a_run()).live()

    assert [call.maybe_sent for call in heard.calls] == maybe_sent


@pytest.mark.parametrize(("attempt", "due"), [(1, None), (2, None), (1, timedelta(0))])
async def test_what_another_owner_began_may_have_been_sent(
    attempt: int, due: timedelta | None
) -> None:
    heard = Heard()
    step = StepExecution(
        StepPath("one"), StepStatus.RUNNING, attempt, 1, due_in=due, input={"n": 1}
    )

    await World(heard).actor(a_run(RunStatus.RUNNING, step)).live()

    assert [call.maybe_sent for call in heard.calls] == [True, False]


async def test_the_artifacts_go_with_the_completion() -> None:
    world = World(Heard())

    await world.actor(a_run()).live()

    completions = [entry.artifacts for entry in world.entries]
    assert completions == [{}, {"one": DONE.artifacts}, {"two": DONE.artifacts}]
