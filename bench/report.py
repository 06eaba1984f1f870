"""A report as one HTML file that needs nothing from elsewhere: figures, plots, and where it was."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pygal
from pygal.style import CleanStyle

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }}
pre {{ background: #f5f5f5; padding: 1rem; overflow-x: auto; white-space: pre-wrap; }}
svg {{ width: 100%; height: auto; }}
</style>
<h1>{title}</h1>
<p>{said}</p>
<pre>{figures}</pre>
{charts}
<h2>Machine and settings</h2>
<pre>{settings}</pre>
</html>
"""


def page(
    title: str,
    said: str,
    figures: str,
    charts: Sequence[pygal.graph.graph.Graph],
    settings: Mapping[str, Any],
) -> str:
    """Return the report; everything in it is escaped."""
    return _PAGE.format(
        title=html.escape(title),
        said=html.escape(said),
        figures=html.escape(figures),
        charts="\n".join(svg(each) for each in charts),
        settings=html.escape("\n".join(f"{name}: {value}" for name, value in settings.items())),
    )


def options(**more: Any) -> dict[str, Any]:
    """Return what every plot is drawn with, and `more`."""
    return {
        "style": CleanStyle,
        "js": (),  # no script from elsewhere
        "disable_xml_declaration": True,
        "legend_at_bottom": True,
        **more,
    }


def svg(chart: pygal.graph.graph.Graph) -> str:
    """Draw a plot."""
    return str(chart.render(is_unicode=True))
