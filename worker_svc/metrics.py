"""What a worker tells Prometheus: names, help, labels, buckets.

`docs/reference/metrics.md` is made from what is declared here. Every label has a small, fixed set of values.
"""

from __future__ import annotations

from contentgen.service.metrics import ServiceMetrics

LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
RUN_BUCKETS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0)


class WorkerMetrics(ServiceMetrics):
    def __init__(self) -> None:
        super().__init__("worker")
        self.loop_lag = self._histogram(
            "contentgen_event_loop_lag_seconds", "How late the event loop ran a timer, twice a second.", LAG_BUCKETS
        )
        self.connected = self._gauge(
            "contentgen_worker_connected", "Whether a session with a scheduler is open, as /readyz says: 1 or 0."
        )
        self.sessions = self._counter("contentgen_worker_sessions_total", "Sessions with schedulers that were opened.")
        self.stream_ends = self._counter(
            "contentgen_worker_stream_ends_total",
            "Streams to schedulers that ended, by status code (OK: the scheduler ended it, or asked for another one).",
            "code",
        )
        self.certificate_expiry = self._gauge(
            "contentgen_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file expires, in Unix time.",
            "setting",
        )
        self.slots = self._gauge("contentgen_worker_slots", "CLIs that may run at once.")
        self.slots_in_use = self._gauge("contentgen_worker_slots_in_use", "Slots in use.")
        self.queued = self._gauge("contentgen_worker_queued_leases", "Leases that wait for a slot.")
        self.held = self._gauge(
            "contentgen_worker_held_leases", "Leases that are held; those with an unacknowledged result are, too."
        )
        self.lease_ends = self._counter(
            "contentgen_worker_leases_total", "Leases that ended: completed, failed, deferred or released.", "end"
        )
        self._runs = self._counter(
            "contentgen_worker_runs_total",
            "Runs that ended by themselves: COMPLETED, DEFERRED, or the reason of Task.error.",
            "outcome",
        )
        self._run_seconds = self._histogram(
            "contentgen_worker_run_seconds", "How long runs took that ended by themselves.", RUN_BUCKETS
        )
        self._exits = self._counter(
            "contentgen_worker_cli_exits_total",
            "CLIs that ended: zero, nonzero (their exit status), or signal.",
            "exit",
        )
        self._cli_seconds = self._counter(
            "contentgen_worker_cli_seconds_total", "How long CLIs ran, all of them together."
        )
        self.circuit_closed = self._gauge(
            "contentgen_worker_circuit_closed", "1, or 0 while the circuit breaker keeps tasks from a broken CLI."
        )
        self.spooled = self._gauge(
            "contentgen_worker_spooled_results", "Results on disk that no scheduler has acknowledged."
        )
        self.oldest_spooled = self._gauge(
            "contentgen_worker_oldest_spooled_result_seconds", "Age of the oldest of these results; 0: there is none."
        )
        self.disk_writable = self._gauge(
            "contentgen_worker_disk_writable", "1, or 0 if the last write to the data folder failed: no task is taken."
        )

    def ran(self, outcome: str, seconds: float) -> None:
        self._runs.labels(outcome).inc()
        self._run_seconds.observe(seconds)

    def cli_ended(self, code: int | None, seconds: float) -> None:
        """`code`: the exit status; None: a signal ended it."""
        self._exits.labels("signal" if code is None else "nonzero" if code else "zero").inc()
        self._cli_seconds.inc(seconds)
