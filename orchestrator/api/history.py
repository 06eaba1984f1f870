"""One event of a run's history, as /logs shows it: a fact, and the same as a sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator import json_text
from orchestrator.api import render
from orchestrator.store.history import HistoryRow

_Event = Mapping[str, Any]


def shown(row: HistoryRow) -> dict[str, Any]:
    """Return an item of /logs; an event nobody knows here is shown without a sentence."""
    event = json_text.loads(row.event)
    sentence = _SENTENCES.get(row.kind)
    return {
        "seq": row.seq,
        "timestamp": render.utc(row.at),
        "event": row.kind,
        "message": row.kind if sentence is None else sentence(event),
        "step_id": event.get("step_id"),
        "attempt": event.get("attempt"),
        "details": {k: v for k, v in event.items() if k not in ("kind", "step_id", "attempt")},
    }


def _started(event: _Event) -> str:
    return f"Step '{event.get('step_id')}' started, attempt {event.get('attempt')}"


def _attempt_failed(event: _Event) -> str:
    failed = f"Attempt {event.get('attempt')} of step '{event.get('step_id')}' failed"
    wait = event.get("delay_ms", 0) / 1000
    return f"{failed}: {event.get('cause')}; the next one in {wait:g} s"


def _task_recorded(event: _Event) -> str:
    return f"The agent works on step '{event.get('step_id')}' as task '{event.get('task_id')}'"


def _parked(event: _Event) -> str:
    wants = "a login" if event.get("waiting_for") == "auth" else "input"
    return f"Step '{event.get('step_id')}' waits: its agent asks for {wants}"


def _still_waiting(event: _Event) -> str:
    look = event.get("look_in_ms", 0) / 1000
    return f"The task of step '{event.get('step_id')}' is looked at, and again in {look:g} s"


def _step_failed(event: _Event) -> str:
    return f"Step '{event.get('step_id')}' failed: {event.get('cause')}"


def _cancelled(event: _Event) -> str:
    reason = event.get("reason")
    return "Cancelled" if not reason else f"Cancelled: {reason}"


_SENTENCES: Mapping[str, Callable[[_Event], str]] = {
    "RunCreated": lambda _: "Run created",
    "RunStarted": lambda _: "Run started",
    "RunTakenOver": lambda _: "Another executor went on with the run",
    "StepStarted": _started,
    "TaskRecorded": _task_recorded,
    "StepParked": _parked,
    "StillWaiting": _still_waiting,
    "InputGiven": lambda event: f"Input given to step '{event.get('step_id')}'",
    "AttemptFailed": _attempt_failed,
    "StepCompleted": lambda event: f"Step '{event.get('step_id')}' completed",
    "StepFailed": _step_failed,
    "RunCompleted": lambda _: "Run completed",
    "RunFailed": lambda event: f"Run failed: {event.get('cause')}",
    "RunCancelled": _cancelled,
    "RunRetried": lambda _: "Retry requested",
}
