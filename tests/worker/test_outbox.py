"""Updates and reports on their way: order, parts, heartbeats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.outcome import MAX_OUTPUT, printable
from worker_svc.output import Tail
from worker_svc.session.leases import Lease, LeaseBook, OpenPolls
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.outbox import (
    FAST_LIMIT,
    FAST_SHARE,
    MAX_PART,
    MAX_REPORT_BYTES,
    MAX_REPORT_UPDATES,
    MAX_STREAM_ENDS,
    MAX_STUCK_PAUSE,
    MIN_LARGE_UPDATE,
    MIN_PART,
    MIN_STUCK_PAUSE,
    MIN_SUSPECT_UPDATE,
    SLOW_FACTOR,
    Outbox,
    PendingUpdate,
    ReportCutter,
    UpdateKind,
)
from worker_svc.session.tails import Tails, _piece

pytestmark = pytest.mark.unit


# Updates on their way: order, resending, what may be left out, what a report holds.

COMMITTED = pb.UPDATE_OUTCOME_COMMITTED


def update(lease_id: str, kind: UpdateKind, size: int = 100) -> PendingUpdate:
    return PendingUpdate(lease_id, 1, kind, size, object())


def outbox_of(*updates: PendingUpdate) -> Outbox:
    outbox = Outbox()
    for added in updates:
        outbox.add(added)
    return outbox


def completed(*sizes: int) -> Outbox:
    """Results of leases a, b, … of these sizes."""
    return outbox_of(*(update(name, UpdateKind.COMPLETED, size) for name, size in zip("abcde", sizes, strict=False)))


def kinds(updates: Sequence[PendingUpdate]) -> list[tuple[str, UpdateKind]]:
    return [(update.lease_id, update.kind) for update in updates]


def answer(lease_id: str) -> pb.UpdateResult:
    return pb.UpdateResult(lease_id=lease_id, attempt=1, outcome=COMMITTED)


def answers(updates: Sequence[PendingUpdate]) -> list[pb.UpdateResult]:
    return [answer(update.lease_id) for update in updates]


def test_updates_go_out_in_order_and_are_forgotten_once_answered() -> None:
    outbox = outbox_of(update("a", UpdateKind.ACCEPTED), update("a", UpdateKind.PROCESSING))
    sent = outbox.take(1)
    assert kinds(sent) == [("a", UpdateKind.ACCEPTED), ("a", UpdateKind.PROCESSING)]
    assert (bool(outbox), outbox.reports_in_flight) == (False, 1)
    assert outbox.acknowledged(7, answers(sent)) == []
    settled = outbox.acknowledged(1, answers(sent))
    assert [outcome for _, outcome in settled] == [COMMITTED, COMMITTED]
    assert outbox.acknowledged(1, answers(sent)) == [], "a report is answered once"
    outbox.rewind()
    assert not outbox


def test_unacknowledged_updates_are_sent_again_before_the_rest() -> None:
    outbox = outbox_of(update("a", UpdateKind.ACCEPTED))
    outbox.take(1)
    outbox.add(update("b", UpdateKind.FAILED))
    outbox.take(2)
    outbox.add(update("c", UpdateKind.ACCEPTED))
    outbox.rewind()
    assert kinds(outbox.take(1)) == [("a", UpdateKind.ACCEPTED), ("b", UpdateKind.FAILED), ("c", UpdateKind.ACCEPTED)]


@pytest.mark.parametrize("ending", [kind for kind in UpdateKind if kind.ends])
def test_an_ending_replaces_what_it_implies_and_was_not_sent(ending: UpdateKind) -> None:
    before = (UpdateKind.ACCEPTED, UpdateKind.PROCESSING, UpdateKind.PROGRESS)
    outbox = outbox_of(*(update("a", kind) for kind in (*before, ending)))
    remaining = [] if ending is UpdateKind.COMPLETED else [("a", UpdateKind.PROCESSING)]
    assert kinds(outbox.take(1)) == [*remaining, ("a", ending)]


def test_the_last_progress_wins() -> None:
    older, newer = update("a", UpdateKind.PROGRESS), update("a", UpdateKind.PROGRESS)
    assert list(outbox_of(older, newer).take(1)) == [newer]


def take_alone(outbox: Outbox, number: int, at: float = 0.0) -> Sequence[PendingUpdate]:
    """What goes alone next, taken as report `number`; nothing where none may."""
    candidate = outbox.next_alone(at)
    return [] if candidate is None else outbox.take_alone(number, candidate)


def stream_ends(outbox: Outbox, at: float = 0.0) -> list[PendingUpdate]:
    """A stream ends, and another one begins; what is stuck by that."""
    stuck = outbox.stream_ended(at)
    outbox.rewind()
    return stuck


def test_a_large_update_goes_alone_one_at_a_time() -> None:
    outbox = completed(100, MIN_LARGE_UPDATE, MIN_LARGE_UPDATE + 1, 100, MIN_LARGE_UPDATE)
    assert kinds(outbox.take(1)) == [("a", UpdateKind.COMPLETED), ("d", UpdateKind.COMPLETED)]
    for number, lease_id in enumerate("bce", start=2):
        assert outbox
        large = take_alone(outbox, number)
        assert kinds(large) == [(lease_id, UpdateKind.COMPLETED)]
        assert take_alone(outbox, number + 1) == []
        outbox.acknowledged(number, answers(large))
    assert not outbox


def test_updates_that_fit_are_sent_beside_one_in_parts() -> None:
    outbox = completed(700, 100, 400, 500)
    assert [[sent.lease_id for sent in outbox.take(number, max_bytes=600)] for number in (1, 2)] == [["b", "c"], ["d"]]
    assert outbox.take(3, max_bytes=600) == []
    assert outbox.reports_in_flight == 2
    assert kinds(outbox.take(3)) == [("a", UpdateKind.COMPLETED)]


def test_updates_in_flight_at_the_end_of_a_stream_are_sent_last_and_alone() -> None:
    outbox = completed(MIN_SUSPECT_UPDATE, MIN_SUSPECT_UPDATE - 1, MIN_SUSPECT_UPDATE)
    outbox.take(1)
    outbox.add(update("d", UpdateKind.COMPLETED, MIN_LARGE_UPDATE))
    assert stream_ends(outbox) == []
    assert kinds(outbox.take(1)) == [("b", UpdateKind.COMPLETED)], "what is small ends no stream"
    for number, lease_id in enumerate("dac", 2):
        [alone] = take_alone(outbox, number)
        assert alone.lease_id == lease_id
        outbox.acknowledged(number, answers([alone]))
    assert not outbox


def test_an_update_under_which_three_streams_ended_is_retried_at_intervals() -> None:
    stuck = update("a", UpdateKind.COMPLETED, MIN_LARGE_UPDATE)
    outbox = outbox_of(stuck)
    for number in range(1, MAX_STREAM_ENDS):
        take_alone(outbox, number)
        assert stream_ends(outbox) == []
        assert outbox
    take_alone(outbox, MAX_STREAM_ENDS)
    assert stream_ends(outbox, at=100.0) == [stuck]
    assert not outbox, "there is nothing to send but what is stuck"
    assert (outbox.stuck, outbox.stream_ends(stuck)) == ([stuck], MAX_STREAM_ENDS)
    for pause in (*(MIN_STUCK_PAUSE * 2**n for n in range(4)), MAX_STUCK_PAUSE, MAX_STUCK_PAUSE):
        assert outbox.alone_due_at() == 100.0 + pause
        assert take_alone(outbox, 9, at=100.0 + pause - 1) == []
        assert take_alone(outbox, 9, at=100.0 + pause) == [stuck]
        assert outbox.stuck == [stuck], "as long as it is not acknowledged"
        assert stream_ends(outbox, at=100.0) == [stuck]
    assert len(outbox.acknowledged(9, answers(take_alone(outbox, 9, at=100.0 + MAX_STUCK_PAUSE)))) == 1
    assert outbox.stuck == []
    outbox.add(update("a", UpdateKind.COMPLETED, MIN_SUSPECT_UPDATE))
    assert len(outbox.take(10)) == 1


def test_updates_under_which_fewer_streams_ended_go_first() -> None:
    outbox = completed(MIN_LARGE_UPDATE)
    take_alone(outbox, 1)
    outbox.add(update("b", UpdateKind.COMPLETED, MIN_LARGE_UPDATE))
    stream_ends(outbox)
    assert kinds(take_alone(outbox, 1)) == [("b", UpdateKind.COMPLETED)]


def test_a_report_is_cut_by_number() -> None:
    outbox = outbox_of(*(update(str(number), UpdateKind.FAILED) for number in range(MAX_REPORT_UPDATES + 1)))
    assert len(outbox.take(1)) == MAX_REPORT_UPDATES
    assert len(outbox.take(2)) == 1


@given(st.lists(st.integers(1, MIN_LARGE_UPDATE + 10), max_size=80))
def test_every_report_is_within_bounds_and_nothing_is_lost(sizes: list[int]) -> None:
    outbox = outbox_of(*(update(str(number), UpdateKind.COMPLETED, size) for number, size in enumerate(sizes)))
    sent: list[PendingUpdate] = []
    while outbox:
        report = outbox.take(len(sent) + 1) or take_alone(outbox, len(sent) + 1)
        assert sum(u.size for u in report) <= MAX_REPORT_BYTES
        assert len(report) == 1 or all(u.size < MIN_LARGE_UPDATE for u in report)
        outbox.acknowledged(len(sent) + 1, answers(report))
        sent += report
    assert sorted(int(u.lease_id) for u in sent) == list(range(len(sizes)))


def test_an_answer_that_is_missing_or_foreign_settles_nothing_and_waits_for_the_next_stream() -> None:
    outbox = outbox_of(*(update(lease_id, UpdateKind.FAILED) for lease_id in "abc"))
    outbox.take(1)
    settled = outbox.acknowledged(1, [answer("a"), answer("x")])
    assert [u.lease_id for u, _ in settled] == ["a"]
    assert not outbox, "at once it would only be answered the same way"
    outbox.rewind()
    assert kinds(outbox.take(2)) == [("b", UpdateKind.FAILED), ("c", UpdateKind.FAILED)]


# What a stream sends next: when a heartbeat is due.

TTL, INTERVAL = 6, 2.0
NOW = 1_000.0


class View:
    """A worker with one slot that runs nothing else."""

    def __init__(self) -> None:
        self.book = LeaseBook()
        self.outbox = Outbox()
        self.uploads = cast("Any", SimpleNamespace(late_waits=False))
        self.reporters = SimpleNamespace(polls=OpenPolls())
        self.tails = Tails(self.book, lambda: None)
        self.probes, self.last_error = SimpleNamespace(unhealthy=False), ""
        self.intake = cast("Any", SimpleNamespace(stopping=False, refuses=False, closed=False))
        self.intake.free_slots = lambda: int(not len(self.book))
        self.intake.warrants_heartbeat = lambda known: self.intake.free_slots() > known


def policy_of(view: View) -> OutboundPolicy:
    welcome = pb.Welcome(lease_ttl=Duration(seconds=TTL), accepts_deferrals=True, accepts_report_parts=True)
    return OutboundPolicy(cast("Any", view), welcome, INTERVAL, NOW, lambda: None)


def heartbeat(policy: OutboundPolicy, at: float) -> pb.Heartbeat:
    message = policy.next_message(at)
    assert message is not None
    assert message.HasField("heartbeat")
    return message.heartbeat


def test_a_lease_that_the_newest_heartbeat_could_not_name_is_named_at_once() -> None:
    """It was claimed on the heartbeat before, whose interval is over. The next regular one would reach its deadline."""
    view = View()
    policy = policy_of(view)
    claimed_on = heartbeat(policy, NOW)
    policy.acknowledged(claimed_on.number, [])
    newest = heartbeat(policy, NOW + INTERVAL)
    at = NOW + INTERVAL + 0.01
    deadline = policy.assigned(1, 1, claimed_on.number)
    assert deadline == NOW + 2 * INTERVAL
    assert view.book.assign(Lease("a", 1, "task-a", 60.0, at, deadline))

    naming = heartbeat(policy, at)
    assert [held.lease_id for held in naming.held_leases] == ["a"]
    policy.acknowledged(newest.number, [])
    renewal = policy.acknowledged(naming.number, [])
    assert renewal is not None
    assert (list(renewal.renewed), renewal.deadline) == (["a"], at + 2 * INTERVAL)


def test_a_lease_that_was_claimed_on_the_newest_heartbeat_waits_for_the_next() -> None:
    view = View()
    policy = policy_of(view)
    newest = heartbeat(policy, NOW)
    deadline = policy.assigned(1, 1, newest.number)
    assert deadline is not None
    assert view.book.assign(Lease("a", 1, "task-a", 60.0, NOW, deadline))
    assert policy.next_message(NOW + INTERVAL - 0.01) is None
    assert policy.wake_at(NOW + INTERVAL - 0.01) == NOW + INTERVAL
    assert [held.lease_id for held in heartbeat(policy, NOW + INTERVAL).held_leases] == ["a"]


# A report in parts: one at a time, whole in the end, and as large as the link carries in a second or less.

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


@pytest.mark.parametrize(
    ("took", "interval", "first", "expected"),
    [
        (FAST_LIMIT / 2, FAR_APART, MIN_PART, [*(MIN_PART << doublings for doublings in range(7)), MAX_PART]),
        (FAST_LIMIT, FAR_APART, MIN_PART, [MIN_PART] * 3),
        (FAST_LIMIT / 2, FAR_APART / 2, MIN_PART, [MIN_PART] * 3),
        (FAST_LIMIT / 4, FAR_APART / 2, MIN_PART, [MIN_PART, 2 * MIN_PART, 4 * MIN_PART]),
        (TOO_LONG + 1, FAR_APART, 4 * MIN_PART, [4 * MIN_PART, 2 * MIN_PART, MIN_PART, MIN_PART]),
    ],
    ids=["quick", "not quick", "heartbeats are close", "quick for close heartbeats", "slow"],
)
def test_parts_are_as_large_as_the_link_is_quick(took: float, interval: float, first: int, expected: list[int]) -> None:
    parts = ReportCutter(interval)
    parts.begin(1, bytes(len(expected) * MAX_PART + 1))
    parts.size = first
    lengths = []
    for number in range(len(expected)):
        part = parts.next(number * took)
        assert part is not None
        lengths.append(len(part.data))
        parts.received(1, (number + 1) * took)
    assert lengths == expected


def test_an_answer_about_another_report_means_nothing() -> None:
    parts = ReportCutter(FAR_APART)
    parts.received(1, 0.0)
    parts.begin(2, bytes(2 * MIN_PART))
    assert parts.next(0.0) is not None
    parts.received(1, 0.1)
    assert parts.next(0.2) is None
    assert parts.size == MIN_PART


# What a CLI prints, in pieces.


@given(st.lists(st.sampled_from([b"\xff", b'"', b"\x1b[31m", "一".encode(), b"\n", b"\x00", b"x" * 999])))
def test_pieces_are_whole_and_fit_a_notification(chunks: list[bytes]) -> None:
    """A scheduler refuses text that has more than 6,000 bytes as a JSON string."""
    printed, text = Tail(MAX_OUTPUT), ""
    for chunk in [*chunks, b"."]:
        printed.add(chunk)
    position = start = max(0, printed.seen - MAX_OUTPUT)
    while (piece := _piece(printed, position, over=True)).size:
        assert len(json.dumps(piece.text, ensure_ascii=False).encode()) <= 6_000
        position = piece.offset + piece.size
        text += piece.text
    assert position == printed.seen
    assert text == printable(printed.since(start, printed.seen)[1].decode("utf-8", "replace"))
