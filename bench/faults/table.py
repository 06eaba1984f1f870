"""Shows results: one table, and what was broken."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from bench.faults.scenario import Result
from bench.faults.violation import INVARIANTS

HEAD = ("fault", "runs", "lost", "wrong", "calls doubled", "longest stall", "full speed again")
_SHOWN = 5
_LONGEST = 400


def row(result: Result) -> tuple[str, ...]:
    return (
        result.scenario.fault,
        str(result.runs),
        str(result.lost),
        str(result.wrong),
        str(result.doubled),
        f"{result.stall:.1f} s",
        f"{result.full_speed:.1f} s",
    )


def figures(result: Result) -> Iterator[str]:
    """Return what a row tells, with the head's words."""
    for name, cell in zip(HEAD[1:], row(result)[1:], strict=True):
        yield f"{name} {cell}"


def lines(results: Sequence[Result]) -> Iterator[str]:
    """Return the table in Markdown, which is readable as it is too."""
    rows = [HEAD, *(row(result) for result in results)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    for number, cells in enumerate(rows):
        yield "| " + " | ".join(_aligned(cells, widths)) + " |"
        if number == 0:
            yield (
                "| "
                + " | ".join("-" * (w - 1) + ":" if c else "-" * w for c, w in enumerate(widths))
                + " |"
            )


def broken(result: Result) -> Iterator[str]:
    """Return what was broken, with some examples of each promise."""
    counts = Counter(each.invariant for each in result.violations)
    for invariant, count in sorted(counts.items()):
        yield f"  {result.scenario.name}: broken {count} times: {INVARIANTS[invariant]}"
        examples = [each for each in result.violations if each.invariant == invariant]
        for each in examples[:_SHOWN]:
            yield f"    {each.run} {textwrap.shorten(each.text, _LONGEST)}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        yield cell.rjust(width) if column else cell.ljust(width)
