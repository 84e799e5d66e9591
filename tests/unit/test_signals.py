"""Notifications: each fits into what NOTIFY takes, and together they say all that was to be told."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.runtime.signals import CommitSignals, parse

NOTIFY_BYTES = 8_000
ORIGIN = "a-host-name-of-sixty-three-characters-which-is-the-most-there-is-12345678"

FLAGS = ("ready", "due", "moved", "watching", "limits", "schedules", "webhooks", "missed")
LISTS = ("ended", "cancelled", "drained", "resized", "polled", "answered")

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)
commands = st.tuples(names, st.just("lease-0123456789abcdef-01234567"), st.just("CANCELLED_BY_CLIENT"))
numbers = st.tuples(names, st.integers(1, KEY_MAX))
signals = st.builds(
    CommitSignals,
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, KEY_MAX), max_size=400),
    st.lists(commands, max_size=8),
    st.lists(names, max_size=8),
    st.lists(numbers, max_size=8),
    st.lists(numbers, max_size=20),
    st.lists(numbers, max_size=20),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sets(st.integers(1, 9)),
    schedules=st.booleans(),
    missed=st.booleans(),
    webhooks=st.booleans(),
)


@given(signals)
def test_signals_arrive_whole(told: CommitSignals) -> None:
    heard = CommitSignals()
    for payload in told.payloads(ORIGIN):
        origin, part = parse(payload)
        assert origin == ORIGIN
        for flag in FLAGS:
            assert getattr(part, flag) == getattr(told, flag)
        assert not part.admit
        for kind in LISTS:
            getattr(heard, kind).extend(getattr(part, kind))
    assert [getattr(heard, kind) for kind in LISTS] == [getattr(told, kind) for kind in LISTS]


def test_the_longest_of_all_fit() -> None:
    for longest in ("\x01" * 200, "😀" * 200, '"' * 200):
        command = (longest, "lease-0123456789abcdef-01234567", "CANCELLED_BY_CLIENT")
        number = (longest, KEY_MAX)
        lists = ([KEY_MAX] * 1_000, [command] * 50, [longest] * 50, [number] * 50, [number] * 50, [number] * 50)
        commit = CommitSignals(False, False, *lists)
        assert max(len(payload.encode()) for payload in commit.payloads(ORIGIN)) < NOTIFY_BYTES


@given(st.lists(signals, max_size=5))
def test_merged_signals_have_the_content_of_each(all_of_them: list[CommitSignals]) -> None:
    added = CommitSignals()
    for part in all_of_them:
        added.add(part)
    for flag in FLAGS:
        assert getattr(added, flag) == any(getattr(commit, flag) for commit in all_of_them)
    for kind in LISTS:
        assert getattr(added, kind) == [item for commit in all_of_them for item in getattr(commit, kind)]
    assert added.items == sum(len(getattr(commit, kind)) for commit in all_of_them for kind in LISTS)


def test_a_replica_of_the_version_before_looks_anew_too() -> None:
    """It does not know that flag, but all of the others."""
    (payload,) = CommitSignals.reread_all().payloads(ORIGIN)
    document = json.loads(payload)
    assert document["ready"]
    assert document["due"]
    assert document["moved"]
    assert document["limits"]


def test_signals_without_content_are_false() -> None:
    assert not CommitSignals()
    assert not CommitSignals(moved=True)
    assert all(
        [CommitSignals(ready=True), CommitSignals(due=True), CommitSignals(ended=[1]), CommitSignals(drained=["w"])]
    )
    assert all(
        [CommitSignals(resized=[("w", 1)]), CommitSignals(polled=[("w", 1)]), CommitSignals(answered=[("w", 1)])]
    )
    assert CommitSignals(watching=True)
    assert CommitSignals(limits=True)


def test_a_replica_s_own_work_is_no_signal_to_others() -> None:
    for own in (CommitSignals(admit={1}), CommitSignals(released={1})):
        assert own
        assert not own.for_others


def test_a_replica_that_tells_less_is_understood() -> None:
    """It may have moved something, which it does not say."""
    earlier = '{"from":"a","ready":true,"due":false,"ended":[1],"cancelled":[],"drained":["w"]}'
    assert parse(earlier) == ("a", CommitSignals(ready=True, ended=[1], drained=["w"], moved=True))


def test_a_thousand_workers_are_told_of_in_a_few_texts() -> None:
    commit = CommitSignals(polled=[(f"worker-{n}.example.com", n) for n in range(1_000)])
    assert len(commit.payloads(ORIGIN)) <= 10
