"""Updates on their way: order, resending, what may be left out, what a report holds."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from worker_svc.session.outbox import (
    FIRST_PAUSE,
    LARGE,
    MAX_PAUSE,
    MAX_REPORT_BYTES,
    MAX_REPORT_UPDATES,
    STUCK_AFTER,
    SUSPECT,
    Answer,
    Kind,
    Outbox,
    Update,
)

COMMITTED = 1


def update(lease_id: str, kind: Kind, size: int = 100) -> Update:
    return Update(lease_id, 1, kind, size, object())


def said(updates: Sequence[Update]) -> list[tuple[str, Kind]]:
    return [(update.lease_id, update.kind) for update in updates]


def answers(updates: Sequence[Update], outcome: int = COMMITTED) -> list[Answer]:
    return [Answer(update.lease_id, update.attempt, outcome) for update in updates]


def test_updates_go_out_in_order_and_are_forgotten_once_answered() -> None:
    outbox = Outbox()
    for kind in (Kind.ACCEPTED, Kind.PROCESSING):
        outbox.add(update("a", kind))
    sent = outbox.take(1)
    assert said(sent) == [("a", Kind.ACCEPTED), ("a", Kind.PROCESSING)]
    assert (bool(outbox), outbox.under_way) == (False, 1)
    settled = outbox.acknowledged(1, answers(sent))
    assert [outcome for _, outcome in settled] == [COMMITTED, COMMITTED]
    outbox.rewind()
    assert not outbox


def test_unacknowledged_updates_are_sent_again_before_the_rest() -> None:
    outbox = Outbox()
    outbox.add(update("a", Kind.ACCEPTED))
    outbox.take(1)
    outbox.add(update("b", Kind.FAILED))
    outbox.take(2)
    outbox.add(update("c", Kind.ACCEPTED))
    outbox.rewind()
    assert said(outbox.take(1)) == [("a", Kind.ACCEPTED), ("b", Kind.FAILED), ("c", Kind.ACCEPTED)]


def test_an_ending_replaces_what_it_implies_and_was_not_sent() -> None:
    outbox = Outbox()
    for lease_id, ending in (("a", Kind.COMPLETED), ("b", Kind.FAILED), ("c", Kind.RELEASED), ("d", Kind.DEFERRED)):
        for kind in (Kind.ACCEPTED, Kind.PROCESSING, Kind.PROGRESS, ending):
            outbox.add(update(lease_id, kind))
    assert said(outbox.take(1)) == [
        ("a", Kind.COMPLETED),
        ("b", Kind.PROCESSING),
        ("b", Kind.FAILED),
        ("c", Kind.PROCESSING),
        ("c", Kind.RELEASED),
        ("d", Kind.PROCESSING),
        ("d", Kind.DEFERRED),
    ]


def test_the_last_progress_wins() -> None:
    outbox = Outbox()
    older, newer = update("a", Kind.PROGRESS), update("a", Kind.PROGRESS)
    outbox.add(older)
    outbox.add(newer)
    assert list(outbox.take(1)) == [newer]


def take_alone(outbox: Outbox, number: int, at: float = 0.0) -> Sequence[Update]:
    """What goes alone next, taken as report `number`; nothing where none may."""
    found = outbox.alone(at)
    return [] if found is None else outbox.take_alone(number, found)


def stream_ends(outbox: Outbox, at: float = 0.0) -> list[Update]:
    """A stream ends, and another one begins; what is stuck by that."""
    stuck = outbox.stream_ended(at)
    outbox.rewind()
    return stuck


def test_a_large_update_goes_alone_one_at_a_time() -> None:
    outbox = Outbox()
    for lease_id, size in (("a", 100), ("b", LARGE), ("c", LARGE), ("d", 100)):
        outbox.add(update(lease_id, Kind.COMPLETED, size))
    assert said(outbox.take(1)) == [("a", Kind.COMPLETED), ("d", Kind.COMPLETED)]
    assert outbox
    large = take_alone(outbox, 2)
    assert said(large) == [("b", Kind.COMPLETED)]
    assert take_alone(outbox, 3) == []
    outbox.acknowledged(2, answers(large))
    assert said(take_alone(outbox, 3)) == [("c", Kind.COMPLETED)]
    assert not outbox


def test_updates_that_fit_are_sent_beside_one_in_parts() -> None:
    outbox = Outbox()
    for lease_id, size in (("a", 700), ("b", 100), ("c", 400), ("d", 500)):
        outbox.add(update(lease_id, Kind.FAILED, size))
    assert said(outbox.take(1, most=600)) == [("b", Kind.FAILED), ("c", Kind.FAILED)]
    assert said(outbox.take(2, most=600)) == [("d", Kind.FAILED)]
    assert outbox.take(3, most=600) == []
    assert outbox.under_way == 2
    assert said(outbox.take(3)) == [("a", Kind.FAILED)]


def test_updates_in_flight_at_the_end_of_a_stream_are_sent_last_and_alone() -> None:
    outbox = Outbox()
    outbox.add(update("a", Kind.COMPLETED, SUSPECT))
    outbox.add(update("b", Kind.ACCEPTED))
    outbox.add(update("c", Kind.COMPLETED, SUSPECT))
    outbox.take(1)
    outbox.add(update("d", Kind.COMPLETED, LARGE))
    assert stream_ends(outbox) == []
    assert said(outbox.take(1)) == [("b", Kind.ACCEPTED)], "what is small ends no stream"
    for number, lease_id in enumerate("dac", 2):
        [alone] = take_alone(outbox, number)
        assert alone.lease_id == lease_id
        outbox.acknowledged(number, answers([alone]))
    assert not outbox


def test_an_update_under_which_three_streams_ended_is_retried_at_intervals() -> None:
    outbox = Outbox()
    stuck = update("a", Kind.COMPLETED, LARGE)
    outbox.add(stuck)
    for number in range(1, STUCK_AFTER):
        take_alone(outbox, number)
        assert stream_ends(outbox) == []
        assert outbox
    take_alone(outbox, STUCK_AFTER)
    assert stream_ends(outbox, at=100.0) == [stuck]
    assert not outbox, "there is nothing to send but what is stuck"
    assert (outbox.stuck, outbox.ends_under(stuck)) == ([stuck], STUCK_AFTER)
    for pause in (FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE, MAX_PAUSE, MAX_PAUSE):
        assert outbox.alone_due_at() == 100.0 + pause
        assert take_alone(outbox, 9, at=100.0 + pause - 1) == []
        assert take_alone(outbox, 9, at=100.0 + pause) == [stuck]
        assert outbox.stuck == [stuck], "as long as it is not acknowledged"
        assert stream_ends(outbox, at=100.0) == [stuck]


def test_updates_under_which_fewer_streams_ended_go_first() -> None:
    outbox = Outbox()
    outbox.add(update("a", Kind.COMPLETED, LARGE))
    take_alone(outbox, 1)
    outbox.add(update("b", Kind.COMPLETED, LARGE))
    stream_ends(outbox)
    assert said(take_alone(outbox, 1)) == [("b", Kind.COMPLETED)]


def test_an_acknowledged_update_is_no_longer_stuck() -> None:
    outbox = Outbox()
    outbox.add(update("a", Kind.COMPLETED, LARGE))
    for number in range(STUCK_AFTER):
        take_alone(outbox, number)
        stream_ends(outbox)
    sent = take_alone(outbox, 9, at=MAX_PAUSE)
    assert len(outbox.acknowledged(9, answers(sent))) == 1
    assert outbox.stuck == []
    outbox.add(update("a", Kind.COMPLETED, SUSPECT))
    assert len(outbox.take(10)) == 1


def test_a_report_is_cut_by_number() -> None:
    outbox = Outbox()
    for number in range(MAX_REPORT_UPDATES + 1):
        outbox.add(update(str(number), Kind.FAILED))
    assert len(outbox.take(1)) == MAX_REPORT_UPDATES
    assert len(outbox.take(2)) == 1


@given(st.lists(st.integers(1, LARGE + 10), max_size=80))
def test_every_report_is_within_bounds_and_nothing_is_lost(sizes: list[int]) -> None:
    outbox = Outbox()
    for number, size in enumerate(sizes):
        outbox.add(update(str(number), Kind.COMPLETED, size))
    sent: list[Update] = []
    while outbox:
        report = outbox.take(len(sent) + 1) or take_alone(outbox, len(sent) + 1)
        assert sum(u.size for u in report) <= MAX_REPORT_BYTES
        assert len(report) == 1 or all(u.size < LARGE for u in report)
        outbox.acknowledged(len(sent) + 1, answers(report))
        sent += report
    assert sorted(int(u.lease_id) for u in sent) == list(range(len(sizes)))


def test_an_answer_that_is_missing_or_foreign_settles_nothing_and_waits_for_the_next_stream() -> None:
    outbox = Outbox()
    for lease_id in "abc":
        outbox.add(update(lease_id, Kind.FAILED))
    outbox.take(1)
    settled = outbox.acknowledged(1, [Answer("a", 1, COMMITTED), Answer("x", 1, COMMITTED)])
    assert [u.lease_id for u, _ in settled] == ["a"]
    assert not outbox, "at once it would only be answered the same way"
    outbox.rewind()
    assert said(outbox.take(2)) == [("b", Kind.FAILED), ("c", Kind.FAILED)]


def test_a_report_is_answered_once() -> None:
    outbox = Outbox()
    outbox.add(update("a", Kind.FAILED))
    sent = outbox.take(1)
    assert len(outbox.acknowledged(1, answers(sent))) == 1
    assert outbox.acknowledged(1, answers(sent)) == []
    assert outbox.acknowledged(7, answers(sent)) == []
