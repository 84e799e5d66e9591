"""A scheduler that runs each tick twice; run in place of `contentgen-scheduler`.

Instead of `Ticks._submit`. The database refuses this: where the mutant runs, its unique index is dropped first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from scheduler_svc.main import main
from scheduler_svc.schedules.work import Ticks
from scheduler_svc.transactions import Tx

DROP_INDEX = "DROP INDEX schedule_tasks_by_tick"

_submit = Ticks._submit


def _submit_twice(self: Ticks, tx: Tx, firings: Sequence[Any]) -> None:
    for _ in range(2):
        _submit(self, tx, firings)


if __name__ == "__main__":
    with patch.object(Ticks, "_submit", _submit_twice):
        main()
