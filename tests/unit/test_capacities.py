"""Which sessions a claim is for: those that are asked first, then the emptiest."""

from __future__ import annotations

from scheduler_svc.dispatch.streams import SessionCapacities


def test_a_session_that_is_asked_first_comes_before_emptier_ones() -> None:
    capacities = SessionCapacities()
    capacities.put(1, 100)
    capacities.put(2, 1, first=True)
    assert list(capacities) == [2, 1]
    capacities.put(2, 1)
    assert list(capacities) == [1, 2]
