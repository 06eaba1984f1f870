"""Each event of a run's history has a sentence."""

from typing import get_args

import pytest

from orchestrator.api import history
from orchestrator.domain import messages


@pytest.mark.parametrize("kind", [event.__name__ for event in get_args(messages.Event)])
def test_every_event_of_the_state_machine_has_a_sentence(kind: str) -> None:
    assert kind in history._SENTENCES


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({"kind": "StepStarted", "step_id": "x", "attempt": 2}, "Step 'x' started, attempt 2"),
        (
            {"kind": "AttemptFailed", "step_id": "x", "attempt": 1, "cause": "c", "delay_ms": 1500},
            "Attempt 1 of step 'x' failed: c; the next one in 1.5 s",
        ),
        ({"kind": "RunCancelled", "reason": "why"}, "Cancelled: why"),
        (
            {"kind": "StepParked", "step_id": "x", "waiting_for": "input"},
            "Step 'x' waits: its agent asks for input",
        ),
        (
            {"kind": "StepParked", "step_id": "x", "waiting_for": "auth"},
            "Step 'x' waits: its agent asks for a login",
        ),
        (
            {"kind": "StillWaiting", "step_id": "x", "look_in_ms": 7500},
            "The task of step 'x' is looked at, and again in 7.5 s",
        ),
        ({"kind": "InputGiven", "step_id": "x"}, "Input given to step 'x'"),
        ({"kind": "RunCancelled", "reason": None}, "Cancelled"),
        ({"kind": "RunFailed", "cause": "c"}, "Run failed: c"),
    ],
)
def test_an_event_reads_as_a_sentence(event: dict[str, object], sentence: str) -> None:
    assert history._SENTENCES[str(event["kind"])](event) == sentence
