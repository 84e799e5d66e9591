"""A report in parts: one at a time, whole in the end, and as large as the link carries in a second or less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_svc.session.parts import FAST_LIMIT, FAST_SHARE, MAX_PART, MIN_PART, SLOW_FACTOR, ReportCutter

FAR_APART = FAST_LIMIT / FAST_SHARE
"""Seconds between two heartbeats that set parts no limit."""
TOO_LONG = SLOW_FACTOR * FAST_LIMIT


@given(st.binary(min_size=1, max_size=20 * MIN_PART), st.lists(st.floats(0, 2 * TOO_LONG), min_size=20, max_size=20))
def test_the_parts_are_the_report(report: bytes, answered_after: list[float]) -> None:
    parts, at = ReportCutter(FAR_APART), 0.0
    parts.begin(7, report)
    sent = []
    for took in answered_after:
        assert parts.busy
        part = parts.next(at)
        assert part is not None
        sent.append(part)
        if part.last:
            break
        assert parts.next(at) is None, "the part before is not received"
        at += took
        parts.received(7, at)
    assert not parts.busy
    assert parts.next(at) is None
    assert b"".join(part.data for part in sent) == report
    assert {part.report_number for part in sent} == {7}
    assert [part.last for part in sent] == [False] * (len(sent) - 1) + [True]


def sizes(took: float, count: int, heartbeat_interval: float = FAR_APART) -> list[int]:
    """The sizes of parts that are answered after so many seconds."""
    parts = ReportCutter(heartbeat_interval)
    parts.begin(1, bytes(count * MAX_PART + 1))
    lengths = []
    for number in range(count):
        part = parts.next(number * took)
        assert part is not None
        lengths.append(len(part.data))
        parts.received(1, (number + 1) * took)
    return lengths


def test_parts_grow_as_long_as_they_are_quick() -> None:
    assert sizes(FAST_LIMIT / 2, 8) == [MIN_PART << doublings for doublings in range(7)] + [MAX_PART]
    assert sizes(FAST_LIMIT, 3) == [MIN_PART] * 3


def test_parts_are_smaller_where_heartbeats_are_close() -> None:
    assert sizes(FAST_LIMIT / 2, 3, FAR_APART / 2) == [MIN_PART] * 3
    assert sizes(FAST_LIMIT / 4, 3, FAR_APART / 2) == [MIN_PART, 2 * MIN_PART, 4 * MIN_PART]


def test_parts_shrink_where_they_are_slow() -> None:
    parts = ReportCutter(FAR_APART)
    parts.begin(1, bytes(MAX_PART))
    parts.size = 4 * MIN_PART
    at, lengths = 0.0, []
    for _ in range(4):
        part = parts.next(at)
        assert part is not None
        lengths.append(len(part.data))
        at += TOO_LONG + 1
        parts.received(1, at)
    assert lengths == [4 * MIN_PART, 2 * MIN_PART, MIN_PART, MIN_PART]


def test_an_answer_about_another_report_means_nothing() -> None:
    parts = ReportCutter(FAR_APART)
    parts.received(1, 0.0)
    parts.begin(2, bytes(2 * MIN_PART))
    assert parts.next(0.0) is not None
    parts.received(1, 0.1)
    assert parts.next(0.2) is None
    assert parts.size == MIN_PART
