"""How a part that throws is started again, and when it is given up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from scheduler_svc.runtime import loops as supervision
from scheduler_svc.runtime.loops import GIVE_UP_TIMEOUT, STEADY_INTERVAL, Supervision

pytestmark = pytest.mark.unit


class Clock:
    """Time that moves as far as each failure of the part takes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Part:
    """Throws so many times, each `seconds` after its start, and then returns."""

    def __init__(self, clock: Clock, failures: int, seconds: float = 0.0) -> None:
        self._clock = clock
        self._left = failures
        self._seconds = seconds
        self.starts = 0

    def __call__(self) -> None:
        self.starts += 1
        self._clock.now += self._seconds
        if self._left:
            self._left -= 1
            raise RuntimeError("a defect")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "MIN_PAUSE", 1e-6)
    monkeypatch.setattr(supervision, "MAX_PAUSE", 4e-6)


def on_a_thread(kept: Supervision, part: Callable[[], None]) -> None:
    kept.run("part", part, threading.Event())


def on_the_loop(kept: Supervision, part: Callable[[], None]) -> None:
    async def run() -> None:
        part()

    async def supervised() -> None:
        await kept.run_async("part", run, asyncio.Event())

    asyncio.run(supervised())


both = pytest.mark.parametrize("run", [on_a_thread, on_the_loop])
Run = Callable[[Supervision, Callable[[], None]], None]


@both
def test_pauses_double_up_to_a_bound_and_a_part_that_returns_is_not_started_again(run: Run) -> None:
    clock = Clock()
    part = Part(clock, 5)
    with capture_logs() as logs:
        run(Supervision(clock=clock), part)
    assert part.starts == 6
    assert [log["pause"] * 1e6 for log in logs] == pytest.approx([1, 2, 4, 4, 4])


@both
@pytest.mark.parametrize(
    ("failures", "seconds", "starts", "given_up"),
    [(1_000, GIVE_UP_TIMEOUT / 4, 5, ["part"]), (20, STEADY_INTERVAL + 1, 21, [])],
    ids=["it keeps failing", "failures far apart never count together"],
)
def test_a_part_that_keeps_failing_is_given_up(
    run: Run, failures: int, seconds: float, starts: int, given_up: list[str]
) -> None:
    clock = Clock()
    part = Part(clock, failures, seconds)
    gone: list[str] = []
    with capture_logs():  # to print each of the tracebacks takes longer
        run(Supervision(gone.append, give_up_after=GIVE_UP_TIMEOUT, clock=clock), part)
    assert (part.starts, gone) == (starts, given_up)


def test_a_part_that_fails_while_it_stops_is_left() -> None:
    stopping = threading.Event()
    stopping.set()
    part = Part(Clock(), 5)
    Supervision().run("part", part, stopping)
    assert part.starts == 1
