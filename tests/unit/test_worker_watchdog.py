"""How long a guard may be late before its worker counts it as dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.guard.watchdog import CHECK_INTERVAL, Watchdog, overdue_limit
from worker_svc.session.deadlines import grace, time_to_stop

PATIENCE = 1.0


def watching(deadline: float) -> Watchdog:
    watchdog = Watchdog()
    watchdog.opened("run", deadline, 0.0)
    return watchdog


def first_overdue(watchdog: Watchdog, begin: float, end: float) -> float | None:
    """When the look comes that finds a run overdue, of one each interval."""
    looks = (begin + n * CHECK_INTERVAL for n in range(round((end - begin) / CHECK_INTERVAL) + 1))
    return next((at for at in looks if watchdog.overdue(at, PATIENCE) is not None), None)


@given(st.floats(6, 3600))
def test_a_guard_has_its_grace_and_more_and_is_given_up_before_the_lease_may_expire(lease_ttl: float) -> None:
    assert grace(lease_ttl) < overdue_limit(grace(lease_ttl)) <= time_to_stop(lease_ttl) - grace(lease_ttl) / 2


def test_a_run_is_overdue_its_patience_after_its_deadline() -> None:
    assert first_overdue(watching(5.0), 0.0, 10.0) == pytest.approx(6.0, abs=2 * CHECK_INTERVAL)


def test_a_run_that_has_ended_is_never_overdue() -> None:
    watchdog = watching(5.0)
    assert watchdog
    watchdog.ended("run")
    assert not watchdog
    assert first_overdue(watchdog, 0.0, 10.0) is None


def test_a_renewal_begins_the_wait_anew() -> None:
    watchdog = watching(5.0)
    assert first_overdue(watchdog, 0.0, 5.8) is None
    watchdog.moved({"run": 8.0, "unknown": 8.0})
    assert first_overdue(watchdog, 5.8, 12.0) == pytest.approx(9.0, abs=2 * CHECK_INTERVAL)


def test_a_run_that_was_told_to_end_is_given_no_more_time() -> None:
    watchdog = watching(5.0)
    watchdog.end_requested("run")
    watchdog.moved({"run": 60.0})
    assert first_overdue(watchdog, 0.0, 10.0) == pytest.approx(6.0, abs=2 * CHECK_INTERVAL)


def test_a_worker_that_stood_still_gives_the_guard_a_moment() -> None:
    watchdog = watching(5.0)
    assert first_overdue(watchdog, 0.0, 4.0) is None
    begun = first_overdue(watchdog, 60.0, 70.0)
    assert begun is not None
    assert 60.5 < begun <= 61.0


def test_a_run_that_begins_past_its_deadline_gives_the_guard_as_long() -> None:
    watchdog = Watchdog()
    watchdog.opened("run", 5.0, 60.0)
    assert first_overdue(watchdog, 60.0, 70.0) == pytest.approx(61.0, abs=2 * CHECK_INTERVAL)
