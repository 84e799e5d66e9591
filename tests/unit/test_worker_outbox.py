"""Updates on their way: order, resending, what may be left out, what a report holds."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from worker_svc.session.outbox import LARGE, MAX_REPORT_BYTES, MAX_REPORT_UPDATES, Answer, Kind, Outbox, Update

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


def test_what_is_not_acknowledged_is_sent_again_before_the_rest() -> None:
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


def test_a_large_update_goes_alone() -> None:
    outbox = Outbox()
    outbox.add(update("a", Kind.COMPLETED))
    outbox.add(update("b", Kind.COMPLETED, LARGE))
    outbox.add(update("c", Kind.COMPLETED))
    assert not outbox.begins_large
    assert said(outbox.take(1)) == [("a", Kind.COMPLETED)]
    assert outbox.begins_large
    assert said(outbox.take(2)) == [("b", Kind.COMPLETED)]
    assert said(outbox.take(3)) == [("c", Kind.COMPLETED)]


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
        report = outbox.take(len(sent) + 1)
        assert sum(u.size for u in report) <= MAX_REPORT_BYTES
        assert len(report) == 1 or all(u.size < LARGE for u in report)
        sent += report
    assert [u.lease_id for u in sent] == [str(number) for number in range(len(sizes))]


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
