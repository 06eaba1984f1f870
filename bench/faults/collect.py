"""Waits until everything is quiet, and takes the evidence."""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from bench.faults.evidence import Call, Event, Evidence, Run, Shown, Step
from bench.faults.stage import MAX_RETRIES, STEPS, Stage
from bench.stack.failure import StackFailed

_TICK = 0.2
_AT_ONCE = 16
_PAGE = 100
_STATUSES = ("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED")
_ENDED = re.compile(r'^orchestrator_runs_ended_total\{status="(\w+)"\} (\S+)$', re.MULTILINE)
_RUNS = "SELECT id, status, seq, completed_at, error_message FROM run"
_EVENTS = "SELECT run_id, seq, epoch, at, events FROM run_event ORDER BY run_id, seq"
_STEPS = "SELECT run_id, path, status, attempt, input, output FROM step_execution"
_KEYS = """
SELECT i.key, array_agg(r.id) AS runs FROM idempotency i LEFT JOIN run r ON r.id = i.run_id
GROUP BY i.key"""
_LEFT = """
SELECT (SELECT count(*) FROM run WHERE status IN ('PENDING', 'RUNNING'))
     + (SELECT count(*) FROM task_cancellation WHERE outcome IS NULL)"""


async def quiet(stage: Stage, within: float) -> None:
    """Return when no run is at work and no cancellation is open, or after so many seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        (row,) = await stage.sql(_LEFT)
        if row[0] == 0:
            return
        for process in stage.processes:
            process.look()
        await asyncio.sleep(_TICK)
    stage.notes.append(f"it was not quiet after {within:.0f} s")


async def evidence(stage: Stage, *, may_fail: bool, paused: bool, sample: int) -> Evidence:
    """Take the evidence; of many runs, only `sample` are looked at through the API too."""
    runs = await _rows(stage)
    keys = {row["key"]: [str(r) for r in row["runs"] if r] for row in await stage.sql(_KEYS)}
    looked_at = sorted(runs)[:: max(1, len(runs) // sample)]
    return Evidence(
        ledger=stage.ledger,
        runs=runs,
        shown=await _shown(stage, looked_at),
        calls=await _calls(stage),
        keys=keys,
        totals={status: await _total(stage, status) for status in _STATUSES},
        counted=await _counted(stage),
        steps=STEPS,
        max_attempts=MAX_RETRIES + 1,
        may_fail=may_fail,
        paused=paused,
    )


# -- rows -----------------------------------------------------------------------------------------


async def _rows(stage: Stage) -> dict[str, Run]:
    events: dict[Any, list[asyncpg.Record]] = {}
    for row in await stage.sql(_EVENTS):
        events.setdefault(row["run_id"], []).append(row)
    steps: dict[Any, dict[str, Step]] = {}
    for row in await stage.sql(_STEPS):
        given, made = (None if row[n] is None else json.loads(row[n]) for n in ("input", "output"))
        step = Step(row["path"], row["status"], row["attempt"], given, made)
        steps.setdefault(row["run_id"], {})[step.path] = step
    found = {}
    for row in await stage.sql(_RUNS):
        history, gaps = _history(events.get(row["id"], []), row["seq"])
        ended = row["completed_at"]
        run = Run(
            id=f"run-{row['id']}",
            status=row["status"],
            seq=row["seq"],
            ended_at=None if ended is None else ended.timestamp(),
            error=row["error_message"],
            events=history,
            steps=steps.get(row["id"], {}),
            gaps=gaps,
        )
        found[run.id] = run
    return found


def _history(rows: Sequence[asyncpg.Record], last: int) -> tuple[list[Event], list[str]]:
    """Return the events of a run's decisions in order, and where the numbers do not go on."""
    found: list[Event] = []
    gaps = []
    at = 0.0
    for row in rows:
        events = json.loads(row["events"])
        first = row["seq"] - len(events) + 1
        if first != len(found) + 1:
            gaps.append(f"seq {first} follows {len(found)}")
        if row["at"].timestamp() < at:
            gaps.append(f"seq {first} is older than the one before")
        at = row["at"].timestamp()
        for number, event in enumerate(events):
            found.append(
                Event(
                    seq=first + number,
                    kind=event["kind"],
                    at=at,
                    epoch=row["epoch"],
                    step=event.get("step_id"),
                    attempt=event.get("attempt", 0),
                    delay_s=event.get("delay_ms", 0) / 1000,
                )
            )
    if len(found) != last:
        gaps.append(f"{len(found)} events, seq {last}")
    return found, gaps


# -- the API --------------------------------------------------------------------------------------


async def _shown(stage: Stage, run_ids: Sequence[str]) -> dict[str, Shown]:
    found: dict[str, Shown] = {}
    waiting = list(enumerate(run_ids))

    async def look() -> None:
        while waiting:
            number, run_id = waiting.pop()
            url = stage.processes[number % len(stage.processes)].url
            found[run_id] = await _show(stage, f"{url}/api/v1/runs/{run_id}")

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(look())
    return found


async def _show(stage: Stage, url: str) -> Shown:
    run, steps = await _get(stage, url), await _get(stage, f"{url}/steps")
    logs: list[tuple[int, str]] = []
    page = 1
    while True:
        said = await _get(stage, f"{url}/logs?page_size={_PAGE}&page={page}")
        logs += [(item["seq"], item["event"]) for item in said["items"]]
        if page >= said["total_pages"]:
            break
        page += 1
    return Shown(run["status"], {step["step_id"]: step["status"] for step in steps}, logs)


async def _total(stage: Stage, status: str) -> int:
    url = f"{stage.processes[0].url}/api/v1/runs?status={status}&page_size=1"
    return int((await _get(stage, url))["total"])


async def _get(stage: Stage, url: str) -> Any:
    async with stage.session.get(url) as answer:
        if not answer.ok:
            raise StackFailed(f"GET {url} was answered with {answer.status} when all was quiet")
        return await answer.json()


async def _counted(stage: Stage) -> Mapping[str, float] | None:
    """Return how many runs all processes counted as ended; None if one had another life before."""
    if any(process.lives != 1 for process in stage.processes):
        return None
    found: dict[str, float] = {}
    for process in stage.processes:
        async with stage.session.get(f"{process.url}/metrics") as answer:
            for status, count in _ENDED.findall(await answer.text()):
                found[status] = found.get(status, 0.0) + float(count)
    return found


async def metric(stage: Stage, name: str) -> float:
    """Return a metric's value, summed over its labels and over the processes."""
    total = 0.0
    for process in stage.processes:
        async with stage.session.get(f"{process.url}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                key, _, value = line.rpartition(" ")
                if key.partition("{")[0] == name:
                    total += float(value)
    return total


# -- the agents -----------------------------------------------------------------------------------


async def _calls(stage: Stage) -> list[Call]:
    found = []
    for url in stage.agents:
        entries = (await _get(stage, f"{url}/record"))["calls"]
        found += [Call(**{name: entry[name] for name in Call.__slots__}) for entry in entries]
    return found
