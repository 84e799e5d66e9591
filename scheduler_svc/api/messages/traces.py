"""The trace that a call belongs to, by its metadata. Part of `api`."""

from __future__ import annotations

from typing import Any

from grpc import aio

from scheduler_svc.domain.trace import TraceContext, read_trace


def caller_trace(context: aio.ServicerContext[Any, Any]) -> TraceContext | None:
    """The span that the caller sent as W3C Trace Context. None if it sent none, or none that is valid."""
    parent, states = "", []
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            parent = str(value)
        elif key == "tracestate":
            states.append(str(value))
    return read_trace(parent, ",".join(states)) if parent else None
