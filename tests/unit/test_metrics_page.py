"""The operator's page names every metric."""

from pathlib import Path

from orchestrator.telemetry.metrics import Metrics

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "operations.md"


def test_the_operators_page_names_every_metric() -> None:
    page = PAGE.read_text(encoding="utf-8")
    families = list(Metrics("1.0.0").registry.collect())
    counted = [f"{f.name}_total" if f.type == "counter" else f.name for f in families]

    assert len(counted) > 10
    assert [name for name in counted if f"`{name}`" not in page] == []
