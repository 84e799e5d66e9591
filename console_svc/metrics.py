"""All metrics of a console: names, help, labels, buckets. `docs/metrics.md` is made from what is declared here.

Every label has a small, fixed set of values: a page is named by the pattern of its path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

PAGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Declared(NamedTuple):
    """One metric, as the document shows it."""

    name: str
    kind: str
    documentation: str
    labels: tuple[str, ...]


class ConsoleMetrics:
    """The metrics of one console, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # they double the number of series
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        ProcessCollector(registry=self.registry)
        self._build = self._gauge(
            "contentgen_build_info", "Always 1. The version of this console is a label.", "service", "version"
        )
        self._answers = self._counter(
            "contentgen_console_answers_total",
            "Answers to browsers, by page (the pattern of its path), method and status.",
            ("page", "method", "status"),
        )
        self._seconds = self._histogram(
            "contentgen_console_answer_seconds",
            "How long it took to make an answer, calls of the schedulers included; of a live page: until it is open.",
            PAGE_BUCKETS,
            ("page",),
        )
        self._sign_ins = self._counter(
            "contentgen_console_sign_ins_total",
            "Tries to sign in: accepted, unknown_token, too_many, foreign_form or schedulers_away.",
            ("outcome",),
        )
        self._sessions = self._gauge("contentgen_console_sessions", "Browsers that have signed in.")
        self._pages = self._gauge("contentgen_console_live_pages", "Pages that are open and kept fresh.")
        self._watches = self._gauge(
            "contentgen_console_watches", "Watches of tasks at the schedulers: one for each token that has live pages."
        )

    def built(self, version: str) -> None:
        self._build.labels("console", version).set(1)

    def follow(self, sessions: Callable[[], int], pages: Callable[[], int], watches: Callable[[], int]) -> None:
        """What the gauges are read from at each scrape."""
        self._sessions.set_function(sessions)
        self._pages.set_function(pages)
        self._watches.set_function(watches)

    def answered(self, page: str, method: str, status: int, seconds: float) -> None:
        self._answers.labels(page, method, str(status)).inc()
        self._seconds.labels(page).observe(seconds)

    def signed_in(self, outcome: str) -> None:
        self._sign_ins.labels(outcome).inc()

    # How they are declared

    def _counter(self, name: str, documentation: str, labels: Sequence[str]) -> Counter:
        self.declared.append(Declared(name, "counter", documentation, tuple(labels)))
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        self.declared.append(Declared(name, "gauge", documentation, labels))
        return Gauge(name, documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, buckets: Sequence[float], labels: Sequence[str]) -> Histogram:
        self.declared.append(Declared(name, "histogram", documentation, tuple(labels)))
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)
