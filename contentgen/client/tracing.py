"""The span that a call belongs to, as metadata: W3C Trace Context. Layer: client, below the transports."""

from __future__ import annotations

import sys

Metadata = tuple[tuple[str, str], ...]


def current_span() -> Metadata:
    """OpenTelemetry's current span; empty if there is none, or the program does not use OpenTelemetry."""
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return tuple(headers.items())
