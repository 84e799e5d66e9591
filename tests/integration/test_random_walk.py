"""Random steps of clients, workers, operators and time: after each step every invariant holds."""

from __future__ import annotations

import pytest

from tests.harness.scheduling import Scheduling
from tests.integration.random_walk import KINDS, Walk

STEPS = 100
STATES = 7


def seen(scheduling: Scheduling) -> set[int]:
    return {status for (status,) in scheduling.sql("SELECT DISTINCT status FROM task_events")}


@pytest.mark.costly("all invariants are looked at after each of a hundred steps")
@pytest.mark.parametrize("seed", [2, 4])
def test_every_invariant_holds_after_each_step(scheduling: Scheduling, seed: int) -> None:
    """For a minimum of steps, and until each kind of step was taken and each state was seen."""
    walk = Walk(scheduling, seed)
    steps: list[str] = []
    while len(steps) < STEPS or len(set(steps)) < KINDS or len(seen(scheduling)) < STATES:
        assert len(steps) < 20 * STEPS, "the walk gets around"
        steps.append(walk.step())
        walk.check()
    walk.finish()
