"""Statements that count and delete what an account has, whatever its table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Protocol

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import Statements, leased
from scheduler_svc.domain.ids import FIRST_ID_BITS
from scheduler_svc.holdings.tables import Table, countable


class Writes(Protocol):
    def write(self, data: bytes, /) -> object: ...


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
_DISOWN_SELECTORS = sa.text("UPDATE worker_selectors SET account_id = 0 WHERE account_id = :account_id")
"""Forgets who was the first to use worker selectors: others may use them, and what nobody uses goes by itself."""
# Watchers of all accounts have to learn of it, too, when that account's row is gone.
_KEEP_MARK = sa.text("""
    INSERT INTO cleaned_events AS c (account_id, seq) SELECT 0, seq FROM cleaned_events WHERE account_id = :account_id
    ON CONFLICT (account_id) DO UPDATE SET seq = greatest(c.seq, excluded.seq)
""")
"""Keeps up to which number moves are deleted."""


# A snapshot for all tables; what is written meanwhile is not in it.
_SNAPSHOT = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
"""Makes the transaction read as of one moment."""
_RUNNING = sa.text("SELECT count(*) FROM leases WHERE account_id = :account_id")
"""Counts the attempts that workers hold."""


@cache
def _copy(table: Table) -> sa.TextClause:
    """Reads an account's rows as JSON, one a line: JSON has no character of these that stand for quotes and commas."""
    columns = ", ".join(f'"{column}"' for column in table.columns)
    order = ' ORDER BY "seq"' if table.name == "task_events" else " ORDER BY 1" if table.name == "assets" else ""
    rows = f"SELECT {columns} FROM {table.name} WHERE {table.condition}{order}"
    return sa.text(
        f"COPY (SELECT row_to_json(r) FROM ({rows}) AS r) TO STDOUT (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')"
    )


# A session of another role does not tell when its transaction began. What runs for longer is no submit.
_UNDER_WAY = sa.text("""
    SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
            AND xact_start < :since AND xact_start > CAST(:since AS timestamptz) - interval '40 seconds')
""")
"""Finds whether a transaction that may be a submit has been running since before some time."""
_IN_ORDER = "unnest(CAST(:lines AS text[])) WITH ORDINALITY AS l(line, n)"


@cache
def _store(table: Table, columns: tuple[str, ...]) -> sa.TextClause:
    """Stores rows of an archive; not those that exist, or that name what is not the account's."""
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(f'r."{column}"' for column in columns)
    condition = table.condition.replace(table.by, f"r.{table.by}", 1)
    return sa.text(f"""
        INSERT INTO {table.name} ({names}) SELECT {values} FROM {_IN_ORDER},
            json_populate_record(CAST(NULL AS {table.name}), CAST(l.line AS json)) AS r
        WHERE {condition} ORDER BY l.n
        ON CONFLICT DO NOTHING
    """)


_COUNT_BYTES = sa.text("""
    INSERT INTO asset_usage (account_id, bytes)
    SELECT account_id, sum(size) FROM account_assets WHERE account_id = :account_id GROUP BY account_id
""")
"""Counts the bytes of an account's files."""
_COUNT_TASKS = sa.text("SELECT status, count(*) FROM tasks WHERE account_id = :account_id GROUP BY status")
"""Counts an account's tasks by their state."""
_DROP_INCOMPLETE = sa.text(f"UPDATE assets SET touch_time = '-infinity' WHERE {_THESE} AND NOT complete")
"""Lets files be deleted that were announced, and not stored."""
# Only ids of the database's own cell, and only where it has not drawn them yet: then it will.
_SKIP_IDS = sa.text(f"""
    SELECT m.may, CASE WHEN m.may THEN setval(s.name, s.highest) END FROM (VALUES
        (CAST(pg_get_serial_sequence('accounts', 'account_id') AS regclass), CAST(:account_id AS bigint)),
        (CAST('content_seq' AS regclass), (SELECT max(content_id) FROM contents WHERE account_id = :account_id)),
        (CAST(pg_get_serial_sequence('schedules', 'schedule_id') AS regclass),
            (SELECT max(schedule_id) FROM schedules WHERE account_id = :account_id))
    ) AS s(name, highest), deployment AS d, LATERAL (SELECT has_sequence_privilege(s.name, 'UPDATE')) AS m(may)
    WHERE s.highest >> {FIRST_ID_BITS} = coalesce(d.cell, 0) AND s.highest > coalesce(pg_sequence_last_value(s.name), 0)
""")
"""Lets the database not draw the ids of an account that was made elsewhere in the same cell."""


class Holdings(Statements):
    def hold_snapshot(self) -> None:
        """Reads all that follows as of one moment; the first statement of a transaction."""
        self._session.hold_back(_SNAPSHOT, {})

    def submits_under_way(self, since: datetime) -> bool:
        """Whether a submit may be about to commit that has read accounts as they were before that time."""
        return bool(self._row(_UNDER_WAY, since=since)[0])

    def running(self, account_id: int) -> int:
        return int(self._row(_RUNNING, account_id=account_id)[0])

    def copy(self, table: Table, account_id: int, file: Writes) -> None:
        """Writes the account's rows of a table, each as a line of JSON."""
        self._session.copy_to(_copy(table), {"account_id": account_id}, file)

    def store(self, table: Table, columns: tuple[str, ...], account_id: int, lines: Sequence[str]) -> int:
        """Stores rows with these columns; returns how many of them."""
        return self._run(_store(table, columns), account_id=account_id, lines=array("text", lines))

    def count_bytes(self, account_id: int) -> None:
        self._run(_COUNT_BYTES, account_id=account_id)

    def task_counts(self, account_id: int) -> dict[int, int]:
        return dict(self._rows(_COUNT_TASKS, account_id=account_id))

    def drop_incomplete(self, these: Sequence[str]) -> None:
        self._run(_DROP_INCOMPLETE, these=array("text", these))

    def skip_ids(self, account_id: int) -> bool:
        """Makes sure that the database draws no id of the account again; returns whether its role may."""
        return all(may for may, _ in self._rows(_SKIP_IDS, account_id=account_id))

    def count(self, account_id: int) -> dict[str, int]:
        """Returns how many rows of each table are the account's, of those that have any."""
        return {name: n for name, n in self._rows(_count(), account_id=account_id) if n}

    def disown_selectors(self, account_id: int) -> None:
        self._run(_DISOWN_SELECTORS, account_id=account_id)

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
