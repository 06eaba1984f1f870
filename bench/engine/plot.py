"""The rounds as a picture: each variant's throughput beside the floor's, in SVG."""

from collections.abc import Sequence

import pygal
from pygal.style import CleanStyle

from bench.engine.rounds import Round


def svg(rounds: Sequence[Round]) -> str:
    """Return the picture, which needs nothing from elsewhere."""
    chart = pygal.Bar(
        title="Durable runs a second, beside the floor of the same round",
        x_title="round",
        x_labels=[str(number) for number in range(1, len(rounds) + 1)],
        style=CleanStyle,
        js=(),  # no script from elsewhere
        disable_xml_declaration=True,
        height=360,
        legend_at_bottom=True,
    )
    chart.add("floor", [round(each.floor_per_s) for each in rounds])
    for name in rounds[0].samples:
        chart.add(name, [round(each.samples[name].per_s) for each in rounds])
    return str(chart.render(is_unicode=True))
