"""A history's report as one HTML file that needs nothing from elsewhere."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pygal
from pygal.style import CleanStyle

from bench.history.measure import Taken, p
from bench.history.targets import groups

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Lists and the length of the history</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }}
pre {{ background: #f5f5f5; padding: 1rem; overflow-x: auto; }}
svg {{ width: 100%; height: auto; }}
</style>
<h1>Lists and the length of the history</h1>
<p>{began}</p>
<pre>{figures}</pre>
{charts}
<h2>Machine and settings</h2>
<pre>{settings}</pre>
</html>
"""


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
    return _PAGE.format(
        began=html.escape(began),
        figures=html.escape(figures),
        charts="\n".join(str(each.render(is_unicode=True)) for each in charts),
        settings=html.escape("\n".join(f"{name}: {value}" for name, value in settings.items())),
    )


def _chart(title: str, some: Mapping[str, Sequence[Taken]], sizes: Sequence[int]) -> pygal.Line:
    chart = pygal.Line(
        title=title,
        x_labels=[f"{size:,}" for size in sizes],
        x_title="runs in history",
        style=CleanStyle,
        js=(),  # no script from elsewhere
        disable_xml_declaration=True,
        height=480,
        include_x_axis=True,
        legend_at_bottom=True,
        legend_at_bottom_columns=2,
    )
    for name, taken in some.items():
        chart.add(name, [round(p(99, taken, size), 2) for size in sizes])
    return chart
