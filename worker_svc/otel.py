"""The worker's spans, made by OpenTelemetry and exported by OTLP.

Layer: above session, which tells it what happens. `main` imports it only if spans are exported, after the guard was
started: without that nothing of OpenTelemetry is loaded. The scheduler has code of its own: the services share only the
protos.
"""

from __future__ import annotations

import logging
import uuid
from importlib.metadata import version
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker_svc.session.leases import Lease
from worker_svc.trace_context import TraceContext

_W3C = TraceContextTextMapPropagator()


class OtelTracer:
    """Implements `session.tracing.Tracer`. Spans wait in memory for an exporter's thread; nothing waits for it."""

    def __init__(self, worker_id: str) -> None:
        own = {
            "service.name": "contentgen-worker",
            "service.version": version("contentgen-grpc"),
            "service.instance.id": str(uuid.uuid4()),
        }
        resource = Resource.create({**own, **OTELResourceDetector().detect().attributes})
        self._worker_id = worker_id
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # it warns of each retry
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("contentgen.worker")
        self._attempts: dict[str, Span] = {}
        self._deliveries: dict[str, Span] = {}

    def started(self, lease: Lease) -> None:
        if lease.trace:
            span = self._attempts[lease.lease_id] = self._start("attempt", lease, lease.trace, SpanKind.CONSUMER)
            lease.trace = _before(span)

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
        closing = Thread(target=self._provider.shutdown, name="otel-close", daemon=True)
        closing.start()
        closing.join(within)

    def _start(self, name: str, lease: Lease, parent: TraceContext, kind: SpanKind) -> Span:
        headers = {"traceparent": parent.traceparent, "tracestate": parent.tracestate}
        attributes: dict[str, str | int] = {
            "contentgen.task_id": lease.task_id,
            "contentgen.account_id": lease.account_id,
            "contentgen.attempt": lease.attempt,
            "contentgen.worker_id": self._worker_id,
        }
        return self._tracer.start_span(name, _W3C.extract(headers, Context()), kind, attributes)


def _before(span: Span) -> TraceContext:
    """What is handed on for spans that follow this one."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span, Context()))
    return TraceContext(**headers)
