"""The worker's spans, made by OpenTelemetry and exported by OTLP.

`main` imports it only if spans are exported, after the guard was started: without that nothing of OpenTelemetry is
loaded.
"""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind, StatusCode

from contentgen.service.tracing import Exporter, after, headers_of
from worker_svc.session.leases import Lease, TraceContext, Tracer


class OtelTracer(Tracer):
    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._exporter = Exporter("worker")
        self._attempts: dict[str, Span] = {}
        self._deliveries: dict[str, Span] = {}

    def started(self, lease: Lease) -> None:
        if lease.trace:
            span = self._attempts[lease.lease_id] = self._start("attempt", lease, lease.trace, SpanKind.CONSUMER)
            lease.trace = TraceContext(**headers_of(span))  # handed on for spans that follow this one

    def ended(self, lease: Lease, ending: str, reason: str) -> None:
        if not lease.trace:
            return
        if span := self._attempts.pop(lease.lease_id, None):
            span.set_attribute("contentgen.ending", ending)
            if reason:
                span.set_attribute("contentgen.reason", reason)
            if ending == "failed":
                span.set_status(StatusCode.ERROR, reason)
            span.end()
        self._deliveries[lease.lease_id] = self._start("deliver", lease, lease.trace, SpanKind.CLIENT)

    def delivered(self, lease_id: str, outcome: str) -> None:
        if span := self._deliveries.pop(lease_id, None):
            span.set_attribute("contentgen.outcome", outcome)
            span.end()

    def close(self, within: float) -> None:
        self._exporter.close(within)

    def _start(self, name: str, lease: Lease, parent: TraceContext, kind: SpanKind) -> Span:
        attributes: dict[str, str | int] = {
            "contentgen.task_id": lease.task_id,
            "contentgen.account_id": lease.account_id,
            "contentgen.attempt": lease.attempt,
            "contentgen.worker_id": self._worker_id,
        }
        context = after(parent.traceparent, parent.tracestate)
        return self._exporter.tracer.start_span(name, context, kind, attributes)
