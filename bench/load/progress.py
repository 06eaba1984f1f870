"""How a load is going: one line that is redrawn on a terminal, a line now and then elsewhere."""

import asyncio
import shutil
from typing import TextIO

from bench.load.generator import Load
from bench.load.plan import Plan
from bench.load.samples import percentile

_REDRAW_S = 0.5
_LINE_S = 5.0


class Progress:
    """Writes to `out`; each line tells of the time since the one before."""

    def __init__(self, plan: Plan, load: Load, out: TextIO) -> None:
        self._plan = plan
        self._load = load
        self._out = out
        self._live = out.isatty()
        self._seen_executes = self._seen_runs = 0
        self._last = 0.0

    async def show(self) -> None:
        """Write until cancelled."""
        pace = f"{self._plan.rate:g}/s" if self._plan.rate else f"{self._plan.concurrency} users"
        self._out.write(f"Loading with {pace}; latencies are p50/p99 in ms\n")
        self._out.flush()
        try:
            while True:
                await asyncio.sleep(_REDRAW_S if self._live else _LINE_S)
                self._write(self.line())
        finally:
            if self._live:
                self._out.write("\r\x1b[K")
                self._out.flush()

    def line(self) -> str:
        """Return how it went since the last line."""
        load, samples, now = self._load, self._load.samples, self._load.now()
        executes = sorted(samples.executes.took[self._seen_executes :])
        runs = sorted(samples.runs.took[self._seen_runs :])
        rate = len(runs) / max(now - self._last, 1e-9)
        self._seen_executes += len(executes)
        self._seen_runs += len(runs)
        self._last = now
        throttled, errors = len(samples.throttled), samples.errors.total()
        return (
            f"{now:4.0f} s{self._phase(now)} {rate:5.0f} runs/s"
            f"  execute {_quantiles(executes)}  run {_quantiles(runs)}"
            f"  {load.unfinished + load.requests} open"
            + (f"  {throttled} x 429" if throttled else "")
            + (f"  {errors} errors" if errors else "")
        )

    def _phase(self, now: float) -> str:
        if now < self._plan.window.begin:
            return " (warm-up)"
        return "" if now < self._plan.window.end else " (drain)"

    def _write(self, line: str) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps is not redrawn
            line = f"\r\x1b[K{line[:width]}"
        else:
            line = f"{line}\n"
        self._out.write(line)
        self._out.flush()


def _quantiles(ordered: list[float]) -> str:
    if not ordered:
        return "-"
    return "/".join(f"{percentile(ordered, each) * 1000:.1f}" for each in (50, 99))
