"""The spans of both services' tracers, as a receiver of OTLP gets them, beyond what a whole stack shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from math import inf

import pytest

from scheduler_svc.domain.errors import QueueFull
from scheduler_svc.domain.trace import TraceContext
from scheduler_svc.runtime.otel import OtelTracer
from tests.harness.otlp_receiver import OtlpReceiver
from worker_svc import otel as of_worker
from worker_svc.session.leases import Lease
from worker_svc.trace_context import TraceContext as OfLease

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
WITHIN = 10.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """A receiver to which the tracers of the test export."""
    level = logging.getLogger("opentelemetry.exporter").level
    with OtlpReceiver().serving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        yield receiver
    logging.getLogger("opentelemetry.exporter").setLevel(level)


def test_a_submit_that_is_refused_is_an_error_without_its_text(receiver: OtlpReceiver) -> None:
    tracer = OtelTracer()
    caller = TraceContext(PARENT)
    with pytest.raises(QueueFull), tracer.submit("TaskService/SubmitTask", caller):
        raise QueueFull(7)
    tracer.close(WITHIN)
    (span,) = receiver.spans()
    assert (span.trace_id, span.error) == (TRACE, "QueueFull")
    assert span.attributes == {}


def test_the_environment_names_the_service(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "articles")
    tracer = OtelTracer()
    with tracer.submit("schedule", None):
        pass
    tracer.close(WITHIN)
    (span,) = receiver.spans()
    assert span.service == "articles"


def test_a_lease_that_never_ran_is_delivered_in_its_trace(receiver: OtlpReceiver) -> None:
    tracer = of_worker.OtelTracer("a worker")
    lease = Lease("lease-1", 2, "task-1", 60.0, 0.0, inf, trace=OfLease(PARENT))
    tracer.ended(lease, "released", "DRAINING")
    tracer.delivered("lease-1", "committed")
    tracer.delivered("lease-1", "committed")  # a lease from the spool is not known
    tracer.close(WITHIN)
    (span,) = receiver.spans()
    assert (span.name, span.trace_id, span.parent_id) == ("deliver", TRACE, PARENT.split("-")[2])


def test_an_attempt_that_was_stopped_early_is_no_error(receiver: OtlpReceiver) -> None:
    tracer = of_worker.OtelTracer("a worker")
    lease = Lease("lease-1", 1, "task-1", 60.0, 0.0, inf, trace=OfLease(PARENT, "vendor=1"))
    tracer.started(lease)
    assert lease.trace
    assert (lease.trace.trace_id, lease.trace.tracestate) == (TRACE, "vendor=1")
    tracer.ended(lease, "released", "EXPIRED")
    tracer.delivered("lease-1", "lease_lost")
    tracer.close(WITHIN)
    attempt, delivery = receiver.spans()
    assert (attempt.error, attempt.attributes["contentgen.reason"]) == ("", "EXPIRED")
    assert delivery.parent_id == attempt.span_id == lease.trace.traceparent.split("-")[2]
    assert delivery.attributes["contentgen.outcome"] == "lease_lost"


def test_a_lease_without_a_trace_has_no_spans(receiver: OtlpReceiver) -> None:
    tracer = of_worker.OtelTracer("a worker")
    lease = Lease("lease-1", 1, "task-1", 60.0, 0.0, inf)
    tracer.started(lease)
    tracer.ended(lease, "completed", "")
    tracer.delivered("lease-1", "committed")
    tracer.close(WITHIN)
    assert lease.trace is None
    assert receiver.spans() == []
