"""The judge of the fault bench is content with what is right, and finds what is not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.faults import oracle
from bench.faults.evidence import Accepted, Asked, Call, Event, Evidence, Ledger, Run, Shown, Step

RUN = "run-1"
STEPS = ("extract", "load")
MAX_ATTEMPTS = 4


def history(*kinds: tuple[Any, ...]) -> list[Event]:
    """Return events a second apart, from (kind, step, attempt, delay)."""
    events = []
    for seq, (kind, *more) in enumerate(kinds, 1):
        step, attempt, delay = (*more, None, 0, 0.0)[:3] if len(more) < 3 else more
        epoch = 0 if kind in {"RunCreated", "RunCancelled", "RunRetried"} else 1
        events.append(Event(seq, kind, 100.0 + seq, epoch, step, attempt or 0, delay or 0.0))
    return events


CREATED, STARTED, OVER = ("RunCreated",), ("RunStarted",), ("RunCompleted",)
EXTRACT = ("StepStarted", "extract", 1)
EXTRACTED = ("StepCompleted", "extract", 1)
LOAD = ("StepStarted", "load", 1)
LOADED = ("StepCompleted", "load", 1)
WELL = (CREATED, STARTED, EXTRACT, EXTRACTED, LOAD, LOADED, OVER)
AGAIN = (("StepStarted", "extract", 2), ("StepCompleted", "extract", 2), LOAD, LOADED, OVER)


def call(step: str, at: float, number: int = 1, attempt: int = 1, how: str = "answered") -> Call:
    return Call(RUN, step, f"{RUN}.{step}.{number}", attempt, at, how, f"{step}-{number}")


def evidence(
    kinds: Sequence[tuple[Any, ...]] = WELL,
    calls: Sequence[Call] = (call("extract", 103.1), call("load", 105.1)),
    status: str = "COMPLETED",
    **more: Any,
) -> Evidence:
    """Return what is known of one run; `more` replaces a part of it."""
    events = history(*kinds)
    given = {"extract": None, "load": "extract-1"}
    steps = {
        step: Step(step, "COMPLETED", 1, {"before": given[step]}, {"nonce": f"{step}-1"})
        for step in STEPS
        if any(e.kind == "StepCompleted" and e.step == step for e in events)
    }
    run = Run(RUN, status, len(events), 110.0, None, events, steps)
    shown = Shown(
        status,
        {step: "COMPLETED" if step in steps else "SKIPPED" for step in STEPS},
        [(event.seq, event.kind) for event in events],
    )
    found = Evidence(
        ledger=Ledger(accepted=[Accepted(RUN, 1.0, 2.0, None)]),
        runs={RUN: run},
        shown={RUN: shown},
        calls=calls,
        keys={},
        totals={status: 1},
        counted={status: 1.0} if status == "COMPLETED" else None,
        steps=STEPS,
        max_attempts=MAX_ATTEMPTS,
        may_fail=False,
        paused=False,
    )
    return replace(found, **more)


def broken(found: Evidence) -> set[int]:
    return {violation.invariant for violation in oracle.judge(found)}


def test_a_run_that_went_well_breaks_nothing() -> None:
    found = evidence()

    assert oracle.judge(found) == []
    assert (oracle.lost(found), oracle.doubled(found)) == (0, 0)


def test_a_cancel_a_retry_and_a_takeover_break_nothing() -> None:
    before = (CREATED, STARTED, EXTRACT, ("RunTakenOver",), ("RunCancelled",), ("RunRetried",))
    kinds: tuple[tuple[Any, ...], ...] = (*before, *WELL[1:])
    calls = [call("extract", 103.1), call("extract", 104.1), call("extract", 108.1, number=2)]
    asked = [Asked(RUN, "cancel", 200), Asked(RUN, "retry", 202), Asked(RUN, "cancel", 400)]
    found = evidence(kinds, [*calls, call("load", 110.1)], counted=None)
    found.ledger.asked += asked
    run = found.runs[RUN]
    steps = dict(run.steps)
    steps["extract"] = replace(steps["extract"], output={"nonce": "extract-2"})
    steps["load"] = replace(steps["load"], input={"before": "extract-2"})

    found = replace(found, runs={RUN: replace(run, steps=steps)})

    assert oracle.judge(found) == []
    assert oracle.doubled(found) == 1


def test_a_failed_attempt_that_is_repeated_breaks_nothing() -> None:
    calls = [call("extract", 103.1, how="unknown"), call("extract", 105.1, attempt=2)]
    kinds = (CREATED, STARTED, EXTRACT, ("AttemptFailed", "extract", 1, 0.5), *AGAIN)

    assert broken(evidence(kinds, [*calls, call("load", 107.1)])) == set()


HISTORIES = {
    "ended twice": (1, (*WELL, ("RunFailed",))),
    "completed without a step": (1, (CREATED, STARTED, EXTRACT, EXTRACTED, OVER)),
    "retried while it ran": (1, (CREATED, STARTED, ("RunRetried",), *WELL[1:])),
    "a step after the cancel": (
        2,
        (CREATED, STARTED, EXTRACT, ("RunCancelled",), EXTRACTED, LOAD, LOADED, OVER),
    ),
    "a step before its predecessor": (
        2,
        (CREATED, STARTED, LOAD, LOADED, EXTRACT, EXTRACTED, OVER),
    ),
    "two steps at a time": (2, (CREATED, STARTED, EXTRACT, LOAD, EXTRACTED, LOADED, OVER)),
    "a completed step started anew": (3, (*WELL[:4], EXTRACT, EXTRACTED, *WELL[4:])),
    "completed twice": (3, (*WELL[:4], EXTRACTED, *WELL[4:])),
    "an attempt left out": (5, (CREATED, STARTED, ("StepStarted", "extract", 2), *WELL[3:])),
    "retried too early": (
        5,
        (CREATED, STARTED, EXTRACT, ("AttemptFailed", "extract", 1, 2.0), *AGAIN),
    ),
    "an attempt too many": (
        5,
        (
            CREATED,
            STARTED,
            *(
                event
                for n in range(1, MAX_ATTEMPTS + 1)
                for event in (("StepStarted", "extract", n), ("AttemptFailed", "extract", n, 0.0))
            ),
            ("StepStarted", "extract", MAX_ATTEMPTS + 1),
            ("StepCompleted", "extract", MAX_ATTEMPTS + 1),
            LOAD,
            LOADED,
            OVER,
        ),
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_wrong_history_is_found(name: str) -> None:
    invariant, kinds = HISTORIES[name]

    assert invariant in broken(evidence(kinds))


def test_an_old_owners_write_is_found() -> None:
    found = evidence()
    run = found.runs[RUN]
    events = [replace(e, epoch=2) if e.seq == 3 else e for e in run.events]

    assert broken(replace(found, runs={RUN: replace(run, events=events)})) == {3}


CALLS = {
    "unexplained": (4, [call("extract", 103.1), call("extract", 103.2), call("load", 105.1)]),
    "before its start": (2, [call("extract", 102.5), call("load", 105.1)]),
    "after it completed": (3, [call("extract", 106.0), call("load", 105.1)]),
    "for too high an attempt": (5, [call("extract", 103.1, attempt=5), call("load", 105.1)]),
    "of a step that has no row": (2, [call("extract", 103.1), call("load", 105.1), call("x", 106)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_found(name: str) -> None:
    invariant, calls = CALLS[name]

    assert invariant in broken(evidence(calls=calls))


@pytest.mark.parametrize(
    ("how", "number"), [("refused", 1), ("answered", 1), ("unknown", 2)], ids=str
)
def test_a_message_id_that_does_not_follow_the_outcome_is_found(how: str, number: int) -> None:
    kinds = (CREATED, STARTED, EXTRACT, ("AttemptFailed", "extract", 1, 0.5), *AGAIN)
    second = replace(call("extract", 105.1, number, attempt=2), nonce="extract-1")
    calls = [replace(call("extract", 103.1, how=how), nonce="x"), second, call("load", 107.1)]

    assert broken(evidence(kinds, calls)) == {4}
    heard_too_late = how == "answered" and number == 1
    assert broken(evidence(kinds, calls, paused=True)) == (set() if heard_too_late else {4})


def test_a_call_repeated_after_a_takeover_under_another_id_is_found() -> None:
    kinds = (CREATED, STARTED, EXTRACT, ("RunTakenOver",), *WELL[3:])
    calls = [call("extract", 103.1), call("extract", 104.1, number=2), call("load", 106.1)]

    assert broken(evidence(kinds, calls)) == {4}


def test_a_result_that_nobody_gave_is_found() -> None:
    calls = [replace(call("extract", 103.1), nonce="another"), call("load", 105.1)]

    assert broken(evidence(calls=calls)) == {3}


def test_a_run_that_is_gone_or_does_not_end_is_found_and_counted() -> None:
    found = evidence()
    found.ledger.accepted.append(Accepted("run-2", 3.0, 4.0, None))
    forever = evidence((CREATED, STARTED), [], "RUNNING")

    assert (broken(found), oracle.lost(found)) == ({1}, 1)
    assert (broken(forever), oracle.lost(forever)) == ({1}, 1)


def test_a_run_that_failed_is_wrong_unless_its_agents_made_it_fail() -> None:
    kinds = (CREATED, STARTED, EXTRACT, ("StepFailed", "extract", 1), ("RunFailed",))
    found = evidence(kinds, [call("extract", 103.1, how="refused")], "FAILED")

    assert broken(found) == {1}
    assert broken(replace(found, may_fail=True)) == set()


def test_a_cancel_that_was_answered_and_did_not_happen_is_found() -> None:
    found = evidence()
    found.ledger.asked.append(Asked(RUN, "cancel", 200))

    assert broken(found) == {1}


def test_a_key_with_two_runs_is_found() -> None:
    assert broken(evidence(keys={"k": [RUN, "run-2"]})) == {1}


def test_an_id_that_is_out_of_order_is_found() -> None:
    found = evidence()
    found.ledger.accepted[:] = [
        Accepted("run-9", 0.1, 0.2, None),
        Accepted(RUN, 1.0, 2.0, None),
    ]

    assert 6 in broken(found)


def test_a_history_with_a_gap_and_totals_that_differ_are_found() -> None:
    found = evidence()
    run, shown = found.runs[RUN], found.shown[RUN]
    cut = replace(shown, logs=[*shown.logs[:2], *shown.logs[3:]])

    assert broken(replace(found, runs={RUN: replace(run, gaps=["seq 4 follows 2"])})) == {6}
    assert broken(replace(found, shown={RUN: cut})) == {6}
    assert broken(replace(found, totals={"COMPLETED": 2})) == {6}
    assert broken(replace(found, counted={"COMPLETED": 2.0})) == {6}
    assert broken(replace(found, shown={RUN: replace(shown, status="FAILED")})) == {6}


def test_an_answer_that_is_never_right_is_found() -> None:
    found = evidence()
    found.ledger.wrong.append("a read was answered with 500")

    assert broken(found) == {7}


def test_a_stall_is_what_no_wait_explains() -> None:
    kinds = (CREATED, STARTED, EXTRACT, ("AttemptFailed", "extract", 1, 0.9), *AGAIN)

    assert oracle.longest_stall(evidence(kinds)) == 1.0
