"""A worker that throws away what its predecessor has spooled; run in place of `contentgen-worker`.

Instead of `Spool.recover`.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

from worker_svc.main import main
from worker_svc.spool import Entry, Spool

_recover = Spool.recover


def _recover_nothing(self: Spool, report: Callable[[str], None]) -> list[Entry]:
    for entry in _recover(self, report):
        self.forget(entry.lease_id)
    return []


if __name__ == "__main__":
    with patch.object(Spool, "recover", _recover_nothing):
        main()
