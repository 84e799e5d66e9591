"""Work that can wait leaves as much time to others as it took."""

from __future__ import annotations

import pytest

from scheduler_svc.runtime import calls as pacing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(pacing, "sleep", clock.sleep)
    return clock


async def test_it_pauses_for_as_long_as_a_batch_took(clock: Clock) -> None:
    async def batch() -> str:
        clock.now += 2.5
        return "done"

    assert await pacing.timed(batch()) == ("done", 2.5)
    assert clock.slept == []
    paced = pacing.Pacing()
    assert [await paced.run(batch) for _ in range(3)] == ["done"] * 3
    assert clock.slept == [0.0, 2.5, 2.5], "nobody waits before the first one, or after the last"


async def test_a_batch_that_fails_is_not_waited_for(clock: Clock) -> None:
    async def batch() -> str:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await pacing.Pacing().run(batch)
    assert clock.slept == [0.0]
