"""What the demo shows, on a terminal and elsewhere."""

import io
from typing import Any

import pytest

from orchestrator.demo import screen
from orchestrator.demo.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(name: str, status: str, begin: int | None = None, end: int | None = None) -> Any:
    return {
        "step_id": name,
        "agent_name": f"demo-{name}",
        "status": status,
        "started_at": None if begin is None else f"2026-01-01T10:00:{begin:02}.500Z",
        "completed_at": None if end is None else f"2026-01-01T10:00:{end:02}.500Z",
        "error_message": "it broke" if status == "FAILED" else None,
        "output_data": {"b": [1] * 400, "a": "x\ny"} if status == "COMPLETED" else None,
    }


def test_a_pipe_gets_each_change_once() -> None:
    out = io.StringIO()
    shown = Screen(out)

    shown.steps([step("read", "RUNNING", 1), step("report", "PENDING")])
    shown.steps([step("read", "RUNNING", 1), step("report", "PENDING")])
    shown.steps([step("read", "COMPLETED", 1, 3), step("report", "FAILED", 3, 4)])

    assert out.getvalue().splitlines() == [
        "  ▶ read         RUNNING    demo-read",
        "  ✓ read         COMPLETED  demo-read           2.00 s",
        "  ✗ report       FAILED     demo-report         1.00 s  it broke",
    ]


def test_a_terminal_is_redrawn_in_place() -> None:
    out = Terminal()
    shown = Screen(out)

    shown.steps([step("read", "RUNNING", 1)])
    shown.steps([step("read", "COMPLETED", 1, 3)])

    first, redraw = out.getvalue().split("\x1b[1F\x1b[J")
    assert ("RUNNING" in first, "COMPLETED" in redraw) == (True, True)


def test_a_line_on_a_terminal_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()

    Screen(out).steps([step("read", "FAILED", 1, 3)])

    assert out.getvalue() == "  ✗ read         FAILED     demo-read  \n"


def test_outputs_are_one_line_a_member() -> None:
    lines = screen.outputs([step("read", "COMPLETED", 1, 2), step("report", "SKIPPED")])

    assert lines[:2] == ["  read", "    a: x y"]
    assert lines[2].endswith("… (400 items)")
    assert lines[3:] == ["  report"]


def test_the_timeline_is_to_scale() -> None:
    run = {"created_at": "2026-01-01T10:00:00.500Z", "completed_at": "2026-01-01T10:00:04.500Z"}

    lines = screen.timeline(run, [step("a", "COMPLETED", 0, 1), step("b", "COMPLETED", 1, 4)])

    assert lines[0].startswith("  a            " + "█" * 11 + " ")
    assert lines[1].startswith("  b            " + " " * 11 + "█" * 33 + " ")
    assert lines[2].endswith("4.00 s")


def test_a_step_in_no_time_at_the_very_end_keeps_its_bar() -> None:
    run = {"created_at": "2026-01-01T10:00:00.500Z", "completed_at": "2026-01-01T10:00:04.500Z"}

    lines = screen.timeline(run, [step("a", "COMPLETED", 4, 4)])

    assert lines[0].count("█") == 1
    assert len(lines[0]) == len(lines[1])
