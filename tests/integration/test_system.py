"""What PostgreSQL tells of itself: what keeps everybody's snapshots back, and who holds locks of the schedulers."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.domain.system import LockHolder, OldestTransaction
from scheduler_svc.transactions import Tx
from tests.harness.cluster import Databases
from tests.harness.foreign_locks import APPLICATION, foreign_lock
from tests.harness.scheduling import Scheduling


def _oldest(tx: Tx) -> OldestTransaction | None:
    return tx.system.oldest_transaction()


def _as_a_plain_role(tx: Tx) -> OldestTransaction | None:
    tx._session.execute(sa.text("SELECT set_config('role', 'pg_database_owner', true)"), {})  # any role without rights
    return tx.system.oldest_transaction()


def test_the_oldest_transaction_with_an_id_is_found_in_any_database(
    scheduling: Scheduling, databases: Databases
) -> None:
    with databases.lent() as elsewhere, foreign_lock(elsewhere, "SELECT txid_current()") as pid:
        with foreign_lock(elsewhere, "SELECT txid_current()"), foreign_lock(elsewhere, "SELECT 1"):
            oldest = scheduling.run(_oldest)
        assert (oldest.pid, oldest.application, oldest.state) == (pid, APPLICATION, "idle in transaction")
        assert (oldest.database, oldest.role) == (sa.make_url(elsewhere).database, sa.make_url(elsewhere).username)
        assert oldest.age >= 0
        hidden = scheduling.run(_as_a_plain_role)
        assert (hidden.pid, hidden.xid, hidden.age, hidden.state) == (pid, oldest.xid, None, "")


def _locks(tx: Tx) -> list[LockHolder]:
    return tx.system.advisory_locks(0.0)


@pytest.mark.parametrize("lock", AdvisoryLock)
def test_a_session_that_holds_a_lock_of_the_schedulers_is_found_though_it_is_idle(
    scheduling: Scheduling, db_url: str, lock: AdvisoryLock
) -> None:
    other = "SELECT pg_advisory_lock(1), pg_advisory_lock(0, hashtext('contentgen.pause_dispatch')); COMMIT"
    with foreign_lock(db_url, other):
        assert scheduling.run(_locks) == []
        with foreign_lock(db_url, f"SELECT pg_advisory_lock({lock.key}); COMMIT") as pid:
            (holder,) = scheduling.run(_locks)
        assert (holder.pid, holder.state, holder.transaction_age) == (pid, "idle", None)
        assert (holder.relation, holder.waited_for) == (lock.value, True)
