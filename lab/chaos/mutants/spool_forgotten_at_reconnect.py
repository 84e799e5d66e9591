"""A worker that names in a hello only what runs, not what waits in its spool; run in place of `contentgen-worker`.

Instead of `LeaseBook.__iter__`: a lease that has ended counts as one that the worker does not hold any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

from worker_svc.main import main
from worker_svc.session.leases import Lease, LeaseBook, Stage

_all = LeaseBook.__iter__


def _those_that_run(self: LeaseBook) -> Iterator[Lease]:
    return (lease for lease in _all(self) if lease.stage is not Stage.FINISHED)


if __name__ == "__main__":
    with patch.object(LeaseBook, "__iter__", _those_that_run):
        main()
