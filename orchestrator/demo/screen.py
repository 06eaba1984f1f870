"""What the demo shows: steps as they go, their outputs, a timeline."""

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TextIO

_MARKS = {"PENDING": "·", "RUNNING": "▶", "COMPLETED": "✓", "FAILED": "✗", "SKIPPED": "-"}
_WIDTH = 96
_BAR = 44

Step = Mapping[str, Any]


class Screen:
    """Writes to a terminal, where running steps are redrawn, or line by line to anything else."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty()
        self._drawn = 0
        self._told: dict[str, str] = {}
        if hasattr(out, "reconfigure"):
            out.reconfigure(errors="replace")  # a terminal without the marks shows '?' instead

    def say(self, line: str = "") -> None:
        """Write one line."""
        self._out.write(line + "\n")
        self._out.flush()

    def steps(self, steps: Sequence[Step]) -> None:
        """Show the steps' states; on a terminal in place of what was shown before."""
        if self._live:
            if self._drawn:
                self._out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = len(steps)
            width = shutil.get_terminal_size().columns - 1  # a line that wraps would be two
            for step in steps:
                self.say(step_line(step)[:width])
            return
        for step in steps:
            if step["status"] not in {"PENDING", self._told.get(step["step_id"])}:
                self._told[step["step_id"]] = step["status"]
                self.say(step_line(step))


def step_line(step: Step) -> str:
    """Return a step's state in one line."""
    took = seconds(step)
    time = f"{took:6.2f} s" if took is not None else ""
    status: str = step["status"]
    line = (
        f"  {_MARKS.get(status, ' ')} {step['step_id']:<12} {status:<10} {step['agent_name']:<18}"
    )
    error = f"  {step['error_message']}" if step["error_message"] else ""
    return f"{line}{time}{error}".rstrip()


def seconds(step: Step) -> float | None:
    """Return how long a step took, or None if it has not ended."""
    if not (step["started_at"] and step["completed_at"]):
        return None
    return (_at(step["completed_at"]) - _at(step["started_at"])).total_seconds()


def outputs(steps: Sequence[Step]) -> list[str]:
    """Return what each step gave, one line a member, cut to the width of a terminal."""
    lines: list[str] = []
    for step in steps:
        lines.append(f"  {step['step_id']}")
        members = step["output_data"] or {}
        lines += [f"    {name}: {brief(value)}" for name, value in sorted(members.items())]
    return lines


def brief(value: Any) -> str:
    """Return a JSON value in one line, its end cut off where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    if len(text) <= _WIDTH:
        return text
    size = f" ({len(value)} items)" if isinstance(value, list | dict) else ""
    return f"{text[:_WIDTH]}…{size}"


def timeline(run: Mapping[str, Any], steps: Sequence[Step]) -> list[str]:
    """Return one bar a step, from the run's creation to its end."""
    begin = _at(run["created_at"])
    ends = [_at(step["completed_at"]) for step in steps if step["completed_at"]]
    if run["completed_at"]:
        ends.append(_at(run["completed_at"]))
    whole = max([(end - begin).total_seconds() for end in ends], default=0.0) or 1.0
    lines = []
    for step in steps:
        took = seconds(step)
        if took is None:
            continue
        offset = round(_BAR * max(0.0, (_at(step["started_at"]) - begin).total_seconds()) / whole)
        length = max(1, min(_BAR - min(offset, _BAR - 1), round(_BAR * took / whole)))
        bar = " " * min(offset, _BAR - 1) + "█" * length
        lines.append(f"  {step['step_id']:<12} {bar:<{_BAR}} {took:6.2f} s")
    return [*lines, f"  {'run':<12} {'─' * _BAR} {whole:6.2f} s"]


def _at(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)
