"""Pauses of dispatch: of accounts, and (account 0) of everything."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.store.engine.advisory import AdvisoryLock
from scheduler_svc.store.engine.rows import Statements

UNLOCKED = f"pg_try_advisory_xact_lock_shared({AdvisoryLock.DISPATCH.key})"
"""The first condition of a claim. A pause of everything waits for claims in progress; later claims do not wait for it.
"""
UNPAUSED = "NOT EXISTS (SELECT FROM pauses WHERE account_id = 0)"
"""The second one."""

_WAIT_FOR_CLAIMS = sa.text(f"SELECT pg_advisory_xact_lock({AdvisoryLock.DISPATCH.key})")
"""Waits for claims in progress, and locks out later ones."""
_ADD = sa.text("INSERT INTO pauses (account_id) VALUES (:account_id) ON CONFLICT DO NOTHING")
"""Pauses dispatch of an account, or of everything."""
_LIST = sa.text("SELECT account_id FROM pauses ORDER BY account_id")
"""Reads which accounts are paused."""
_REMOVE = sa.text("DELETE FROM pauses WHERE account_id = :account_id")
"""Resumes dispatch."""


class Pauses(Statements):
    def add(self, account_id: int) -> None:
        """Pauses an account, or everything (0), from the commit on. Idempotent."""
        if account_id == 0:
            self._row(_WAIT_FOR_CLAIMS)
        self._run(_ADD, account_id=account_id)

    def remove(self, account_id: int) -> None:
        self._run(_REMOVE, account_id=account_id)

    def list(self) -> list[int]:
        """The accounts that are paused, in ascending order; 0: everything."""
        return [account_id for (account_id,) in self._rows(_LIST)]
