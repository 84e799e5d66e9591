"""Worker selectors: the labels that the workers of a task must have, each set with a number of its own.

The number is part of the `priority` of a task's rows in `ready`, `delayed` and `leases` (`domain/dispatch.py`). Whoever
gives it to a task holds its row until the commit, so that none is deleted that a task is about to have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Statements, payload
from scheduler_svc.domain.dispatch import MAX_QUEUE, QUEUES
from scheduler_svc.domain.task import MAX_PRIORITY, MIN_PRIORITY
from scheduler_svc.domain.worker import MAX_ACCOUNT_SELECTORS, MAX_SELECTORS, WorkerSelector

ALL_QUEUES = f"""(
    SELECT p.priority + s.selector_id * {QUEUES} AS priority
    FROM generate_series({MIN_PRIORITY}, {MAX_PRIORITY}) AS p(priority),
        (SELECT 0 AS selector_id UNION ALL SELECT selector_id FROM worker_selectors) AS s) AS p"""
"""For FROM: the `priority` of every queue that there may be."""


def served(priority: str, silence: str) -> str:
    """Returns whether a worker may run the tasks of a queue: connected, not draining, silent for less than that."""
    return f"""({priority} < {QUEUES} OR EXISTS (
            SELECT FROM worker_selectors AS x JOIN workers AS w ON w.labels @> x.labels
            WHERE x.selector_id = {priority} / {QUEUES} AND w.connected AND NOT (w.draining OR w.desired_drain)
                AND w.heartbeat_time > now() - {silence}))"""


_READ = sa.text("SELECT selector_id, labels FROM worker_selectors ORDER BY selector_id")
"""Reads all worker selectors."""
_LOCK_KNOWN = sa.text("""
    SELECT digest, selector_id FROM worker_selectors WHERE digest = ANY(CAST(:digests AS bytea[])) FOR KEY SHARE
""")
"""Locks and reads the numbers of some worker selectors."""
# The smallest free number. Whoever takes the same one, or adds the same labels, at once waits, and adds nothing.
_ADD = sa.text(f"""
    INSERT INTO worker_selectors (selector_id, digest, labels, account_id)
    SELECT n, CAST(:digest AS bytea), CAST(:labels AS jsonb), :account_id FROM generate_series(1, {MAX_SELECTORS}) AS n
    WHERE NOT EXISTS (SELECT FROM worker_selectors AS s WHERE s.selector_id = n)
        AND (SELECT count(*) FROM worker_selectors AS s WHERE s.account_id = :account_id) < {MAX_ACCOUNT_SELECTORS}
    ORDER BY n LIMIT 1
    ON CONFLICT DO NOTHING
""")
"""Adds a worker selector."""
_MAY_ADD = sa.text(f"""
    SELECT count(*) < {MAX_SELECTORS} AND count(*) FILTER (WHERE account_id = :account_id) < {MAX_ACCOUNT_SELECTORS}
    FROM worker_selectors
""")
"""Tells whether an account may add a worker selector."""

_STORED = UnnestedRows(task_key="bigint", worker_selector="jsonb")
_STORE = sa.text(f"""
    UPDATE task_payloads AS p SET worker_selector = r.worker_selector FROM {_STORED.source}, LATERAL (
        SELECT ctid FROM task_payloads AS x WHERE x.task_key = r.task_key OFFSET 0) AS target
    WHERE p.ctid = target.ctid
""")
"""Stores the worker selectors of tasks, as they were submitted."""
_OF_TASKS = sa.text(f"""
    SELECT k.task_key, p.worker_selector
    FROM unnest(CAST(:keys AS bigint[])) AS k(task_key), {payload("k")} WHERE p.worker_selector IS NOT NULL
""")
"""Reads the worker selectors of tasks."""

_LOCK_FREE = sa.text("SELECT selector_id FROM worker_selectors FOR UPDATE SKIP LOCKED")
"""Locks the worker selectors that no transaction is giving to a task."""
# A statement of its own, after the lock: it sees the tasks of all who held one before.
_DELETE_UNUSED = sa.text(f"""
    WITH gone AS (
        DELETE FROM worker_selectors WHERE selector_id = ANY(CAST(:free AS smallint[])) AND selector_id <> ALL(ARRAY(
            SELECT priority / {QUEUES} FROM ready WHERE priority >= {QUEUES}
            UNION SELECT priority / {QUEUES} FROM delayed WHERE priority >= {QUEUES}
            UNION SELECT priority / {QUEUES} FROM leases WHERE priority >= {QUEUES}))
        RETURNING selector_id
    ),
    shares AS (
        DELETE FROM shares WHERE priority >= {QUEUES} AND priority / {QUEUES} IN (SELECT selector_id FROM gone)
    ),
    floors AS (
        DELETE FROM ready_floors WHERE priority >= {QUEUES} AND priority / {QUEUES} IN (SELECT selector_id FROM gone)
    )
    SELECT count(*) FROM gone
""")
"""Deletes worker selectors that no open task has, with their fair order."""
# Of each account as many as may start at once, were a worker there: those without a tag, too.
_DEMAND = sa.text("""
    SELECT coalesce(sum(least(n, nullif(a.max_concurrent_tasks, 0))), 0)::bigint + (
            SELECT count(*) FROM leases AS l WHERE l.priority BETWEEN :low AND :high AND NOT l.revoked)
    FROM (
        SELECT s.account_id, sum(
            (SELECT count(*) FROM ready AS r
                WHERE r.account_id = s.account_id AND r.priority = s.priority AND r.tag IS NOT NULL)
            + (SELECT count(*) FROM ready AS r
                WHERE r.account_id = s.account_id AND r.priority = s.priority AND r.tag IS NULL)) AS n
        FROM shares AS s WHERE s.priority BETWEEN :low AND :high GROUP BY s.account_id
    ) AS k JOIN accounts AS a USING (account_id)
    WHERE NOT EXISTS (SELECT FROM pauses AS p WHERE p.account_id IN (0, a.account_id))
        AND (CAST(:account_id AS bigint) = 0 OR a.account_id = :account_id)
""")
"""Counts the tasks of some queues that are leased, or may be."""


class Selectors(Statements):
    """Statements on worker selectors."""

    def all(self) -> list[tuple[int, Mapping[str, str]]]:
        """Returns all worker selectors: the number and the labels of each."""
        return [(number, labels) for number, labels in self._rows(_READ)]

    def lock(self, selectors: Sequence[WorkerSelector]) -> dict[bytes, int]:
        """Returns the numbers of those that are stored, by digest; they stay until the commit."""
        digests = array("bytea", [selector.digest for selector in selectors])
        return {bytes(digest): number for digest, number in self._rows(_LOCK_KNOWN, digests=digests)}

    def add(self, selector: WorkerSelector, account_id: int) -> bool:
        """Adds one, unless another session has just done so; returns False if there are too many."""
        labels = json.dumps(dict(selector.labels))
        added = self._run(_ADD, digest=selector.digest, labels=labels, account_id=account_id)
        return bool(added or self._row(_MAY_ADD, account_id=account_id)[0])

    def store(self, selectors: Mapping[int, Mapping[str, str]]) -> None:
        """Stores the worker selectors of new tasks, by key."""
        self._run(
            _STORE, **_STORED.bind([(key, json.dumps(dict(labels))) for key, labels in sorted(selectors.items())])
        )

    def of_tasks(self, keys: Sequence[int]) -> dict[int, Mapping[str, str]]:
        """Returns the worker selectors of those of these tasks that have one, by key."""
        return dict(self._rows(_OF_TASKS, keys=array("bigint", keys)))

    def delete_unused(self) -> int:
        """Deletes worker selectors that no open task has; returns how many."""
        free = [row[0] for row in self._rows(_LOCK_FREE)]
        return int(self._row(_DELETE_UNUSED, free=array("smallint", free))[0]) if free else 0

    def demand(self, account_id: int, selector_id: int | None) -> int:
        """Returns how many tasks with this worker selector are leased or may be; None: with any selector."""
        low, high = (
            (QUEUES, MAX_QUEUE) if selector_id is None else (QUEUES * selector_id, QUEUES * (selector_id + 1) - 1)
        )
        return int(self._row(_DEMAND, account_id=account_id, low=low, high=high)[0])
