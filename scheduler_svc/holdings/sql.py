"""Statements that count and delete what an account has, whatever its table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import Statements, leased
from scheduler_svc.holdings.tables import Table, countable

MAX_COUNTED = 1_000_000
"""Rows of a table that are counted."""
_KEPT = "method <> 'AccountService/EraseAccount'"
"""Which audit events are an account's: that of its erasure stays."""


def _condition(table: Table) -> str:
    return f"({table.condition}) AND {_KEPT}" if table.name == "audit_events" else table.condition


@cache
def _count() -> sa.TextClause:
    """Counts an account's rows. What belongs to a task or a content is not read: it counts with it."""
    return sa.text(
        " UNION ALL ".join(
            f"SELECT '{table.name}', count(*) FROM "
            f"(SELECT FROM {table.name} WHERE {_condition(table)} LIMIT {MAX_COUNTED}) AS x"
            for table in countable()
        )
    )


@cache
def _delete(table: Table) -> sa.TextClause:
    """Deletes some of an account's rows."""
    return sa.text(f"""
        DELETE FROM {table.name} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table.name} WHERE {_condition(table)} LIMIT :limit FOR UPDATE))
    """)


_END_WEBHOOKS = sa.text("""
    UPDATE webhooks SET active = false, delete_time = coalesce(delete_time, now()), secret = '', url = '',
        previous_secret = NULL, previous_secret_expire_time = NULL
    WHERE account_id = :account_id OR account_ids = CAST(ARRAY[:account_id] AS bigint[])
""")
"""Ends the webhooks and channels of an account, and forgets their addresses and secrets."""
_LEAVE_CHANNELS = sa.text("""
    UPDATE webhooks SET account_ids = array_remove(account_ids, CAST(:account_id AS bigint))
    WHERE :account_id = ANY(account_ids) AND account_ids <> CAST(ARRAY[:account_id] AS bigint[])
""")
"""Takes an account out of the channels that are for others, too."""
_LOCK_TASKS = sa.text(f"""
    SELECT t.task_key FROM tasks AS t
    WHERE t.account_id = :account_id AND t.end_time IS NOT NULL AND NOT {leased("t")}
    ORDER BY t.account_id, t.status, t.task_key LIMIT :limit FOR UPDATE SKIP LOCKED
""")
"""Locks tasks of an account that have ended, and that no worker is still stopping."""
_HAS_TASKS = sa.text("SELECT EXISTS (SELECT FROM tasks WHERE account_id = :account_id)")
"""Finds whether an account has tasks."""
_LOCK_CONTENTS = sa.text("""
    SELECT content_id FROM contents WHERE account_id = :account_id
    ORDER BY account_id, content_id LIMIT :limit FOR UPDATE
""")
"""Locks contents of an account."""
_PAGE_OF_ASSETS = sa.text("SELECT sha256 FROM account_assets WHERE account_id = :account_id LIMIT :limit")
"""Reads which assets count for an account."""
_THESE = "sha256 = ANY(CAST(:these AS text[]))"
_LOCK_ASSETS = sa.text(f"SELECT FROM assets WHERE {_THESE} ORDER BY sha256 FOR UPDATE")
"""Locks assets, before it is looked whether they are others' too."""
_RETIRE_OWN = sa.text(f"""
    UPDATE assets AS a SET complete = false, touch_time = '-infinity'
    WHERE {_THESE} AND NOT EXISTS (SELECT FROM content_assets AS n WHERE n.sha256 = a.sha256)
        AND NOT EXISTS (SELECT FROM account_assets AS c WHERE c.sha256 = a.sha256 AND c.account_id <> :account_id)
""")
"""Makes locked assets that are no other account's incomplete, and due for deletion."""
_UNCOUNT = sa.text(f"DELETE FROM account_assets WHERE account_id = :account_id AND {_THESE}")
"""Counts assets no more for an account."""
# Watchers of all accounts have to learn of it, too, when that account's row is gone.
_KEEP_MARK = sa.text("""
    INSERT INTO cleaned_events AS c (account_id, seq) SELECT 0, seq FROM cleaned_events WHERE account_id = :account_id
    ON CONFLICT (account_id) DO UPDATE SET seq = greatest(c.seq, excluded.seq)
""")
"""Keeps up to which number moves are deleted."""


class Holdings(Statements):
    def count(self, account_id: int) -> dict[str, int]:
        """Returns how many rows of each table are the account's, of those that have any."""
        return {name: n for name, n in self._rows(_count(), account_id=account_id) if n}

    def end_webhooks(self, account_id: int) -> None:
        self._run(_END_WEBHOOKS, account_id=account_id)
        self._run(_LEAVE_CHANNELS, account_id=account_id)

    def lock_tasks(self, account_id: int, limit: int) -> list[int]:
        """Returns ended tasks of the account, locked, without those that others have locked or that have a lease."""
        return self._all(int, _LOCK_TASKS, account_id=account_id, limit=limit)

    def has_tasks(self, account_id: int) -> bool:
        return bool(self._row(_HAS_TASKS, account_id=account_id)[0])

    def lock_contents(self, account_id: int, limit: int) -> list[int]:
        return self._all(int, _LOCK_CONTENTS, account_id=account_id, limit=limit)

    def retire_assets(self, account_id: int, limit: int) -> int:
        """Lets the collection delete the objects of assets that only this account has; returns how many it had."""
        these = self._all(str, _PAGE_OF_ASSETS, account_id=account_id, limit=limit)
        if these:
            values = {"these": array("text", sorted(these))}
            self._run(_LOCK_ASSETS, **values)
            self._run(_RETIRE_OWN, **values, account_id=account_id)
            self._run(_UNCOUNT, **values, account_id=account_id)
        return len(these)

    def keep_mark(self, account_id: int) -> None:
        self._run(_KEEP_MARK, account_id=account_id)

    def delete(self, tables: Sequence[Table], account_id: int, limit: int) -> int:
        """Deletes up to `limit` rows of the first of these tables that has some of the account; returns how many."""
        return next((n for table in tables if (n := self._run(_delete(table), account_id=account_id, limit=limit))), 0)
