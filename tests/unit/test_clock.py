"""The watch over two clocks: jumps add up, what is slow or lies long back does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.clock import ClockWatch, is_ahead

TTL, HEARTBEAT = 120.0, 10.0


def gains(*seen: tuple[float, float], took: float = 0.0) -> list[float]:
    """What the watch says of each (database's time, our time); each statement takes a while from then on."""
    watch = ClockWatch(TTL, HEARTBEAT)
    return [watch.gained(database, ours, ours + took) for database, ours in seen]


def test_clocks_that_go_alike_gain_nothing_whatever_they_show() -> None:
    assert gains((5000, 0), (5003, 3), (5006, 6)) == [0, 0, 0]


def test_small_jumps_add_up() -> None:
    assert gains((0, 0), (5, 3), (10, 6), (15, 9)) == [0, 2, 4, 6]


def test_the_gain_counts_from_the_smallest_lead_of_the_database() -> None:
    assert gains((10, 0), (3, 3), (6, 6), (11, 9)) == [0, 0, 0, 2]


def test_gains_older_than_a_lease_time_no_longer_count() -> None:
    assert gains((0, 0), (62, 60), (132, 130), (133, 131))[1:] == [2, 2, 0]


def test_a_statement_that_takes_long_is_no_gain() -> None:
    assert gains((0, 0), (9, 3), took=6) == [-6, 0]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.floats(-1e6, 1e6))
def test_ticks_a_lease_time_long_show_all_that_was_gained(jumps: list[float], begin: float) -> None:
    watch = ClockWatch(TTL, HEARTBEAT)
    watch.gained(begin, 0.0, 0.0)
    ahead = begin
    for tick, jump in enumerate(jumps, start=1):
        ahead += jump
        gained = watch.gained(ahead + 3.0 * tick, 3.0 * tick, 3.0 * tick)
    assert abs(gained - sum(jumps)) < 1e-6


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(-20, 20)), min_size=1, max_size=30))
def test_the_gain_is_what_lies_above_the_smallest_lead_of_the_window(ticks: list[tuple[float, float]]) -> None:
    watch, now, ahead, leads = ClockWatch(TTL, HEARTBEAT), 0.0, 0.0, []
    for pause, jump in ticks:
        now, ahead = now + pause, ahead + jump
        leads.append((now, ahead))
        smallest = min(lead for at, lead in leads if at >= now - TTL - HEARTBEAT)
        assert abs(watch.gained(ahead + now, now, now) - (ahead - smallest)) < 1e-6


def test_the_limit_is_half_of_a_worker_s_time_to_stop_its_cli() -> None:
    assert [is_ahead(gained, 120.0) for gained in (5.0, 5.1)] == [False, True]
    assert [is_ahead(gained, 3.0) for gained in (0.5, 0.6)] == [False, True]
