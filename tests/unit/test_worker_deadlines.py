"""The deadline rule, and the log of states that it rests on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.session.deadlines import HeartbeatLog, deadline, grace, time_to_stop


@pytest.mark.parametrize(("lease_ttl", "expected"), [(5, 5 / 3), (12, 4), (30, 10), (120, 10)])
def test_the_time_to_stop_is_a_third_of_the_lease_time_ten_seconds_at_most(lease_ttl: float, expected: float) -> None:
    assert time_to_stop(lease_ttl) == pytest.approx(expected)


@given(st.floats(5, 3600), st.floats(0, 1e6), st.floats(0, 100))
def test_a_deadline_leaves_the_time_to_stop_before_the_lease_runs_out(ttl: float, built: float, delay: float) -> None:
    """The scheduler counts from a transaction that began after the state was built."""
    assert deadline(built, ttl) + time_to_stop(ttl) <= built + delay + ttl + 1e-6


def test_an_assignment_counts_from_when_the_state_that_it_names_was_built() -> None:
    log = HeartbeatLog(30)
    log.sent(1, [], 100.0)
    log.sent(2, [], 105.0)
    assert log.grant_deadline(1) == 120.0
    assert log.grant_deadline(2) == 125.0


def test_a_state_that_was_never_sent_or_is_too_old_grants_no_time() -> None:
    log = HeartbeatLog(30)
    log.sent(1, [], 100.0)
    log.sent(2, [], 120.0)
    assert log.grant_deadline(1) is None
    assert log.grant_deadline(7) is None


def test_an_acknowledgement_renews_what_its_state_named_and_nothing_else() -> None:
    log = HeartbeatLog(30)
    log.sent(1, ["a", "b"], 100.0)
    log.sent(2, ["a", "b", "c"], 101.0)
    renewal = log.acknowledged(1, ["b"])
    assert renewal is not None
    assert (renewal.deadline, list(renewal.renewed)) == (120.0, ["a"])
    assert log.awaits_ack
    log.acknowledged(2, [])
    assert not log.awaits_ack


def test_states_that_were_passed_over_for_a_newer_one_await_no_answer() -> None:
    log = HeartbeatLog(30)
    for number in (1, 2, 3):
        log.sent(number, ["a"], 100.0 + number)
    renewal = log.acknowledged(3, [])
    assert renewal is not None
    assert renewal.deadline == 123.0
    assert not log.awaits_ack


def test_a_second_acknowledgement_of_a_state_renews_nothing() -> None:
    log = HeartbeatLog(30)
    log.sent(1, ["a"], 100.0)
    log.acknowledged(1, [])
    again = log.acknowledged(1, [])
    assert again is not None
    assert list(again.renewed) == []
    assert log.acknowledged(9, []) is None


@pytest.mark.parametrize("lease_ttl", [5.0, 8.0, 60.0, 120.0])
def test_a_run_has_its_grace_and_is_killed_within_the_time_to_stop(lease_ttl: float) -> None:
    assert 0 < grace(lease_ttl) <= time_to_stop(lease_ttl) / 2
    assert grace(120.0) == 3.0
