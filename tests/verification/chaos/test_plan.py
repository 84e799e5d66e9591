"""A seed makes one plan, for ever; and nobody is hurt twice at the same time."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from verification.chaos.fleet import Shape
from verification.chaos.plan import EVERYTHING, KINDS, Fault, Kind, plan
from verification.chaos.strikes import STRIKES

VICTIMS = Shape(workers=8).victims
LONG = plan(7, 3_600, VICTIMS)


def test_a_seed_makes_the_same_plan_for_ever() -> None:
    assert plan(7, 5, VICTIMS) == (
        Fault(at=0.562, kind="worker-kill", victim="worker-07", duration=0.916, salt=360776764),
        Fault(at=1.927, kind="worker-kill", victim="worker-08", duration=0.767, salt=1414339737),
        Fault(at=2.633, kind="scheduler-kill", victim="scheduler-1", duration=0.755, salt=3143933298),
        Fault(at=3.421, kind="worker-kill", victim="worker-01", duration=0.781, salt=468858519),
        Fault(at=3.945, kind="open-transaction", victim="postgres", duration=13.705, salt=982378990),
        Fault(at=4.249, kind="worker-kill", victim="worker-03", duration=1.135, salt=3887477447),
        Fault(at=4.327, kind="machine-kill", victim="worker-06", duration=5.275, salt=2380877753),
        Fault(at=4.797, kind="guard-kill", victim="worker-04", duration=1.452, salt=643813964),
    )


def test_a_longer_campaign_begins_like_a_shorter_one() -> None:
    assert LONG[: len(plan(7, 60, VICTIMS))] == plan(7, 60, VICTIMS)


def test_seeds_differ() -> None:
    assert plan(7, 60, VICTIMS) != plan(8, 60, VICTIMS)


def test_an_hour_has_every_kind_at_the_rate_that_was_asked_for() -> None:
    assert {fault.kind for fault in LONG} == {kind.name for kind in KINDS}
    assert 3_000 < len(LONG) < 4_000
    assert all(earlier.at <= later.at < 3_600 for earlier, later in pairwise(LONG))


def test_every_kind_can_be_carried_out() -> None:
    assert STRIKES.keys() == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_has_its_victims_and_durations(kind: Kind) -> None:
    faults = [fault for fault in LONG if fault.kind == kind.name]
    assert all(fault.victim.startswith(kind.group) for fault in faults)
    assert all(kind.shortest <= fault.duration <= kind.longest for fault in faults)


def test_no_victim_is_hurt_by_two_at_once() -> None:
    until: dict[str, float] = defaultdict(float)
    for fault in LONG:
        hit = VICTIMS if fault.victim == EVERYTHING else (fault.victim,)
        assert all(until[victim] <= fault.at for victim in hit), fault
        until |= dict.fromkeys(hit, fault.at + fault.duration)


def test_a_plan_has_only_the_chosen_kinds() -> None:
    chosen = ["worker-kill", "postgres-freeze"]
    assert {fault.kind for fault in plan(7, 600, VICTIMS, kinds=chosen)} == set(chosen)
