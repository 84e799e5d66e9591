"""Rollups of tasks by hour and day: what a transaction's moves add to them. `query` reads them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from scheduler_svc.application.records import RollupRow
from scheduler_svc.domain import rollup
from scheduler_svc.domain.lifecycle import ENDED, Status

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

MAX_FOLDED = 1_000
"""Rows that one transaction folds."""


class Rollup:
    """What one transaction adds."""

    def __init__(self) -> None:
        self._durations: defaultdict[int, list[float]] = defaultdict(list)
        self._costs: defaultdict[int, float] = defaultdict(float)

    def completed(self, account_id: int, seconds: float, cost: float = 0.0) -> None:
        """Adds how long the attempt took that completed a task, and what its content has cost."""
        self._durations[account_id].append(seconds)
        if cost:
            self._costs[account_id] += cost

    def rows(self, moves: Mapping[tuple[int, Status, Status], int]) -> list[RollupRow]:
        """Returns all that is to be added, with these moves by account, source and target.

        A failure that the same transaction retries is no end, and a retry that comes later takes none back.
        """
        counts: defaultdict[int, Counter[int]] = defaultdict(Counter)
        for (account_id, source, target), n in moves.items():
            if source is Status.NONE:
                counts[account_id][rollup.SUBMITTED] += n
            if target in ENDED:
                counts[account_id][target] += n
            if source in ENDED:
                counts[account_id][source] -= n
        for account_id, durations in self._durations.items():
            counts[account_id].update(map(rollup.bucket, durations))
        numbers: dict[int, dict[int, float]] = {account_id: {**+counted} for account_id, counted in counts.items()}
        for account_id, cost in self._costs.items():
            numbers[account_id][rollup.COST] = cost
        return [RollupRow(*row) for row in numbers.items() if row[1]]


def fold_rollups(tx: Tx) -> bool:
    """Folds rows of transactions into the rollups; returns whether there may be more."""
    return tx.rollups.fold(MAX_FOLDED) == MAX_FOLDED
