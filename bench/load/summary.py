"""What came of a load: figures, checks, and whether all was well."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.samples import Latencies, Window, milliseconds, percentile

_BY_AGENT = "the agent: until it answered the last step, so without that answer's commit"
_BY_WAIT = "the API: until GET /runs/{id}?wait= answered"
_BUSY = 0.9
_LATE_S = 0.05

Report = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Made:
    """A load that is over; `report` and `statuses` are of our own agents and workflow."""

    began: datetime
    cpu: float  # of the generator, as a share of a core
    report: Report | None = None
    statuses: Mapping[str, int] | None = None
    unasked: str | None = None  # why the statuses are not known


def settings(plan: Plan) -> dict[str, Any]:
    """Return what the figures depend on, as far as it was chosen here."""
    loop: dict[str, Any] = (
        {"loop": "closed", "concurrency": plan.concurrency}
        if plan.rate is None
        else {"loop": "open", "rate": plan.rate}
    )
    own = {
        "steps": 3,
        "agents": plan.agents,
        "agent_delay_ms": plan.agent_delay_ms,
    }
    return {
        "urls": list(plan.urls),
        **loop,
        "duration_s": plan.duration,
        "warmup_s": plan.warmup,
        "connections": plan.connections,
        **({"workflow": plan.workflow} if plan.workflow else own),
    }


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def problems(load: Load, report: Report | None, statuses: Mapping[str, int] | None) -> list[str]:
    """Return what is not as it must be, one sentence each."""
    found = []
    others = (statuses or {}).get("FAILED", 0) + (statuses or {}).get("CANCELLED", 0)
    if load.unfinished > others:  # those never end for the agent
        left = load.unfinished - others
        found.append(f"{left} accepted runs had not ended when the load gave up")
    for step, seen in (report or {}).items():
        if seen["calls"] != seen["runs"]:
            found.append(f"step '{step}': {seen['calls']} calls for {seen['runs']} runs")
        if seen["runs"] < load.accepted:
            found.append(f"step '{step}': called for {seen['runs']} of {load.accepted} runs")
    for status, count in (statuses or {}).items():
        if status != "COMPLETED" and count:
            found.append(f"{count} runs are {status}")
    if statuses is not None and statuses["COMPLETED"] < load.accepted:
        found.append(f"{statuses['COMPLETED']} of {load.accepted} accepted runs are COMPLETED")
    return found


def summarise(plan: Plan, load: Load, made: Made) -> dict[str, Any]:
    """Return the whole result."""
    window, samples, report, statuses = plan.window, load.samples, made.report, made.statuses
    wrong = problems(load, report, statuses)
    if made.unasked is not None:
        wrong.append(f"how its runs ended is not known: {made.unasked}")
    late = samples.lateness.sorted_in(window)
    late_s = percentile(late, 99) if late else 0.0
    checks: dict[str, Any] = {"problems": wrong}
    if report is not None:
        checks |= {"steps": report, "statuses": statuses}
    return {
        "ok": not wrong and not samples.errors,
        "began_at": made.began.isoformat(timespec="seconds"),
        "settings": settings(plan),
        "machine": machine(),
        "execute": _figures(samples.executes, window),
        "runs": _figures(samples.runs, window)
        | {"observed_by": _BY_AGENT if report is not None else _BY_WAIT},
        "throttled": {
            "count": len(samples.throttled),
            "retry_after_s": sorted(set(samples.retry_after)),
        },
        "errors": dict(samples.errors.most_common()),
        "totals": {"accepted": load.accepted, "completed": load.completed},
        "checks": checks,
        "generator": {
            "cpu": round(made.cpu, 3),
            "late_p99_ms": round(late_s * 1000, 3),
            "is_the_limit": made.cpu > _BUSY or late_s > _LATE_S,
        },
        "series": series(load, plan),
    }


def _figures(latencies: Latencies, window: Window) -> dict[str, Any]:
    ended = latencies.ended_in(window)
    return {
        "count": ended,
        "per_s": round(ended / window.seconds, 2),
        "latency_ms": milliseconds(latencies.sorted_in(window)),
    }


def series(load: Load, plan: Plan) -> list[dict[str, Any]]:
    """Return the figures of each second, warm-up included: the load as it went."""
    samples = load.samples
    found = []
    for second in range(int(plan.window.end)):
        window = Window(second, second + 1)
        found.append(
            {
                "second": second,
                "execute": _figures(samples.executes, window),
                "runs": _figures(samples.runs, window),
                "throttled": samples.throttled.ended_in(window),
            }
        )
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """Return the result for a person."""
    chosen = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in result["settings"].items()
    )
    shown = [f"Settings: {chosen}", ""]
    shown.append(f"  {'':<9}{'per s':>10}" + "".join(f"{name:>10}" for name in _COLUMNS))
    for name in ("execute", "runs"):
        figures = result[name]
        cells = (_ms(figures["latency_ms"].get(column)) for column in _COLUMNS)
        shown.append(f"  {name:<9}{figures['per_s']:>10.1f}" + "".join(cells))
    shown += ["", f"Latencies in ms; runs as seen by {result['runs']['observed_by']}."]
    totals = result["totals"]
    shown.append(f"{totals['accepted']} runs accepted, {totals['completed']} completed.")
    throttled = result["throttled"]
    if throttled["count"]:
        after = "/".join(f"{each:g}" for each in throttled["retry_after_s"])
        shown.append(f"{throttled['count']} requests got 429, Retry-After {after} s.")
    shown += [f"{count} x {kind}" for kind, count in result["errors"].items()]
    shown += [f"Wrong: {problem}" for problem in result["checks"]["problems"]]
    if "steps" in result["checks"] and not result["checks"]["problems"]:
        shown.append("Each run made exactly three calls; nothing is left PENDING.")
    if result["generator"]["is_the_limit"]:
        busy, late = result["generator"]["cpu"], result["generator"]["late_p99_ms"]
        shown.append(
            f"The generator itself was busy ({busy:.0%} of a core, p99 {late:.0f} ms late):"
            " these figures may be its limit."
        )
    return shown


_COLUMNS = ("p50", "p90", "p99", "p99.9", "max")


def _ms(value: float | None) -> str:
    return f"{'-' if value is None else f'{value:.1f}':>10}"
