"""The judge: compares what clients, rows, the API and the agents say, and counts contradictions."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.faults.evidence import Call, Evidence, Run, Shown
from bench.faults.history import Clerk, Reading
from bench.faults.violation import Violation

_BEFORE_S = 0.05  # a start is committed after the moment that it is stored with
_LATE_S = 1.0  # how late a call that is on its way may reach a busy agent
_UNENDED = {"PENDING", "RUNNING"}
_STEP_SHOWN = {"PENDING": "SKIPPED"}  # of an ended run


def judge(evidence: Evidence) -> list[Violation]:
    """Return every contradiction."""
    found: list[Violation] = []
    calls = _by_step(evidence.calls)
    readings: dict[str, Reading] = {}
    for run in evidence.runs.values():
        reading = readings[run.id] = Clerk(run, evidence.steps, evidence.max_attempts).read()
        found += reading.violations
        found += [Violation(6, run.id, gap) for gap in run.gaps]
        if run.status == "FAILED" and not evidence.may_fail:
            found.append(Violation(1, run.id, f"it failed for no fault of its own: {run.error}"))
        for step in evidence.steps:
            of_step = calls.get((run.id, step), [])
            found += _check_calls(run, step, of_step, reading, evidence)
            found += _check_result(run, step, of_step, evidence.steps)
    for run_id, shown in evidence.shown.items():
        found += _check_shown(evidence.runs[run_id], shown)
    found += _check_ledger(evidence, readings)
    found += _check_totals(evidence)
    found += [Violation(7, "", text) for text in evidence.ledger.wrong]
    for run_id, step in calls:
        if run_id not in evidence.runs or step not in evidence.steps:
            found.append(Violation(2, run_id, f"a call of {step}, of which no row knows"))
    return found


def lost(evidence: Evidence) -> int:
    """Return how many accepted runs are not there, or have not ended."""
    ids = {accepted.run for accepted in evidence.ledger.accepted} | evidence.runs.keys()
    ended = {run.id for run in evidence.runs.values() if run.status not in _UNENDED}
    return len(ids - ended)


def doubled(evidence: Evidence) -> int:
    """Return how many calls had been made before, under the same messageId."""
    return len(evidence.calls) - len({call.message_id for call in evidence.calls})


def longest_stall(evidence: Evidence) -> float:
    """Return the longest that a run stood still, besides waits that its history announces."""
    longest = 0.0
    for run in evidence.runs.values():
        for before, after in pairwise(run.events):
            if after.kind != "RunRetried":  # how long a user thinks is no stall
                longest = max(longest, after.at - before.at - before.delay_s)
    return longest


def caught_up(evidence: Evidence, calm: float, calm_at: float) -> float:
    """Return how long after the last fault the last run of before had ended.

    The fault's end on the bench's monotonic clock and on the wall clock.
    """
    before = {each.run for each in evidence.ledger.accepted if each.answered < calm}
    ends = [run.ended_at for run in evidence.runs.values() if run.id in before and run.ended_at]
    return max(0.0, max(ends, default=calm_at) - calm_at)


def _by_step(calls: Sequence[Call]) -> Mapping[tuple[str, str], list[Call]]:
    found: defaultdict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.at):
        found[call.run, call.step].append(call)
    return found


# -- calls ----------------------------------------------------------------------------------------


def _check_calls(
    run: Run, step: str, calls: Sequence[Call], reading: Reading, evidence: Evidence
) -> Iterator[Violation]:
    explained = reading.started.get(step, 0)
    if len(calls) > explained:
        yield Violation(
            4, run.id, f"step {step} was called {len(calls)} times, {explained} are explained"
        )
    for call in calls:
        if call.message_id != f"{run.id}.{step}.{call.number}":
            yield Violation(4, run.id, f"step {step} was called as {call.message_id}")
        if call.attempt > evidence.max_attempts:
            yield Violation(5, run.id, f"step {step} was called for attempt {call.attempt}")
        if call.at < reading.first_start.get(step, call.at) - _BEFORE_S:
            yield Violation(2, run.id, f"step {step} was called before its start was stored")
        completed = reading.completed_at.get(step)
        if completed is not None and call.at > completed + _LATE_S and not evidence.paused:
            late = call.at - completed
            yield Violation(3, run.id, f"step {step} was called {late:.2f} s after it completed")
    yield from _check_repeats(run, step, calls, reading, paused=evidence.paused)


def _check_repeats(
    run: Run, step: str, calls: Sequence[Call], reading: Reading, *, paused: bool
) -> Iterator[Violation]:
    """Check that a messageId was repeated for an unknown outcome, and changed for a known one.

    A takeover makes the outcome of any call unknown: its answer went to whoever is gone.
    """
    by_number: defaultdict[int, list[Call]] = defaultdict(list)
    for call in calls:
        by_number[call.number].append(call)
    if not reading.takeovers:
        for earlier, _ in (pair for same in by_number.values() for pair in pairwise(same)):
            # Who stood still heard an answer that was given too late to count.
            if earlier.how == "refused" or (earlier.how == "answered" and not paused):
                text = f"step {step} was repeated as {earlier.number}, which was {earlier.how}"
                yield Violation(4, run.id, text)
    first = {number for number, same in by_number.items() if min(c.attempt for c in same) == 1}
    if len(first) > reading.retries + 1:
        text = f"step {step} was sent for the first time under {len(first)} numbers"
        yield Violation(4, run.id, text)
    for number in by_number.keys() - first:
        before = by_number.get(number - 1)
        if before is None:
            continue
        if all(call.how != "refused" for call in before):
            text = f"step {step}: {number - 1} was never refused, and {number} was sent"
            yield Violation(4, run.id, text)


def _check_result(
    run: Run, step: str, calls: Sequence[Call], order: Sequence[str]
) -> Iterator[Violation]:
    """Check that a stored output was answered to a call of the step, and is what went on."""
    row = run.steps.get(step)
    if row is None or row.status != "COMPLETED":
        return
    nonce = row.output.get("nonce") if isinstance(row.output, dict) else None
    if nonce not in {call.nonce for call in calls if call.how == "answered"}:
        yield Violation(3, run.id, f"step {step} has the output {row.output}, which nobody gave")
    index = order.index(step) + 1
    following = run.steps.get(order[index]) if index < len(order) else None
    if following is not None and isinstance(following.input, dict):
        given = following.input.get("before")
        if given != nonce:
            yield Violation(3, run.id, f"step {following.path} was given {given}, not {nonce}")


# -- the API --------------------------------------------------------------------------------------


def _check_shown(run: Run, shown: Shown) -> Iterator[Violation]:
    if shown.status != run.status:
        yield Violation(6, run.id, f"the API says {shown.status}, the row {run.status}")
    if [seq for seq, _ in shown.logs] != list(range(1, run.seq + 1)):
        yield Violation(6, run.id, f"/logs has {len(shown.logs)} events for seq {run.seq}")
    elif [kind for _, kind in shown.logs] != [event.kind for event in run.events]:
        yield Violation(6, run.id, "/logs tells another history than the rows")
    for path, step in run.steps.items():
        wanted = _STEP_SHOWN.get(step.status, step.status)
        if run.status not in _UNENDED and shown.steps.get(path) != wanted:
            text = f"/steps says {path} is {shown.steps.get(path)}, the row {step.status}"
            yield Violation(6, run.id, text)


# -- clients --------------------------------------------------------------------------------------


def _check_ledger(evidence: Evidence, readings: Mapping[str, Reading]) -> Iterator[Violation]:
    ledger, runs = evidence.ledger, evidence.runs
    accepted = {each.run for each in ledger.accepted}
    for run_id in accepted - runs.keys():
        yield Violation(1, run_id, "it was accepted, and is not there")
    for run in runs.values():
        if run.status in _UNENDED:
            yield Violation(1, run.id, f"it is {run.status} for ever")
    extra = len(runs.keys() - accepted)
    if extra > ledger.unanswered:
        yield Violation(1, "", f"{extra} runs too many, {ledger.unanswered} answers got lost")
    for key, ids in evidence.keys.items():
        if len(ids) != 1:
            yield Violation(1, "", f"the key {key} made {len(ids)} runs")
    by_time = sorted(ledger.accepted, key=lambda each: each.answered)
    last = ""
    for each in sorted(ledger.accepted, key=lambda each: each.sent):
        while by_time and by_time[0].answered < each.sent:
            earlier = by_time.pop(0)
            last = max(last, earlier.run) if earlier.key is None else last
        if each.key is None and each.run < last:
            yield Violation(6, each.run, f"its id is before that of the older {last}")
    yield from _check_asked(evidence, readings)


def _check_asked(evidence: Evidence, readings: Mapping[str, Reading]) -> Iterator[Violation]:
    """Each cancel and retry that was answered is one event, and each event was asked for."""
    for what, won in (("cancel", 200), ("retry", 202)):
        answered: Counter[str] = Counter()
        unknown: Counter[str] = Counter()
        for asked in evidence.ledger.asked:
            if asked.what == what:
                answered[asked.run] += asked.status == won
                unknown[asked.run] += asked.status is None
        for run_id, reading in readings.items():
            events = reading.cancels if what == "cancel" else reading.retries
            least, most = answered[run_id], answered[run_id] + unknown[run_id]
            if not least <= events <= most:
                text = f"{least} to {most} requests to {what} it were answered, {events} happened"
                yield Violation(1, run_id, text)


def _check_totals(evidence: Evidence) -> Iterator[Violation]:
    rows = Counter(run.status for run in evidence.runs.values())
    for status, total in evidence.totals.items():
        if total != rows[status]:
            yield Violation(
                6, "", f"the API counts {total} {status} runs, there are {rows[status]}"
            )
    if evidence.counted is None:
        return
    ends: Counter[Any] = Counter()
    for run in evidence.runs.values():
        ends.update(event.kind for event in run.events)
    for status, kind in (("COMPLETED", "RunCompleted"), ("FAILED", "RunFailed")):
        counted = evidence.counted.get(status, 0.0)
        if counted != ends[kind]:
            text = f"the metrics count {counted:.0f} {status} runs, the histories {ends[kind]}"
            yield Violation(6, "", text)
