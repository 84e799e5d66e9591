"""Whether expressions of PromQL use only metrics, labels and values that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import grpc
from promql_parser import AggregateExpr, BinaryExpr, Expr, Matcher, MatchOp, VectorSelector, parse, walk

from console_svc.metrics import ConsoleMetrics
from contentgen.service.metrics import Declared
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.metrics import Metrics
from worker_svc.metrics import WorkerMetrics

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


class Metric(NamedTuple):
    """One series; `values`: those that its labels may have."""

    labels: frozenset[str]
    values: frozenset[str] = frozenset()


@cache
def existing() -> Mapping[str, Metric]:
    """The series that Prometheus has of schedulers, workers and consoles, by name, and `up`, which it makes itself."""
    metrics_by_name: dict[str, Metric] = {"up": Metric(SCRAPED)}
    for metrics in (Metrics(""), WorkerMetrics(), ConsoleMetrics()):
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


def selectors(expression: Expr) -> list[tuple[str, list[Matcher]]]:
    """The series that an expression reads: their name and what it wants of their labels."""
    series: list[tuple[str, list[Matcher]]] = []

    def visit(node: Expr) -> None:
        if isinstance(node, VectorSelector):
            series.append((node.name or "", node.matchers.matchers))

    walk(expression, visit)
    return series


def _grouped_by(expression: Expr) -> set[str]:
    """The labels of `by`, `without`, `on` and their like."""
    labels: set[str] = set()

    def visit(node: Expr) -> None:
        if isinstance(node, AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)
        if isinstance(node, BinaryExpr) and node.modifier:
            labels.update(node.modifier.matching.labels if node.modifier.matching else ())
            labels.update(node.modifier.group_labels or ())

    walk(expression, visit)
    return labels
