"""A history's report as one HTML file that needs nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import pygal

from bench import report
from bench.history.measure import Taken, p
from bench.history.targets import groups


def page(
    began: str,
    figures: str,
    taken: Sequence[Taken],
    sizes: Sequence[int],
    settings: Mapping[str, Any],
) -> str:
    """Return the report."""
    some = groups(taken)
    lists = {name: each for name, each in some.items() if "list" in name or "sort" in name}
    single = {name: each for name, each in some.items() if name not in lists}
    charts = [
        _chart("Lists: p99 in ms by runs in history", lists, sizes),
        _chart("A run: p99 in ms by runs in history", single, sizes),
    ]
    return report.page("Lists and the length of the history", began, figures, charts, settings)


def _chart(title: str, some: Mapping[str, Sequence[Taken]], sizes: Sequence[int]) -> pygal.Line:
    chart = pygal.Line(
        title=title,
        x_labels=[f"{size:,}" for size in sizes],
        x_title="runs in history",
        **report.options(height=480, include_x_axis=True, legend_at_bottom_columns=2),
    )
    for name, taken in some.items():
        chart.add(name, [round(p(99, taken, size), 2) for size in sizes])
    return chart
