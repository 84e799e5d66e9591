"""What PostgreSQL tells of itself: what keeps everybody's snapshots back."""

from __future__ import annotations

import sqlalchemy as sa

from scheduler_svc.application.ports import Tx
from scheduler_svc.domain.system import OldestTransaction
from tests.harness.cluster import Databases
from tests.harness.foreign_locks import APPLICATION, foreign_lock
from tests.harness.scheduling import Scheduling


def _oldest(tx: Tx) -> OldestTransaction | None:
    return tx.system.oldest_transaction()


def _as_a_plain_role(tx: Tx) -> OldestTransaction | None:
    tx._session.execute(sa.text("SELECT set_config('role', 'pg_database_owner', true)"), {})  # type: ignore[attr-defined] # any without rights
    return tx.system.oldest_transaction()


def test_the_oldest_transaction_with_an_id_is_found_in_any_database(
    scheduling: Scheduling, databases: Databases
) -> None:
    with databases.lent() as elsewhere, foreign_lock(elsewhere, "SELECT txid_current()") as pid:
        with foreign_lock(elsewhere, "SELECT txid_current()"), foreign_lock(elsewhere, "SELECT 1"):
            found = scheduling.run(_oldest)
        assert (found.pid, found.application, found.state) == (pid, APPLICATION, "idle in transaction")
        assert (found.database, found.role) == (sa.make_url(elsewhere).database, sa.make_url(elsewhere).username)
        assert found.age >= 0
        hidden = scheduling.run(_as_a_plain_role)
        assert (hidden.pid, hidden.xid, hidden.age, hidden.state) == (pid, found.xid, None, "")
