"""Rules and dashboard for Prometheus and Grafana: they name what exists, and do what they should."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import yaml
from promql_parser import AggregateExpr, BinaryExpr, Expr, Matcher, MatchOp, VectorSelector, parse, walk

from console_svc.metrics import ConsoleMetrics
from contentgen.service.metrics import Declared
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.metrics import Metrics
from scheduler_svc.metrics.catalog import ATTEMPT_ENDS
from tests.command.transcript import run
from tests.harness.process import program
from tests.harness.scripted_server import scripted
from tests.harness.settings import NAMES
from worker_svc.metrics import WorkerMetrics

pytestmark = pytest.mark.lab


# The rules for Prometheus, and what is beside them.


ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "contentgen.rules.yaml"
EXPECTED = FOLDER / "contentgen.expected.yaml"
TESTS = FOLDER / "contentgen.test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"


class Alert(NamedTuple):
    name: str
    expression: str
    severity: str
    annotations: Mapping[str, str]


_GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
_RULES = [rule for group in _GROUPS for rule in group["rules"]]
ALERTS = [
    Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"])
    for rule in _RULES
    if "alert" in rule
]
_RECORDING = [
    rule
    for group in [*yaml.safe_load(EXPECTED.read_text(encoding="utf-8"))["groups"], *_GROUPS]
    for rule in group["rules"]
    if "record" in rule
]
RECORDED: Mapping[str, str] = {rule["record"]: rule["expr"] for rule in _RULES if "record" in rule}
"""The expressions that are recorded, by the names of their series."""


@cache
def promtool_tests() -> list[dict[str, Any]]:
    return list(yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"])


@cache
def known() -> Mapping[str, Metric]:
    """What an expression may use: what is scraped, and what is recorded."""
    numbers = {
        "contentgen:expected:count": Metric(frozenset({"role"}), frozenset(expected(EXPECTED))),
        "contentgen:expected:backup_seconds": Metric(frozenset()),
    }
    results = {name: recorded(expression, existing()) for name, expression in RECORDED.items()}
    return {**existing(), **numbers, **results}


def expected(path: Path) -> Mapping[str, str]:
    """The expressions of how many processes there should be, by role."""
    (group,) = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return {rule["labels"]["role"]: rule["expr"] for rule in group["rules"] if "labels" in rule}


# The dashboard for Grafana, and what it asks.


class Query(NamedTuple):
    panel: str
    expression: str
    legend: str


DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "contentgen.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    Query(panel["title"], target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
]


# Whether expressions of PromQL use only metrics, labels and values that exist.


SERVICES = (Metrics(""), WorkerMetrics(), ConsoleMetrics())
SCRAPED = frozenset({"job", "instance"})
"""The labels that Prometheus gives to all that it scrapes."""
_WORD = re.compile(r"\w+")
_FURTHER_VALUES: Mapping[str, set[str]] = {
    "contentgen_tasks": {status.label for status in Status},
    "contentgen_account_tasks": {status.label for status in Status},
    "grpc_server_handled_total": {*(code.name for code in grpc.StatusCode), "unary", "bidi_stream"},
    "grpc_server_handling_seconds_bucket": {"unary", "bidi_stream"},
}
"""Values that neither a metric's help nor its first series name."""


_FURTHER_LABELS: Mapping[str, set[str]] = {
    "pg_stat_activity_count": {"server", "datname", "state", "backend_type", "wait_event_type"},
    "pg_stat_replication_pg_wal_lsn_diff": {"server", "application_name", "state"},
    "pg_replication_slots_pg_wal_lsn_diff": {"server", "slot_name"},
    "pg_replication_lag_seconds": set(),
    "pg_replication_is_replica": set(),
    "pg_settings_max_connections": {"server"},
    "pg_stat_archiver_failed_count": {"server"},
    "pg_database_wraparound_age_datfrozenxid_seconds": {"datname"},
    "node_filesystem_avail_bytes": {"device", "fstype", "mountpoint"},
    "node_filesystem_size_bytes": {"device", "fstype", "mountpoint"},
}
"""The series of postgres_exporter 0.17 and node_exporter (from its documentation) that rules use, with their labels."""
_FOREIGN_VALUES = frozenset({"streaming", "client backend", "Lock", "ext4", "tmpfs"})


class Metric(NamedTuple):
    """One series; `values`: those that its labels may have."""

    labels: frozenset[str]
    values: frozenset[str] = frozenset()


@cache
def existing() -> Mapping[str, Metric]:
    """The series that Prometheus has of what it scrapes, by name, and `up`, which it makes itself."""
    metrics_by_name = {name: Metric(SCRAPED | labels, _FOREIGN_VALUES) for name, labels in _FURTHER_LABELS.items()}
    metrics_by_name["up"] = Metric(SCRAPED)
    for metrics in SERVICES:
        for declared in metrics.declared:
            labels, values = SCRAPED | frozenset(declared.labels), frozenset(_WORD.findall(declared.documentation))
            for name, added in _series(declared).items():
                metrics_by_name[name] = Metric(
                    labels | added, values | metrics_by_name.get(name, Metric(frozenset())).values
                )
        for family in metrics.registry.collect():
            for sample in family.samples:
                metric = metrics_by_name.get(sample.name, Metric(SCRAPED | set(sample.labels)))
                metrics_by_name[sample.name] = metric._replace(values=metric.values | set(sample.labels.values()))
    for name, further in _FURTHER_VALUES.items():
        metrics_by_name[name] = metrics_by_name[name]._replace(values=metrics_by_name[name].values | further)
    return metrics_by_name


def _series(metric: Declared) -> Mapping[str, frozenset[str]]:
    """The names of its series, with the labels that they have besides its own."""
    if metric.kind != "histogram":
        return {metric.name: frozenset()}
    suffixes = {"_bucket": frozenset({"le"}), "_sum": frozenset[str](), "_count": frozenset[str]()}
    return {metric.name + suffix: labels for suffix, labels in suffixes.items()}


def recorded(expression: str, known: Mapping[str, Metric]) -> Metric:
    """What the series of a recording rule have: the labels by which it aggregates."""
    aggregate = parse(expression)
    assert isinstance(aggregate, AggregateExpr), expression
    labels = aggregate.modifier.labels if aggregate.modifier else ()
    used = [known[name] for name, _ in selectors(aggregate)]
    return Metric(frozenset(labels), frozenset[str]().union(*(metric.values for metric in used)))


def problems(expression: str, known: Mapping[str, Metric]) -> Iterator[str]:
    """What an expression names that does not exist."""
    parsed = parse(expression)
    labels: set[str] = set()
    for name, matchers in selectors(parsed):
        if name not in known:
            yield f"there is no {name}"
            continue
        metric = known[name]
        labels |= metric.labels
        for matcher in matchers:
            if matcher.name not in metric.labels:
                yield f"{name} has no label {matcher.name}"
            elif matcher.name not in SCRAPED and not any(_matches(matcher, value) for value in metric.values):
                yield f"{name} has no {matcher.name} that is {matcher.value}"
    for label in sorted(_grouped_by(parsed) - labels):
        yield f"nothing there has a label {label}"


def _matches(matcher: Matcher, value: str) -> bool:
    pattern = matcher.value if matcher.op in (MatchOp.Re, MatchOp.NotRe) else re.escape(matcher.value)
    return re.fullmatch(pattern, value) is not None


def _parts(expression: Expr) -> list[Expr]:
    parts: list[Expr] = []
    walk(expression, parts.append)
    return parts


def selectors(expression: Expr) -> list[tuple[str, list[Matcher]]]:
    """The series that an expression reads: their name and what it wants of their labels."""
    series = (part for part in _parts(expression) if isinstance(part, VectorSelector))
    return [(part.name or "", part.matchers.matchers) for part in series]


def _grouped_by(expression: Expr) -> set[str]:
    """The labels of `by`, `without`, `on` and their like."""
    labels: set[str] = set()
    for part in _parts(expression):
        if isinstance(part, AggregateExpr) and part.modifier:
            labels.update(part.modifier.labels)
        if isinstance(part, BinaryExpr) and part.modifier:
            labels.update(part.modifier.matching.labels if part.modifier.matching else ())
            labels.update(part.modifier.group_labels or ())
    return labels


# The dashboard for Grafana: each query names what exists, all metrics are shown, and runbooks name its panels.


SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def queryable() -> dict[str, Metric]:
    """What a query may use: besides what rules may, the series that Prometheus makes of alerts."""
    names = frozenset(alert.name for alert in ALERTS)
    states = frozenset({"pending", "firing"})
    return {**known(), "ALERTS": Metric(frozenset({"alertname", "alertstate", "severity"}) | SCRAPED, names | states)}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        *(pytest.param(query.expression, queryable, id=query.panel) for query in QUERIES),
        *(pytest.param(alert.expression, known, id=alert.name) for alert in ALERTS),
        *(pytest.param(expression, existing, id=name) for name, expression in RECORDED.items()),
    ],
)
def test_an_expression_uses_what_exists(expression: str, names: Callable[[], Mapping[str, Metric]]) -> None:
    assert "$" not in expression
    assert list(problems(expression, names())) == []


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.panel)
def test_a_legend_names_labels_that_the_answer_has(query: Query) -> None:
    labels = frozenset[str]().union(*(queryable()[name].labels for name, _ in selectors(parse(query.expression))))
    grouped = [set(re.split(r",\s*", by)) for by in re.findall(r"\bby \(([^)]*)\)", query.expression)]
    answered = set.union(*grouped) if grouped else set(labels)
    assert set(re.findall(r"{{(\w+)}}", query.legend)) <= answered


def test_every_metric_of_the_services_is_shown() -> None:
    """By itself, or in what is recorded."""
    expressions = " ".join([*(query.expression for query in QUERIES), *RECORDED.values()])
    declared = {metric.name for metrics in SERVICES for metric in metrics.declared}
    assert sorted(name for name in declared if not re.search(rf"\b{name}(?:_bucket|_sum|_count)?\b", expressions)) == []


def test_what_is_recorded_is_used() -> None:
    used = " ".join([*(query.expression for query in QUERIES), *(alert.expression for alert in ALERTS)])
    assert sorted(name for name in RECORDED if name not in used) == []


def test_every_panel_asks_the_prometheus_that_was_chosen() -> None:
    asking = [(panel["title"], part["datasource"]) for panel in PANELS for part in (panel, *panel["targets"])]
    assert [title for title, source in asking if source != SOURCE] == []
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")


def test_panels_have_a_title_and_a_place_of_their_own() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(titles)) == len(titles)
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    cells: list[tuple[int, int]] = []
    for panel in DASHBOARD["panels"]:
        x, y, width, height = (panel["gridPos"][name] for name in "xywh")
        cells += product(range(x, x + width), range(y, y + height))
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24  # columns of a dashboard


def test_runbooks_name_panels_that_exist() -> None:
    titles = {panel["title"] for panel in PANELS}
    pages = [page.read_text(encoding="utf-8") for page in RUNBOOKS.iterdir()]
    prose = re.sub(r"```.*?```|`[^`]*`", "", "\n".join(pages), flags=re.DOTALL)  # in it, only panels are quoted
    named = re.findall(r'"([^"\n]+)"', prose)
    assert len(named) > 10
    assert sorted(set(named) - titles) == []


# The rules for Prometheus: promtool's own tests, what exists, and a runbook for each alert that can be followed.


PAGES = sorted(RUNBOOKS.iterdir())
SECTIONS = ["## What it means", "## How to see it", "## What to do", "## When to worry"]
STAND_INS = {
    "TASK": "task-0000000000000001",
    "DELIVERY …": "7",
    "ID": "7",
    "N": "10",
    "SLOTS": "2",
    "URL": "https://a.example",
}
"""For what a page leaves open in its commands."""
_COMMAND = re.compile(r"(?:^|`)contentgen ([^`#|\n]+)", re.MULTILINE)
_METRIC = re.compile(r"\b(?:contentgen|grpc_server|process)_[a-z_]+[a-z]\b")
_SETTING = re.compile(r"\b(?:CONTENTGEN|CREATOR)_[A-Z_]+[A-Z]\b")


def promtool(*arguments: str) -> None:
    command = [program("promtool"), *arguments]
    environment = os.environ | {"GOGC": "800"}  # it collects garbage less often
    ran = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtool_accepts_the_rules_and_the_settings() -> None:
    promtool("check", "config", "prometheus.yaml")


@pytest.mark.parametrize(("severity", "receiver"), [("critical", "critical"), ("warning", "warning")])
def test_amtool_accepts_the_routes_and_follows_them(severity: str, receiver: str) -> None:
    amtool = [program("amtool"), "config", "routes", "test", "--config.file=alertmanager.yaml"]
    command = [*amtool, f"--verify.receivers={receiver}", f"severity={severity}", "alertname=ContentgenSome"]
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtools_tests_pass(tmp_path: Path) -> None:
    """Each test gets the rules that it needs and no others: promtool evaluates all that there are at every moment."""
    shared = yaml.safe_load(TESTS.read_text(encoding="utf-8"))
    for number, test in enumerate(promtool_tests()):
        names = {case["alertname"] for case in test["alert_rule_test"]}
        rules = [rule for rule in _RULES if rule.get("alert") in names]
        asked = " ".join(rule["expr"] for rule in rules)
        recorded = [rule for rule in _RECORDING if rule["record"] in asked]
        groups = {"groups": [{"name": "all", "rules": [*recorded, *rules]}]}  # only those of a group have an order
        document = {**shared, "rule_files": [f"{number}.rules.yaml"], "tests": [test]}
        (tmp_path / f"{number}.rules.yaml").write_text(yaml.safe_dump(groups), encoding="utf-8")
        (tmp_path / f"{number}.test.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    promtool("test", "rules", *map(str, tmp_path.glob("*.test.yaml")))


def test_each_alert_is_tested_while_all_is_well_and_while_it_is_not() -> None:
    cases = [case for test in promtool_tests() for case in test["alert_rule_test"]]
    names = {alert.name for alert in ALERTS}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_promtools_tests_use_series_that_exist() -> None:
    series = {entry["series"] for test in promtool_tests() for entry in test["input_series"]}
    findings = [problem for name in sorted(series) for problem in problems(name, existing())]
    assert [problem for problem in findings if " that is " not in problem] == []  # not each value is known


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_it_is_and_leads_to_its_runbook(alert: Alert) -> None:
    assert re.fullmatch(r"Contentgen(?:[A-Z][a-z]+)+", alert.name)
    assert alert.severity in {"critical", "warning"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    address = '{{ or $externalLabels.runbooks "docs/runbooks" }}'
    assert alert.annotations["runbook_url"] == f"{address}/{alert.name}.md"


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert [page.name for page in PAGES] == sorted(f"{alert.name}.md" for alert in ALERTS)


def test_the_guide_lists_each_alert() -> None:
    guide = (ROOT / "docs" / "how-to" / "monitoring.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\.\./runbooks/(\w+)\.md\) \| (critical|warning) \|", guide, re.MULTILINE)
    assert listed == [(alert.name, alert.name, alert.severity) for alert in ALERTS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_what_to_do_and_names_what_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (severity,) = (alert.severity for alert in ALERTS if alert.name == page.stem)
    assert text.startswith(f"# {page.stem}\n\n{severity.capitalize()}. ")
    assert re.findall(r"^## .*", text, re.MULTILINE) == SECTIONS
    assert "contentgen doctor" in text or re.search(r"contentgen --scheduler \S+ doctor", text)
    assert sorted(set(_METRIC.findall(text)) - set(existing())) == []
    assert (
        sorted(set(_SETTING.findall(text)) - NAMES["scheduler"] - NAMES["worker"] - NAMES["console"] - ATTEMPT_ENDS)
        == []
    )


def test_the_commands_of_runbooks_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a server that knows no call, so that nothing comes of them but that they were understood."""
    monkeypatch.chdir(tmp_path)
    commands = {call.strip() for page in PAGES for call in _COMMAND.findall(page.read_text(encoding="utf-8"))}
    assert len(commands) > 20
    with scripted() as target:
        ended = {call: run(*_filled(call, target)).status for call in sorted(commands)}
    assert {call: status for call, status in ended.items() if status not in {0, 1, 4}} == {}


def _filled(call: str, target: str) -> list[str]:
    filled = " ".join(shlex.split(re.sub(r"--scheduler \S+ ", "", call)))
    for open_word, value in STAND_INS.items():
        filled = re.sub(rf"(?<!\S){re.escape(open_word)}(?!\S)", value, filled)
    return ["-s", target, *shlex.split(filled)]


def test_a_rule_that_names_what_does_not_exist_is_found() -> None:
    wrong = (
        'sum by (queue) (rate(contentgen_attempts_total{reason="LOST"}[5m])) / contentgen_worker_slots{slot="1"} + gone'
    )
    assert list(problems(wrong, known())) == [
        "contentgen_attempts_total has no reason that is LOST",
        "contentgen_worker_slots has no label slot",
        "there is no gone",
        "nothing there has a label queue",
    ]
