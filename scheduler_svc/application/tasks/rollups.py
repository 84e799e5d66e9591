"""Rollups of tasks by hour and day: what a transaction's moves add to them. `query` reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from scheduler_svc.application.ports import Tx
from scheduler_svc.application.records import RollupRow
from scheduler_svc.domain import rollup
from scheduler_svc.domain.lifecycle import ENDED, Status

MAX_FOLDED = 10_000
"""Rows that one transaction folds."""


class Rollup:
    """What one transaction adds."""

    def __init__(self) -> None:
        self._durations: Counter[tuple[int, int]] = Counter()
        self._costs: dict[int, float] = {}

    def completed(self, account_id: int, seconds: float, cost: float = 0.0) -> None:
        """Adds how long the attempt took that completed a task, and what its content has cost."""
        self._durations[account_id, rollup.bucket(seconds)] += 1
        if cost:
            self._costs[account_id] = self._costs.get(account_id, 0.0) + cost

    def rows(self, moves: Mapping[tuple[int, Status, Status], int]) -> list[RollupRow]:
        """Returns all that is to be added, with these moves by account, source and target.

        A failure that the same transaction retries is no end, and a retry that comes later takes none back.
        """
        numbers: Counter[tuple[int, int]] = Counter()
        for (account_id, source, target), n in moves.items():
            if source is Status.NONE:
                numbers[account_id, rollup.SUBMITTED] += n
            if target in ENDED:
                numbers[account_id, target] += n
            if source in ENDED:
                numbers[account_id, source] -= n
        counted = [RollupRow(*key, n) for key, n in (numbers | self._durations).items() if n > 0]
        return counted + [RollupRow(account_id, rollup.COST, cost) for account_id, cost in self._costs.items()]


def fold_rollups(tx: Tx) -> bool:
    """Folds rows of transactions into the rollups; returns whether there may be more."""
    return tx.rollups.fold(MAX_FOLDED) == MAX_FOLDED
