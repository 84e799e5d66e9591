"""How a service declares its metrics: each by name, help, labels and buckets, in a registry of its own.

`docs/metrics.md` is made from what is declared. Every label has a small, fixed set of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics


class Declared(NamedTuple):
    """One metric, as the document shows it."""

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...]


class ServiceMetrics:
    """The metrics of one service. Derive from it, and declare further ones."""

    def __init__(self, service: str) -> None:
        """`service`: such as `worker`."""
        disable_created_metrics()  # type: ignore[no-untyped-call] # they double the number of series
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        ProcessCollector(registry=self.registry)
        self._service = service
        self._build = self._gauge(
            "contentgen_build_info", f"Always 1. The version of this {service} is a label.", "service", "version"
        )

    def built(self, version: str) -> None:
        self._build.labels(self._service, version).set(1)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        self.declared.append(Declared(name, "counter", documentation, labels))
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        self.declared.append(Declared(name, "gauge", documentation, labels))
        return Gauge(name, documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float], *labels: str) -> Histogram:
        self.declared.append(Declared(name, "histogram", documentation, labels))
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)
