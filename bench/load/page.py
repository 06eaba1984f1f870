"""A load's report as one HTML file that needs nothing from elsewhere."""

from collections.abc import Mapping
from typing import Any

import pygal

from bench import report
from bench.load import summary
from bench.load.samples import Latencies, Window, percentile

_SHOWN = (10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99)
_LABELS = 20  # on the x axis, before some are left out


def page(result: Mapping[str, Any], executes: Latencies, runs: Latencies, window: Window) -> str:
    """Return the report of a result and its samples."""
    charts = [
        _throughput(result["series"]),
        _over_time(result["series"]),
        _percentiles({"execute": executes, "runs": runs}, window),
    ]
    said = "All was well." if result["ok"] else "Not all was well."
    figures = "\n".join(summary.lines(result))
    return report.page(f"Load of {result['began_at']}", said, figures, charts, result["machine"])


def _chart(title: str, labels: list[str], **options: Any) -> pygal.Line:
    every = max(1, len(labels) // _LABELS)
    return pygal.Line(
        title=title,
        x_labels=labels,
        x_labels_major_every=every,
        show_minor_x_labels=every == 1,
        **report.options(dots_size=2, height=420, **options),
    )


def _throughput(series: list[dict[str, Any]]) -> pygal.Line:
    chart = _chart("Per second", _seconds(series), x_title="second", include_x_axis=True)
    for name in ("execute", "runs"):
        chart.add(name, [each[name]["count"] for each in series])
    if any(each["throttled"] for each in series):
        chart.add("429", [each["throttled"] for each in series])
    return chart


def _over_time(series: list[dict[str, Any]]) -> pygal.Line:
    title = "Latency in ms of what was due in a second"
    chart = _chart(title, _seconds(series), x_title="second", logarithmic=True)
    for name in ("execute", "runs"):
        for figure in ("p50", "p99"):
            points = [each[name]["latency_ms"].get(figure) for each in series]
            chart.add(f"{name} {figure}", points)
    return chart


def _percentiles(kinds: Mapping[str, Latencies], window: Window) -> pygal.Line:
    labels = [f"{each:g} %" for each in _SHOWN]
    chart = _chart("Latency in ms by percentile", labels, logarithmic=True)
    for name, latencies in kinds.items():
        ordered = latencies.sorted_in(window)
        # Where there are too few samples, a percentile is no more than the longest of them.
        enough = [each for each in _SHOWN if len(ordered) * (100 - each) >= 100]  # noqa: PLR2004
        chart.add(name, [percentile(ordered, each) * 1000 for each in enough])
    return chart


def _seconds(series: list[dict[str, Any]]) -> list[str]:
    return [str(each["second"]) for each in series]
