"""W3C Trace Context, as the scheduler reads it from a call and the worker from an assignment."""

from __future__ import annotations

import pytest

from scheduler_svc.domain.trace import MAX_TRACESTATE, TraceContext, read_trace
from worker_svc.trace_context import TraceContext as OfLease

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"

INVALID = {
    "empty": "",
    "a word": "none",
    "no flags": f"00-{TRACE}-{SPAN}",
    "upper case": PARENT.upper(),
    "a trace of zeros": f"00-{'0' * 32}-{SPAN}-01",
    "a span of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "the version that never is": f"ff-{TRACE}-{SPAN}-01",
    "version 00 with more": f"{PARENT}-00",
    "a short trace": f"00-{TRACE[:-1]}-{SPAN}-01",
    "a line after it": f"{PARENT}\n",
    "no hexadecimal digits": f"00-{'g' * 32}-{SPAN}-01",
}


@pytest.mark.parametrize("value", INVALID.values(), ids=INVALID.keys())
def test_an_invalid_traceparent_is_ignored(value: str) -> None:
    assert read_trace(value, "a=1") is None
    assert OfLease.of(value, "a=1") is None


def test_a_valid_one_is_passed_on_as_it_is() -> None:
    trace = read_trace(PARENT, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert trace == TraceContext(PARENT, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert trace.trace_id == TRACE


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        (f" {PARENT}\t", PARENT),
        (f"01-{TRACE}-{SPAN}-01", PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what the future brings", PARENT),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
    ],
)
def test_what_is_newer_is_read_as_far_as_it_is_known(given: str, passed_on: str) -> None:
    assert read_trace(given) == TraceContext(passed_on)


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ("a=1 , b=2,, c=3", "a=1,b=2,c=3"),
        ("fw529a3039@dt=FfAAAA", "fw529a3039@dt=FfAAAA"),
        ("a=1,a=2", ""),
        ("no value", ""),
        ("a=", ""),
        ("A=1", ""),
        ("a=é", ""),
        (",".join(f"k{n}=v" for n in range(33)), ""),
        (f"a={'v' * 255},b={'v' * 255}", ""),
    ],
)
def test_an_invalid_tracestate_counts_as_empty(given: str, passed_on: str) -> None:
    assert read_trace(PARENT, given) == TraceContext(PARENT, passed_on)


def test_the_longest_tracestate_is_passed_on() -> None:
    longest = f"a={'v' * 255},{'b' * (MAX_TRACESTATE - 260)}=1"
    assert len(longest) == MAX_TRACESTATE
    assert read_trace(PARENT, longest) == TraceContext(PARENT, longest)


def test_the_cli_gets_the_variables() -> None:
    with_state, without = OfLease.of(PARENT, "a=1"), OfLease.of(PARENT, "")
    assert with_state
    assert with_state.variables() == {"TRACEPARENT": PARENT, "TRACESTATE": "a=1"}
    assert with_state.trace_id == TRACE
    assert without
    assert without.variables() == {"TRACEPARENT": PARENT}


def test_a_state_that_no_environment_can_hold_is_left_out() -> None:
    assert OfLease.of(PARENT, "a=\0") == OfLease(PARENT)
    assert OfLease.of(PARENT, "a" * 513) == OfLease(PARENT)
