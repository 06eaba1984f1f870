"""The rounds as a picture: each variant's throughput beside the floor's, in SVG."""

from collections.abc import Sequence

import pygal

from bench import report
from bench.engine.rounds import Round


def svg(rounds: Sequence[Round]) -> str:
    """Return the picture, which needs nothing from elsewhere."""
    chart = pygal.Bar(
        title="Durable runs a second, beside the floor of the same round",
        x_title="round",
        x_labels=[str(number) for number in range(1, len(rounds) + 1)],
        **report.options(height=360),
    )
    chart.add("floor", [round(each.floor_per_s) for each in rounds])
    for name in rounds[0].samples:
        chart.add(name, [round(each.samples[name].per_s) for each in rounds])
    return report.svg(chart)
