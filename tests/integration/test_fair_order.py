"""The order of real claims: by priority, by age within an account, by weight between accounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_svc.accounts.work import create_account
from scheduler_svc.dispatch.work import raise_floors
from tests.harness.cluster import Databases
from tests.harness.scheduling import Scheduling, new_task

EXAMPLES = settings(max_examples=100)
ROUNDING = 1e-6

WEIGHTS = st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=3)
SUBMIT = st.tuples(st.integers(0, 2), st.sampled_from([5, 5, 9]), st.integers(1, 30))
"""Account, priority and number of tasks."""
CLAIM = st.integers(1, 20)
STEPS = st.lists(st.one_of(SUBMIT, CLAIM), min_size=3, max_size=12)
EVERYTHING = 1_000

Line = tuple[int, int]
"""An account and a priority."""


@pytest.fixture(scope="module")
def shared(databases: Databases, template: str) -> Iterator[Scheduling]:
    """One database for all examples: each has its own accounts, and leaves no waiting task."""
    with databases.lent(template) as url, closing(Scheduling(url)) as scheduling:
        yield scheduling


@dataclass
class Model:
    """The waiting tasks, and how many of each line were served while it waited."""

    weights: dict[int, float]
    waiting: dict[Line, list[int]] = field(default_factory=lambda: defaultdict(list))
    leads: dict[tuple[Line, Line], list[float]] = field(default_factory=dict)
    """For two waiting lines of a priority: by how many shares the first was ahead, after each grant."""

    def submitted(self, line: Line, keys: list[int]) -> None:
        self.waiting[line] += keys
        for pair in combinations(sorted(other for other in self.waiting if self.waiting[other]), 2):
            if pair[0][1] == pair[1][1]:
                self.leads.setdefault(pair, [0.0])

    def granted(self, key: int) -> None:
        (line,) = [line for line, keys in self.waiting.items() if key in keys]
        account, priority = line
        assert priority == max(p for (_, p), keys in self.waiting.items() if keys), "the highest priority first"
        assert self.waiting[line].pop(0) == key, "the oldest of an account first"
        for (first, second), lead in self.leads.items():
            if line in {first, second}:
                lead.append(lead[-1] + (1 if line == first else -1) / self.weights[account])
        if not self.waiting[line]:
            self._idle(line)

    def _idle(self, line: Line) -> None:
        """Ends its pairs: a line without waiting tasks has no share."""
        for pair in [pair for pair in self.leads if line in pair]:
            self.check(pair)
            del self.leads[pair]

    def check(self, pair: tuple[Line, Line]) -> None:
        """While both waited, neither got more than one share of each of them ahead of the other."""
        bound = sum(1 / self.weights[account] for account, _ in pair)
        lead = self.leads[pair]
        assert max(lead) - min(lead) <= bound + ROUNDING, (pair, self.weights)


@pytest.mark.costly("random queues are claimed to their ends")
@EXAMPLES
@given(weights=WEIGHTS, steps=STEPS)
def test_claims_are_in_order_and_fair(
    shared: Scheduling, weights: list[float], steps: list[tuple[int, int, int] | int]
) -> None:
    shared.claim(EVERYTHING)  # tasks that a failed example has left
    accounts = [shared.run(create_account, "one of them", 0, weight).account_id for weight in weights]
    model = Model(dict(zip(accounts, weights, strict=True)))
    for step in [*steps, EVERYTHING]:
        if isinstance(step, tuple):
            which, priority, count = step
            account = accounts[which % len(accounts)]
            tasks = shared.submit(*[new_task(account_id=account, priority=priority) for _ in range(count)])
            model.submitted((account, priority), [task.task_key for task in tasks])
        else:
            wait = sum(map(len, model.waiting.values()))
            shared.run(raise_floors)
            granted = shared.claim(step)
            assert len(granted) == min(step, wait), "no slot stays free while something waits"
            for ref in granted:
                model.granted(ref.task_key)
    assert not any(model.waiting.values())
