"""What must be seen of a fault besides the promises that hold under all of them."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from bench.faults import collect
from bench.faults.evidence import Evidence
from bench.faults.stage import Stage

Check = Callable[[Stage, Evidence], Awaitable[Sequence[str]]]

_LATE_S = 5.0
_WHILE_S = 10.0
_MAX_CALLS = 64  # the setting's default
_SAID = {
    "redirect": "a redirect to",
    "huge": "answered more than",
    "not_utf8": "answered",
    "endless": "timed out after 3000 ms",
}


async def late_writes_were_refused(stage: Stage, _: Evidence) -> Sequence[str]:
    """See that a process that stood still until it was replaced found its term over."""
    lines = [line for process in stage.processes for line in process.logged("term_lost")]
    return () if lines else ("no process noticed that its term was over",)


async def fights_were_counted(stage: Stage, _: Evidence) -> Sequence[str]:
    """See that terms that a stale takeover ended were counted."""
    lost = await collect.metric(stage, "orchestrator_terms_lost_total")
    return () if lost else ("no term was counted as lost",)


async def poison_was_counted(stage: Stage, _: Evidence) -> Sequence[str]:
    skipped = await collect.metric(stage, "orchestrator_hints_skipped_total")
    rebuilt = await collect.metric(stage, "orchestrator_consumer_rebuilds_total")
    said = [] if skipped else ["no poison record was counted"]
    return [*said, "a consumer was replaced for a poison record"] if rebuilt else said


async def agents_saw_no_burst(stage: Stage, _: Evidence) -> Sequence[str]:
    """See that no agent had more calls at a time than all processes may make together."""
    most = _MAX_CALLS * len(stage.processes)
    found = []
    for url in stage.agents:
        async with stage.session.get(f"{url}/record") as answer:
            seen = (await answer.json())["most_at_work"]
        if seen > most:
            found.append(f"an agent had {seen} calls at a time, {most} are allowed")
    return found


async def goodput_stayed(_: Stage, evidence: Evidence) -> Sequence[str]:
    """See that at least half of the load's runs ended in any ten seconds of it."""
    sent = sorted(each.answered for each in evidence.ledger.accepted)
    ends = sorted(run.ended_at for run in evidence.runs.values() if run.ended_at is not None)
    if not sent or not ends:
        return ("nothing was done",)
    rate = len(sent) / (sent[-1] - sent[0])
    found = []
    for number in range(int((ends[-1] - ends[0]) / _WHILE_S)):
        begin = ends[0] + number * _WHILE_S
        ended = sum(begin <= end < begin + _WHILE_S for end in ends)
        if ended < rate * _WHILE_S / 2:
            found.append(f"{ended} runs ended in {_WHILE_S:.0f} s at {rate:.0f} a second")
    return found


async def useless_answers_are_named(stage: Stage, evidence: Evidence) -> Sequence[str]:
    """See that each useless answer failed its run, with a sentence that says what it was."""
    told = {}
    for url in stage.agents:
        async with stage.session.get(f"{url}/record") as answer:
            for call in (await answer.json())["calls"]:
                if call["behaviour"] in _SAID:
                    told[call["run"]] = call["behaviour"]
    errors = {
        f"run-{row['id']}": row["error_message"] or ""
        for row in await stage.sql("SELECT id, error_message FROM run")
    }
    wrong = []
    for run_id, behaviour in told.items():
        status, said = evidence.runs[run_id].status, errors[run_id]
        if status != "FAILED" or _SAID[behaviour] not in said:
            wrong.append(f"{run_id} met {behaviour} and is {status}: {said}")
    return wrong


async def retries_were_not_late(_: Stage, evidence: Evidence) -> Sequence[str]:
    """See that attempts follow failed ones when their wait is over (never earlier, anywhere)."""
    found = []
    for run in evidence.runs.values():
        for before, after in pairwise(run.events):
            late = after.at - before.at - before.delay_s
            if before.kind == "AttemptFailed" and after.kind == "StepStarted" and late > _LATE_S:
                found.append(f"{run.id}: a retry came {late:.1f} s late")
    return found
