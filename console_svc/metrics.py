"""All metrics of a console: names, help, labels, buckets.

`docs/reference/metrics.md` is made from what is declared here. Every label has a small, fixed set of values: a
page is named by the pattern of its path.
"""

from __future__ import annotations

from collections.abc import Callable

from contentgen.service.metrics import ServiceMetrics

PAGE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ConsoleMetrics(ServiceMetrics):
    def __init__(self) -> None:
        super().__init__("console")
        self._answers = self._counter(
            "contentgen_console_answers_total",
            "Answers to browsers, by page (the pattern of its path), method and status.",
            "page",
            "method",
            "status",
        )
        self._seconds = self._histogram(
            "contentgen_console_answer_seconds",
            "How long it took to make an answer, calls of the schedulers included; of a live page: until it is open.",
            PAGE_BUCKETS,
            "page",
        )
        self._sign_ins = self._counter(
            "contentgen_console_sign_ins_total",
            "Tries to sign in: accepted, unknown_token, too_many, foreign_form, schedulers_away; provider_away,"
            " provider_refused, no_role, not_delegated.",
            "outcome",
        )
        self.certificate_expiry = self._gauge(
            "contentgen_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file expires, in Unix time.",
            "setting",
        )
        self._sessions = self._gauge("contentgen_console_sessions", "Browsers that have signed in.")
        self._pages = self._gauge("contentgen_console_live_pages", "Pages that are open and kept fresh.")
        self._watches = self._gauge(
            "contentgen_console_watches", "Watches of tasks at the schedulers: one for each token that has live pages."
        )

    def follow(self, sessions: Callable[[], int], pages: Callable[[], int], watches: Callable[[], int]) -> None:
        """Takes the functions that the gauges are read from at each scrape."""
        self._sessions.set_function(sessions)
        self._pages.set_function(pages)
        self._watches.set_function(watches)

    def answered(self, page: str, method: str, status: int, seconds: float) -> None:
        self._answers.labels(page, method, str(status)).inc()
        self._seconds.labels(page).observe(seconds)

    def signed_in(self, outcome: str) -> None:
        self._sign_ins.labels(outcome).inc()
