"""The pauses before dialling again."""

from __future__ import annotations

from worker_svc.session.backoff import DEFAULT_MAX_PAUSE, MIN_BOUND, ReconnectBackoff


def pauses(backoff: ReconnectBackoff, number: int = 200) -> list[float]:
    return [backoff.pause() for _ in range(number)]


def test_no_pause_is_longer_than_a_heartbeat_interval() -> None:
    backoff = ReconnectBackoff()
    assert max(pauses(backoff)) <= DEFAULT_MAX_PAUSE
    backoff.max_pause = 0.5
    assert max(pauses(backoff)) <= 0.5
    backoff.max_pause = 10.0
    assert 5.0 < max(pauses(backoff)) <= 10.0, "the bound has grown, and the whole of it is used"


def test_the_first_pause_is_short_and_is_so_again_after_a_stream_that_lasted() -> None:
    backoff = ReconnectBackoff()
    assert backoff.pause() <= MIN_BOUND
    pauses(backoff)
    backoff.succeeded(lasted=DEFAULT_MAX_PAUSE)
    assert backoff.pause() <= MIN_BOUND


def test_streams_that_end_at_once_are_failures() -> None:
    backoff = ReconnectBackoff()
    backoff.max_pause = 10.0
    seen = []
    for _ in range(200):
        seen.append(backoff.pause())
        backoff.succeeded(lasted=0.01)
    assert max(seen) > MIN_BOUND
