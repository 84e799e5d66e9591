"""What exports spans, by OTLP.

Only the services' modules `otel` import it, and those are imported only where spans are exported: without that nothing
of OpenTelemetry is loaded.
"""

from __future__ import annotations

import logging
import uuid
from threading import Thread

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from contentgen.version import own_version

_W3C = TraceContextTextMapPropagator()


class Exporter:
    """Spans wait in memory for an exporter's thread; no call waits for it."""

    def __init__(self, service: str) -> None:
        """`service`: such as `scheduler`."""
        attributes = {
            "service.name": f"contentgen-{service}",
            "service.version": own_version(),
            "service.instance.id": str(uuid.uuid4()),
        }
        resource = Resource.create({**attributes, **OTELResourceDetector().detect().attributes})
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # it warns of each retry
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self._provider.get_tracer(f"contentgen.{service}")

    def close(self, within: float) -> None:
        """Exports the last spans; gives up after so many seconds."""
        thread = Thread(target=self._provider.shutdown, name="otel-close", daemon=True)
        thread.start()
        thread.join(within)


def after(traceparent: str, tracestate: str) -> Context:
    """Returns the context in which a span that follows this one is started."""
    return _W3C.extract({"traceparent": traceparent, "tracestate": tracestate}, Context())


def headers_of(span: Span) -> dict[str, str]:
    """Returns the headers for spans that follow this one: `traceparent`, and `tracestate` if there is any."""
    headers: dict[str, str] = {}
    _W3C.inject(headers, set_span_in_context(span, Context()))
    return headers
