"""The span that a lease follows, as W3C Trace Context writes it: from its assignment to the CLI's environment.

Layer: the bottom, beside config. The scheduler has code of its own, whose domain imports nothing of others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

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
