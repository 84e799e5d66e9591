"""The dashboard for Grafana: each query names what exists, all metrics are shown, and runbooks name its panels."""

from __future__ import annotations

import re

import pytest
from promql_parser import parse

from console_svc.metrics import ConsoleMetrics
from scheduler_svc.metrics import Metrics
from tests.verification.monitoring.dashboard import Query, dashboard, panels, queries
from tests.verification.monitoring.expressions import SCRAPED, Metric, problems, selectors
from tests.verification.monitoring.rules import RUNBOOKS, alerts, known, recording
from worker_svc.metrics import WorkerMetrics

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


def shown() -> dict[str, Metric]:
    """What a query may use: besides what rules may, the series that Prometheus makes of alerts."""
    names = frozenset(alert.name for alert in alerts())
    states = frozenset({"pending", "firing"})
    return {**known(), "ALERTS": Metric(frozenset({"alertname", "alertstate", "severity"}) | SCRAPED, names | states)}


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.panel)
def test_a_query_uses_what_exists(query: Query) -> None:
    assert "$" not in query.expression
    assert list(problems(query.expression, shown())) == []


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.panel)
def test_a_legend_names_labels_that_the_answer_has(query: Query) -> None:
    labels = frozenset[str]().union(*(shown()[name].labels for name, _ in selectors(parse(query.expression))))
    grouped = [set(re.split(r",\s*", by)) for by in re.findall(r"\bby \(([^)]*)\)", query.expression)]
    answered = set.union(*grouped) if grouped else set(labels)
    assert set(re.findall(r"{{(\w+)}}", query.legend)) <= answered


def test_every_metric_of_the_services_is_shown() -> None:
    """By itself, or in what is recorded."""
    asked = " ".join([*(query.expression for query in queries()), *recording().values()])
    services = (Metrics(""), WorkerMetrics(), ConsoleMetrics())
    declared = {metric.name for metrics in services for metric in metrics.declared}
    assert sorted(name for name in declared if not re.search(rf"\b{name}(?:_bucket|_sum|_count)?\b", asked)) == []


def test_what_is_recorded_is_used() -> None:
    used = " ".join([*(query.expression for query in queries()), *(alert.expression for alert in alerts())])
    assert sorted(name for name in recording() if name not in used) == []


def test_every_panel_asks_the_prometheus_that_was_chosen() -> None:
    assert [panel["title"] for panel in panels() if panel["datasource"] != SOURCE] == []
    assert [
        panel["title"] for panel in panels() if any(target["datasource"] != SOURCE for target in panel["targets"])
    ] == []
    (variable,) = dashboard()["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


def test_panels_have_a_title_and_a_place_of_their_own() -> None:
    titles = [panel["title"] for panel in dashboard()["panels"]]
    assert len(set(titles)) == len(titles)
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in dashboard()["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < COLUMNS


def test_runbooks_name_panels_that_exist() -> None:
    titles = {panel["title"] for panel in panels()}
    pages = [page.read_text(encoding="utf-8") for page in RUNBOOKS.iterdir()]
    named = [name for text in pages for name in re.findall(r'"([^"\n]+)"', _sentences_on_panels(text))]
    assert len(named) > 10
    assert sorted(set(named) - titles) == []


def _sentences_on_panels(page: str) -> str:
    """The prose of a page: in it, only panels are quoted."""
    return re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
