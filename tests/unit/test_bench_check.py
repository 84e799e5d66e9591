"""When a hot path counts as slower: by its floor of the same run, not by what the machine does."""

from __future__ import annotations

import pytest

from benchmarks.check import lost, ratio
from benchmarks.goals import Figure, Floor, Goal


def figure(value: float, floor: float, *, less_is_better: bool = False) -> Figure:
    goal = Goal(1, 1, less_is_better=less_is_better)
    return Figure("a figure", value, "unit", 1, goal, floor=Floor(floor, floor))


@pytest.mark.parametrize("speed", [1.0, 0.4])
def test_a_slow_machine_changes_no_ratio(speed: float) -> None:
    assert ratio(figure(8_000 * speed, 20_000 * speed)) == pytest.approx(0.4)
    assert ratio(figure(3 / speed, 0.6 / speed, less_is_better=True)) == pytest.approx(0.2)


def test_a_loss_of_more_than_a_quarter_is_named() -> None:
    before = {"drain": 0.4, "submit": 0.5, "latency": 0.2}
    assert lost(before, {"drain": 0.29, "submit": 0.38, "latency": 0.3, "new": 0.1}) == ["drain"]
