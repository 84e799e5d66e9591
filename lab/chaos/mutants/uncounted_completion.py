"""A scheduler that forgets to count what completes; run in place of `contentgen-scheduler`.

Instead of `Counts.add`.
"""

from __future__ import annotations

from collections.abc import Mapping
from unittest.mock import patch

from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.history.sql import Counts
from scheduler_svc.main import main

_add = Counts.add


def _add_what_does_not_complete(self: Counts, deltas: Mapping[tuple[int, int], int]) -> None:
    _add(self, {(account, kind): n for (account, kind), n in deltas.items() if kind != Status.COMPLETED})


if __name__ == "__main__":
    with patch.object(Counts, "add", _add_what_does_not_complete):
        main()
