"""The span that a lease follows, and what the worker tells a tracer about the leases of tasks that belong to a trace.

Without a tracer no span is made: the CLI gets the one that came with its lease. The scheduler has code of its own for
the context, whose domain imports nothing of others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from worker_svc.session.leases import Lease

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE = re.compile(r"[ -~]{0,512}")


class TraceContext(NamedTuple):
    traceparent: str
    tracestate: str = ""

    @classmethod
    def of(cls, traceparent: str, tracestate: str) -> TraceContext | None:
        """Returns the context of an assignment; None if it has none, or none that is valid."""
        if not _TRACEPARENT.fullmatch(traceparent):
            return None
        return cls(traceparent, tracestate if _TRACESTATE.fullmatch(tracestate) else "")

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    def variables(self) -> Mapping[str, str]:
        """Returns the variables by which a program learns of the span that it belongs to."""
        state = {"TRACESTATE": self.tracestate} if self.tracestate else {}
        return {"TRACEPARENT": self.traceparent, **state}


class Tracer:
    """Makes no spans, as without a collector; `otel.OtelTracer` does."""

    def started(self, lease: Lease) -> None:
        """A slot has taken it. What follows in its trace, such as the CLI's own spans, follows this attempt."""

    def ended(self, lease: Lease, ending: str, reason: str) -> None:
        """The update that ends it is known, and is to be delivered. `ending`: its kind; `reason` may be empty."""

    def delivered(self, lease_id: str, outcome: str) -> None:
        """That update is acknowledged."""

    def close(self, within: float) -> None:
        """Exports what is left, for so many seconds at most."""


NO_TRACER = Tracer()
