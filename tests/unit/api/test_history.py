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
        ({"kind": "RunCancelled", "reason": None}, "Cancelled"),
        ({"kind": "RunFailed", "cause": "c"}, "Run failed: c"),
    ],
)
def test_an_event_reads_as_a_sentence(event: dict[str, object], sentence: str) -> None:
    assert history._SENTENCES[str(event["kind"])](event) == sentence
