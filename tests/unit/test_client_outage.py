"""When a watch tries again, and when it gives up; the clock and the chance are the test's."""

from __future__ import annotations

from contentgen.client.outage import FIRST_CEILING, MAX_CEILING, Outage


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_the_ceiling_doubles_up_to_the_longest_and_the_pause_is_anywhere_below_it() -> None:
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 4

    outage = Outage(None, 10.0, clock=Clock(), jitter=jitter)
    pauses = [outage.pause() for _ in range(2_000)]
    assert pauses[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.25]
    assert pauses[-1] == MAX_CEILING / 4
    assert {low for low, _ in drawn} == {0}


def test_what_comes_through_begins_anew() -> None:
    outage = Outage(None, 10.0, clock=Clock(), jitter=lambda _, high: high)
    assert [outage.pause(), outage.pause()] == [FIRST_CEILING, 2 * FIRST_CEILING]
    outage.over()
    assert outage.pause() == FIRST_CEILING


def test_it_gives_up_sooner_where_nothing_ever_came_through() -> None:
    clock = Clock()
    outage = Outage(60.0, 10.0, clock=clock)
    assert outage.pause() is not None
    clock.now += 9
    assert outage.pause() is not None
    clock.now += 1
    assert outage.pause() is None


def test_patience_counts_from_the_first_failure_in_a_row() -> None:
    clock = Clock()
    outage = Outage(60.0, 10.0, clock=clock)
    outage.over()
    clock.now += 1_000
    assert outage.pause() is not None
    clock.now += 59
    assert outage.pause() is not None
    clock.now += 1
    assert outage.pause() is None


def test_without_a_limit_it_goes_on_once_something_came_through() -> None:
    clock = Clock()
    outage = Outage(None, 10.0, clock=clock)
    assert outage.pause() is not None
    clock.now += 10
    assert outage.pause() is None
    outage.over()
    for _ in range(3):
        clock.now += 1e6
        assert outage.pause() is not None


def test_no_patience_gives_up_at_once() -> None:
    assert Outage(0.0, 10.0, clock=Clock()).pause() is None
