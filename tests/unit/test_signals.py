"""Notifications: each fits into what NOTIFY takes, and together they say all that was to be told."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.application.signals import Signals, parse
from scheduler_svc.domain.ids import KEY_MAX

NOTIFY_BYTES = 8_000
ORIGIN = "a-host-name-of-sixty-three-characters-which-is-the-most-there-is-12345678"

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)
commands = st.tuples(names, st.just("lease-0123456789abcdef-01234567"), st.just("CANCELLED_BY_CLIENT"))
signals = st.builds(
    Signals,
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, KEY_MAX), max_size=400),
    st.lists(commands, max_size=8),
    st.lists(names, max_size=8),
    st.booleans(),
    st.sets(st.integers(1, 9)),
)


@given(signals)
def test_what_is_told_arrives_whole(told: Signals) -> None:
    heard = Signals()
    for payload in told.payloads(ORIGIN):
        origin, part = parse(payload)
        assert origin == ORIGIN
        assert (part.ready, part.due, part.limits) == (told.ready, told.due, told.limits)
        assert not part.admit
        heard.ended += part.ended
        heard.cancelled += part.cancelled
        heard.drained += part.drained
    assert (heard.ended, heard.cancelled, heard.drained) == (told.ended, told.cancelled, told.drained)


def test_the_longest_of_all_fit() -> None:
    for longest in ("\x01" * 200, "😀" * 200, '"' * 200):
        command = (longest, "lease-0123456789abcdef-01234567", "CANCELLED_BY_CLIENT")
        told = Signals(False, False, [KEY_MAX] * 1_000, [command] * 50, [longest] * 50)
        assert max(len(payload.encode()) for payload in told.payloads(ORIGIN)) < NOTIFY_BYTES


def test_nothing_to_tell_is_false() -> None:
    assert not Signals()
    assert all(
        [Signals(ready=True), Signals(due=True), Signals(ended=[1]), Signals(drained=["w"]), Signals(limits=True)]
    )


def test_what_this_replica_does_itself_is_told_to_no_other() -> None:
    for own in (Signals(admit={1}), Signals(released={1})):
        assert own
        assert own.payloads(ORIGIN) == []


def test_a_replica_of_the_version_before_is_understood() -> None:
    (payload,) = Signals(ready=True).payloads(ORIGIN)
    before = {name: value for name, value in json.loads(payload).items() if name != "limits"}
    assert parse(json.dumps(before)) == (ORIGIN, Signals(ready=True))
