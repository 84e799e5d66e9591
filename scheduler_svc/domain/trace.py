"""Where a task belongs in a distributed trace: the W3C Trace Context of its submit."""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_TRACESTATE = 512
"""Characters; W3C asks for no more to be passed on."""

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MAX_STATES = 32
_FLAGS = 0x03
"""Sampled, and random: what version 00 knows."""


class TraceContext(NamedTuple):
    """A span of a trace, which later spans follow. `traceparent` is of version 00 and valid."""

    traceparent: str
    tracestate: str = ""

    @property
    def trace_id(self) -> str:
        return trace_id(self.traceparent)


def trace_id(traceparent: str) -> str:
    """The trace's id in a valid traceparent: 32 hexadecimal digits."""
    return traceparent[3:35]


def read_trace(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """The context that a caller sent; None if its traceparent is invalid. An invalid tracestate counts as empty.

    A later version is read as far as version 00 goes, and passed on as 00.
    """
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if match is None or (match[1] == "00" and match[5]):
        return None
    return TraceContext(f"00-{match[2]}-{match[3]}-{int(match[4], 16) & _FLAGS:02x}", _read_state(tracestate))


def _read_state(tracestate: str) -> str:
    members = [member for part in tracestate.split(",") if (member := part.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    valid = len(keys) == len(members) <= _MAX_STATES and all(map(_STATE.fullmatch, members))
    state = ",".join(members)
    return state if valid and len(state) <= MAX_TRACESTATE else ""
