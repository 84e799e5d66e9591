"""When a watch tries again, and when it gives up; the clock and the chance are the test's."""

from __future__ import annotations

from contentgen.client.backoff import FIRST_CEILING, MAX_CEILING, Backoff


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

    backoff = Backoff(None, 10.0, clock=Clock(), jitter=jitter)
    pauses = [backoff.pause() for _ in range(2_000)]
    assert pauses[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.25]
    assert pauses[-1] == MAX_CEILING / 4
    assert {low for low, _ in drawn} == {0}


def test_what_comes_through_begins_anew() -> None:
    backoff = Backoff(None, 10.0, clock=Clock(), jitter=lambda _, high: high)
    assert [backoff.pause(), backoff.pause()] == [FIRST_CEILING, 2 * FIRST_CEILING]
    backoff.reset()
    assert backoff.pause() == FIRST_CEILING


def test_it_gives_up_sooner_where_nothing_ever_came_through() -> None:
    clock = Clock()
    backoff = Backoff(60.0, 10.0, clock=clock)
    assert backoff.pause() is not None
    clock.now += 9
    assert backoff.pause() is not None
    clock.now += 1
    assert backoff.pause() is None


def test_patience_counts_from_the_first_failure_in_a_row() -> None:
    clock = Clock()
    backoff = Backoff(60.0, 10.0, clock=clock)
    backoff.reset()
    clock.now += 1_000
    assert backoff.pause() is not None
    clock.now += 59
    assert backoff.pause() is not None
    clock.now += 1
    assert backoff.pause() is None


def test_without_a_limit_it_goes_on_once_something_came_through() -> None:
    clock = Clock()
    backoff = Backoff(None, 10.0, clock=clock)
    assert backoff.pause() is not None
    clock.now += 10
    assert backoff.pause() is None
    backoff.reset()
    for _ in range(3):
        clock.now += 1e6
        assert backoff.pause() is not None


def test_no_patience_gives_up_at_once() -> None:
    assert Backoff(0.0, 10.0, clock=Clock()).pause() is None
