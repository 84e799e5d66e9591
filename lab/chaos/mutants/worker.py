"""Workers that are broken in one way; run in place of `contentgen-worker`, with the mutant's name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from unittest.mock import patch

from lab.chaos.mutants.sleeping_guard import PROGRAM
from worker_svc.guard import client
from worker_svc.guard.watchdog import Watchdog
from worker_svc.main import main
from worker_svc.session.leases import Lease, LeaseBook, Stage
from worker_svc.spool import Entry, Spool

_all_leases = LeaseBook.__iter__
_recover = Spool.recover


def _those_that_run(self: LeaseBook) -> Iterator[Lease]:
    """A hello names only what runs: what waits in the spool counts as a lease that is not held any more."""
    return (lease for lease in _all_leases(self) if lease.stage is not Stage.FINISHED)


def _recover_nothing(self: Spool, report: Callable[[str], None]) -> list[Entry]:
    for entry in _recover(self, report):
        self.forget(entry.lease_id)
    return []


def _blind() -> AbstractContextManager[object]:
    """The worker does not notice where its guard ends nothing."""
    return patch.object(Watchdog, "overdue", lambda *_: None)


MUTANTS: Mapping[str, Sequence[AbstractContextManager[object]]] = {
    "blind_worker": [_blind()],
    "sleeping_guard": [
        patch.object(client, "_PROGRAM", PROGRAM),
        _blind(),
    ],  # one that sees ends what its guard does not
    "spool_forgotten_at_reconnect": [patch.object(LeaseBook, "__iter__", _those_that_run)],
    "spool_forgotten_at_restart": [patch.object(Spool, "recover", _recover_nothing)],
}

if __name__ == "__main__":
    with ExitStack() as mutations:
        for mutation in MUTANTS[sys.argv.pop()]:
            mutations.enter_context(mutation)
        main()
