"""Which task holds a unique key of its account. A row is deleted with its task, unless another has taken the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from scheduler_svc.application.records import UniqueKey
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.engine.access_paths import payload
from scheduler_svc.store.engine.batch import UnnestedRows, array
from scheduler_svc.store.engine.rows import Statements

_ROWS = UnnestedRows(account_id="bigint", unique_key="text", task_key="bigint", until="timestamptz")
# The unique key decides between concurrent ones: the later one waits for the earlier one's commit.
_INSERT = sa.text(f"""
    INSERT INTO unique_keys (account_id, unique_key, task_key, until)
    SELECT account_id, unique_key, task_key, until FROM {_ROWS.source}
    ORDER BY account_id, unique_key, task_key
    ON CONFLICT (account_id, unique_key) DO NOTHING
""")
"""Stores holders of unique keys that nobody holds."""
_HOLDER = """LATERAL (
        SELECT * FROM unique_keys AS x WHERE (x.account_id, x.unique_key) >= (k.account_id, k.unique_key)
            AND (x.account_id, x.unique_key) <= (k.account_id, k.unique_key)
        ORDER BY x.account_id, x.unique_key"""
_LOCK = sa.text(f"""
    SELECT q.account_id, q.unique_key, q.task_key, q.until
    FROM (SELECT DISTINCT account_id, unique_key FROM {_ROWS.source} ORDER BY account_id, unique_key) AS k,
        {_HOLDER} FOR UPDATE) AS q
""")
"""Locks and reads the holders of unique keys."""
_REPLACE = sa.text(f"""
    UPDATE unique_keys AS q SET task_key = r.task_key, until = greatest(q.until, r.until)
    FROM {_ROWS.source} WHERE q.account_id = r.account_id AND q.unique_key = r.unique_key
""")
"""Stores new holders of unique keys that are locked."""
_HELD = sa.text(f"""
    SELECT q.account_id, q.unique_key
    FROM (SELECT DISTINCT account_id, unique_key FROM {_ROWS.source}) AS k, {_HOLDER} OFFSET 0) AS q
    WHERE EXISTS (
        SELECT FROM tasks AS t
        WHERE t.task_key = q.task_key AND (t.status + 0 = {Status.PENDING} OR q.until > now()) OFFSET 0)
""")
"""Finds unique keys that an open or young enough task holds."""

_PAYLOADS = UnnestedRows(task_key="bigint", unique_key="text", unique_for_ms="bigint")
_STORE = sa.text(f"""
    UPDATE task_payloads AS p SET unique_key = r.unique_key, unique_for_ms = r.unique_for_ms
    FROM {_PAYLOADS.source}, LATERAL (
        SELECT ctid FROM task_payloads AS x WHERE x.task_key = r.task_key OFFSET 0) AS target
    WHERE p.ctid = target.ctid
""")
"""Stores the unique keys of tasks, as they were submitted."""
_OF_TASKS = sa.text(f"""
    SELECT t.account_id, p.unique_key, t.task_key,
        t.create_time + make_interval(secs => coalesce(p.unique_for_ms, 0) / 1000.0)
    FROM tasks AS t, {payload("t")}
    WHERE t.task_key = ANY(CAST(:keys AS bigint[])) AND p.unique_key IS NOT NULL ORDER BY t.task_key
""")
"""Reads the unique keys of tasks."""
_MILLISECOND = timedelta(milliseconds=1)


class UniqueKeys(Statements):
    def store(self, keys: Mapping[int, tuple[str, timedelta]]) -> None:
        """Stores unique keys of new tasks, and for how long each holds it, by the task's key."""
        rows = [(key, name, length // _MILLISECOND or None) for key, (name, length) in sorted(keys.items())]
        self._run(_STORE, **_PAYLOADS.bind(rows))

    def insert(self, rows: Sequence[UniqueKey]) -> None:
        """Stores those of these holders whose key nobody holds."""
        self._run(_INSERT, **_ROWS.bind(rows))

    def lock(self, rows: Sequence[UniqueKey]) -> dict[tuple[int, str], UniqueKey]:
        """The present holders of the keys of these rows, locked; those deleted meanwhile are missing."""
        found = [UniqueKey(*row) for row in self._rows(_LOCK, **_ROWS.bind(rows))]
        return {row.name: row for row in found}

    def replace(self, rows: Sequence[UniqueKey]) -> None:
        """Makes these the holders of their keys, which are locked."""
        if rows:
            self._run(_REPLACE, **_ROWS.bind(rows))

    def held(self, rows: Sequence[UniqueKey]) -> set[tuple[int, str]]:
        """Those of the keys of these rows that an open or young enough task holds."""
        return {(row[0], row[1]) for row in self._rows(_HELD, **_ROWS.bind(rows))}

    def of_tasks(self, keys: Sequence[int]) -> list[UniqueKey]:
        """The unique keys of these tasks, of those that have one."""
        return [UniqueKey(*row) for row in self._rows(_OF_TASKS, keys=array("bigint", keys))]
