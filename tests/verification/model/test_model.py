"""The lease protocol, model-checked: silence with every rule on, a counter-example with each one off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler_svc.domain import lease as rules
from scheduler_svc.domain.clock import ClockWatch
from scheduler_svc.domain.lease import FoldedUpdates, HelloVerdict, LastEnd, LeaseRow, Verdict
from scheduler_svc.leases import attempts as reporters
from scheduler_svc.leases import sessions
from verification.model import diagrams, properties
from verification.model.__main__ import summary
from verification.model.explore import explore
from verification.model.interleaving import Traffic
from verification.model.mutants import MUTANTS, Mutant, replaced
from verification.model.scenario import Scenario
from verification.model.scenarios import SMALL, system
from verification.model.system import Model

STATES = 5_000
"""Of a scenario, about, the shallow ones first. `make model` goes on to a million of each."""
DEEP = 20
"""Steps from the first state that it takes at least. Most mutants show within so many."""


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_every_property_holds_in_every_state(
    scenario: Scenario | Traffic, record_property: Callable[[str, str], None]
) -> None:
    result = explore(system(scenario), limit=STATES)
    record_property("walked", f"{scenario.name}: {summary(result)}")
    assert result.counter_example is None
    assert result.complete or result.depth >= DEEP


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_taken_out_is_found_and_documented(mutant: Mutant, record_property: Callable[[str, str], None]) -> None:
    model, result = mutant.explore()
    record_property("walked", f"{mutant.name}: {summary(result)}")
    assert result.counter_example is not None
    assert result.counter_example.wrong == mutant.shows_as
    text = diagrams.section(mutant, model, result.counter_example)
    assert text in diagrams.DOCUMENT.read_text(), "run python -m verification.model.diagrams --write"


def test_the_fence_asks_no_clock() -> None:
    """However far the database's clock runs ahead, and whatever runs then, one result at most is accepted."""
    with replaced(ClockWatch, "gained", lambda *_: 0.0), replaced(properties, "_wrong_runs", lambda *_: None):
        result = explore(Model(Scenario("jumps", "", {"jump": 2}, rival=True)))
    assert result.counter_example is None
    assert result.complete


def test_the_models_reach_every_decision() -> None:
    """What no state reaches would hold for nothing."""
    verdicts: set[Verdict] = set()
    openings: set[HelloVerdict] = set()

    def judged(fold: FoldedUpdates, lease: LeaseRow | None, last: LastEnd | None) -> Verdict:
        verdict = rules.judge(fold, lease, last)
        verdicts.add(verdict)
        return verdict

    def opened(*asked: Any) -> HelloVerdict:
        opening = rules.judge_hello(*asked)
        openings.add(opening)
        return opening

    with replaced(reporters, "judge", judged), replaced(sessions, "judge_hello", opened):
        for scenario in SMALL:
            if scenario.name in {"suspend", "cancel"}:
                explore(system(scenario), limit=STATES)
    assert verdicts == set(Verdict)
    assert openings == {HelloVerdict.OPEN, HelloVerdict.STALE}, "workers' ids are not shared in the model"
