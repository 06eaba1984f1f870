"""The alerts and the dashboard ask only for what /metrics exposes."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggModifierType, AggregateExpr, MatchOp, VectorSelector

from orchestrator.api.routes import OPERATIONS
from orchestrator.domain.agent import Cancellation, Outcome
from orchestrator.domain.run import RunStatus
from orchestrator.feed.hints import Skip
from orchestrator.settings import Settings
from orchestrator.telemetry.metrics import Metrics

CONFIG = Path(__file__).resolve().parents[3] / "config"
ALERTS = yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
DASHBOARD = json.loads((CONFIG / "grafana" / "dashboards" / "orchestrator.json").read_text())
SCRAPES = {each["job_name"] for each in yaml.safe_load((CONFIG / "prometheus.yml").read_text())
           ["scrape_configs"]}  # fmt: skip

Exposed = Mapping[str, Mapping[str, set[str]]]  # series' names, their labels, these labels' values


def count_everything(metrics: Metrics) -> None:
    """Count once whatever has labels."""
    for each in OPERATIONS:
        for status in (200, 503):
            metrics.request(each.method, each.path, status, 0.1)
    for step in ("completed", "attempt_failed", "failed"):
        metrics.step(step)
    for call in ("answered", *(outcome.value for outcome in Outcome)):
        metrics.call(call, 0.1)
    for reason in ("fenced", "stale"):
        metrics.refused(reason)
    for cancellation in Cancellation:
        metrics.cancellation(cancellation.value)
    for dropped in ("away", "full", "refused"):
        metrics.hint_dropped(dropped)
    for skipped in Skip:
        metrics.hint_skipped(skipped.value)
    for run_status in RunStatus:
        metrics.run_ended(run_status.value)


def exposed() -> Exposed:
    """Return what is scraped when everything has been counted; `job` and `instance` added."""
    metrics = Metrics("1.0.0")
    count_everything(metrics)
    found: dict[str, dict[str, set[str]]] = {"up": defaultdict(set)}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for name, value in sample.labels.items():
                labels[name].add(value)
    for labels in found.values():
        labels["job"] = SCRAPES
        labels["instance"] = {"orchestrator-1:8000"}
    return found


EXPOSED = exposed()


def wrong_in(query: str) -> list[str]:
    """Return what a query asks for and nothing exposes."""
    wrong: list[str] = []
    labels_there: set[str] = set()
    labels_asked: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, VectorSelector):
            visit_series(node)
        elif isinstance(node, AggregateExpr) and node.modifier is not None:
            assert node.modifier.type == AggModifierType.By
            labels_asked.update(node.modifier.labels)

    def visit_series(series: VectorSelector) -> None:
        labels = EXPOSED.get(series.name or "")
        if labels is None:
            wrong.append(f"no metric {series.name}")
            return
        labels_there.update(labels)
        for matcher in series.matchers.matchers:
            pattern = matcher.value if matcher.op == MatchOp.Re else re.escape(matcher.value)
            values = labels.get(matcher.name, set())
            wrong.extend(
                f"no {series.name} with {matcher.name}={alternative}"
                for alternative in pattern.split("|")
                if not any(re.fullmatch(alternative, value) for value in values)
            )

    promql_parser.walk(promql_parser.parse(query), visit)
    return wrong + [f"no label {label}" for label in sorted(labels_asked - labels_there)]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS for rule in group["rules"]]


def plain(query: str) -> str:
    """Put values where Grafana would."""
    return query.replace("$__rate_interval", "1m").replace("$instance", ".*")


def names_in(template: str) -> set[str]:
    return set(re.findall(r"{{ ?(?:\$labels\.)?(\w+) ?}}", template))


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("rate(orchestrator_steps_total[5m])", []),
        ("rate(orchestrator_steps[5m])", ["no metric orchestrator_steps"]),
        ("sum by (step) (orchestrator_steps_total)", ["no label step"]),
        (
            'orchestrator_steps_total{outcome="done"}',
            ["no orchestrator_steps_total with outcome=done"],
        ),
        ('up{job="elsewhere"} == 0', ["no up with job=elsewhere"]),
    ],
)
def test_a_query_for_what_is_not_there_is_noticed(query: str, wrong: list[str]) -> None:
    assert wrong_in(query) == wrong


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exposed(rule: dict[str, Any]) -> None:
    assert wrong_in(rule["expr"]) == []
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert names_in(rule["annotations"]["summary"]) <= {"instance"}


def test_each_alert_has_its_place_in_the_operations_page() -> None:
    page = (CONFIG.parent / "docs" / "operations.md").read_text()

    assert [rule["alert"] for rule in rules() if f"`{rule['alert']}`" not in page] == []


def test_the_alerts_know_the_settings_defaults() -> None:
    queries = {rule["alert"]: rule["expr"] for rule in rules()}

    settings = Settings.model_fields
    unowned = f"sum(orchestrator_partitions_owned) < {settings['partitions'].default}"
    assert queries["OrchestratorPartitionsUnowned"] == unowned
    full = f"orchestrator_active_actors >= {settings['max_active_runs'].default}"
    assert queries["OrchestratorFull"] == full


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_is_exposed(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = plain(target["expr"])
        assert wrong_in(query) == []
        aggregated = re.search(r"^sum by \(([^)]*)\)", query)
        kept = set(aggregated[1].split(", ")) if aggregated else {"instance", "route"}
        assert names_in(target["legendFormat"]) <= kept


def test_the_dashboard_shows_every_metric_of_ours() -> None:
    queries = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    ours = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in EXPOSED}

    unseen = {name for name in ours if name.startswith("orchestrator_") and name not in queries}

    assert unseen == set()


def test_the_panels_have_ids_and_places_of_their_own() -> None:
    everything = DASHBOARD["panels"]

    assert len({panel["id"] for panel in everything}) == len(everything)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in everything)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
