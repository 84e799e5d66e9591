"""A scheduler whose histories leave out that a CLI has started; run in place of `contentgen-scheduler`.

Instead of `History.insert`.
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.history.sql import History
from scheduler_svc.main import main
from scheduler_svc.runtime.signals import EventRow

_insert = History.insert


def _insert_without_starts(self: History, rows: Sequence[EventRow]) -> None:
    _insert(self, [row for row in rows if row.status != Status.PROCESSING])


if __name__ == "__main__":
    with patch.object(History, "insert", _insert_without_starts):
        main()
