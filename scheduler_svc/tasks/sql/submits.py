"""Submits: accounts, request ids, unique keys, the number of pending tasks, and the small submit.

The small submit is one statement that checks few new tasks, and stores them with history, counts and tags, or nothing.
It is called a few rows at a time, so what joins them by comparing all with all costs nothing. Request ids come before
shares, as in other submits: two sessions then never wait for each other.

A unique key's row is deleted with its task, unless another task has taken the key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from psycopg2.errors import UniqueViolation

from scheduler_svc.database.batch import Insert, UnnestedRows, array
from scheduler_svc.database.statements import Statements, kept, payload
from scheduler_svc.dispatch.rows import Claimed
from scheduler_svc.dispatch.sql.tags import ASSIGN_TAGS, GROUPS, bind_counts, reservations, reserved
from scheduler_svc.domain.account import ALL_ACCOUNTS
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.rollup import SUBMITTED
from scheduler_svc.domain.task import READY, NewTask
from scheduler_svc.history.sql import unfolded
from scheduler_svc.history.work import TagReservation
from scheduler_svc.schema.payloads import TRACED_PAYLOADS, stored_traced
from scheduler_svc.tasks.rows import (
    RequestId,
    SubmitAccount,
    SubmitContext,
    UniqueKey,
    label_rows,
    payload_row,
    request_row,
    task_row,
)
from scheduler_svc.tasks.sql.tasks import LABELS, TASKS


def pending(which: str, deltas: str) -> str:
    """Returns a query for `n`: the folded counts of the accounts that `which` compares, and these deltas."""
    return f"""
        SELECT coalesce(sum(n), 0)::bigint AS n FROM (
            SELECT n FROM task_counts AS k WHERE k.account_id {which} AND k.kind = {Status.PENDING}
            UNION ALL
            {deltas}
        ) AS c
    """


def pending_of(account_id: str) -> str:
    """Returns a query for `n` of one account."""
    return pending(f"= {account_id}", unfolded(account_id, Status.PENDING))


_ROWS = UnnestedRows(account_id="bigint", unique_key="text", task_key="bigint", until="timestamptz")
# The unique key decides between concurrent ones: the later one waits for the earlier one's commit.
_INSERT_HOLDERS = sa.text(f"""
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
_LOCK_HOLDERS = sa.text(f"""
    SELECT q.account_id, q.unique_key, q.task_key, q.until
    FROM (SELECT DISTINCT account_id, unique_key FROM {_ROWS.source} ORDER BY account_id, unique_key) AS k,
        {_HOLDER} FOR UPDATE) AS q
""")
"""Locks and reads the holders of unique keys."""
_REPLACE_HOLDERS = sa.text(f"""
    UPDATE unique_keys AS q SET task_key = r.task_key, until = greatest(q.until, r.until)
    FROM {_ROWS.source} WHERE q.account_id = r.account_id AND q.unique_key = r.unique_key
""")
"""Stores new holders of unique keys that are locked."""
_HELD_KEYS = sa.text(f"""
    SELECT q.account_id, q.unique_key
    FROM (SELECT DISTINCT account_id, unique_key FROM {_ROWS.source}) AS k, {_HOLDER} OFFSET 0) AS q
    WHERE EXISTS (
        SELECT FROM tasks AS t
        WHERE t.task_key = q.task_key AND (t.status + 0 = {Status.PENDING} OR q.until > now()) OFFSET 0)
""")
"""Finds unique keys that an open or young enough task holds."""

_PAYLOADS = UnnestedRows(task_key="bigint", unique_key="text", unique_for_ms="bigint")
_STORE_KEYS = sa.text(f"""
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


class UniqueKeys(Statements):
    def store(self, keys: Mapping[int, tuple[str, timedelta]]) -> None:
        """Stores unique keys of new tasks, and for how long each holds it, by the task's key."""
        rows = [
            (key, name, length // timedelta(milliseconds=1) or None) for key, (name, length) in sorted(keys.items())
        ]
        self._run(_STORE_KEYS, **_PAYLOADS.bind(rows))

    def insert(self, rows: Sequence[UniqueKey]) -> None:
        self._run(_INSERT_HOLDERS, **_ROWS.bind(rows))

    def lock(self, rows: Sequence[UniqueKey]) -> dict[tuple[int, str], UniqueKey]:
        """Returns the present holders of the keys of these rows, locked; those deleted meanwhile are missing."""
        holders = self._all(UniqueKey, _LOCK_HOLDERS, **_ROWS.bind(rows))
        return {row.name: row for row in holders}

    def replace(self, rows: Sequence[UniqueKey]) -> None:
        """Makes these the holders of their keys, which are locked."""
        if rows:
            self._run(_REPLACE_HOLDERS, **_ROWS.bind(rows))

    def held(self, rows: Sequence[UniqueKey]) -> set[tuple[int, str]]:
        """Returns those of the keys of these rows that an open or young enough task holds."""
        return {(row[0], row[1]) for row in self._rows(_HELD_KEYS, **_ROWS.bind(rows))}

    def of_tasks(self, keys: Sequence[int]) -> list[UniqueKey]:
        """Returns the unique keys of these tasks, of those that have one."""
        return self._all(UniqueKey, _OF_TASKS, keys=array("bigint", keys))


_REQUESTS = Insert("request_ids", account_id="bigint", request_id="text", task_key="bigint", fingerprint="bytea")
"""Remembers request ids, which must be new."""

_GO = "EXISTS (SELECT FROM go)"
_ADDED = f"(SELECT sum(r.count) FROM {GROUPS.source} WHERE r.account_id = a.account_id)"
_REFUSED = f"""
    SELECT FROM {GROUPS.source} LEFT JOIN accounts AS a USING (account_id)
    WHERE a.active IS NOT TRUE OR (a.max_priority > 0 AND r.priority > a.max_priority)
        OR CASE WHEN a.max_pending_tasks > 0
            THEN ({pending_of("a.account_id")}) + {_ADDED} > a.max_pending_tasks ELSE false END
"""
_KNOWN = """
    SELECT FROM (
            SELECT unnest(CAST(:request_account_id AS bigint[])) AS own,
                unnest(CAST(:request_request_id AS text[])) AS id) AS r,
        LATERAL (SELECT FROM request_ids WHERE account_id = r.own AND request_id = r.id OFFSET 0) AS known
"""

SMALL_SUBMIT = sa.text(f"""
    WITH go AS MATERIALIZED (
        SELECT now() AS now FROM ({pending_of(str(ALL_ACCOUNTS))}) AS p
        WHERE p.n + cardinality(CAST(:task_task_key AS bigint[])) <= :max_pending
            AND NOT EXISTS ({_REFUSED}) AND NOT EXISTS ({_KNOWN})
    ),
    new AS MATERIALIZED (
        SELECT *, row_number() OVER (PARTITION BY account_id, priority ORDER BY task_key) AS place
        FROM (
            SELECT unnest(CAST(:task_task_key AS bigint[])) AS task_key,
                unnest(CAST(:task_account_id AS bigint[])) AS account_id,
                unnest(CAST(:task_priority AS smallint[])) AS priority,
                unnest(CAST(:task_timeout_ms AS bigint[])) AS timeout_ms) AS r
        WHERE {_GO}
    ),
    {TASKS.part("task", _GO)},
    {TRACED_PAYLOADS.part("payload", _GO)},
    {LABELS.part("label", _GO)},
    {_REQUESTS.part("request", _GO)},
    event AS (
        INSERT INTO task_events (task_key, previous_status, status, attempt, reason)
        SELECT task_key, {Status.NONE}, {Status.PENDING}, 0, 'SUBMITTED' FROM new ORDER BY task_key
    ),
    {reserved(f"{_GO} AND (SELECT count(*) FROM request) >= 0")},
    queued AS (
        INSERT INTO ready (task_key, priority, tag, account_id, attempt, timeout_ms)
        SELECT task_key, priority, CASE WHEN place <= s.tagged
            THEN greatest(s.now, s.finish - (s.tagged - place + 1) / s.weight) END, account_id, 1, timeout_ms
        FROM new JOIN reserved AS s USING (account_id, priority)
    ),
    moved AS (SELECT account_id, count(*) AS n FROM new GROUP BY account_id),
    delta AS (
        INSERT INTO count_deltas (account_id, kind, n)
        SELECT account_id, kind, n
        FROM (SELECT * FROM moved UNION ALL SELECT {ALL_ACCOUNTS}, sum(n)::bigint FROM moved HAVING count(*) > 0) AS n,
            (VALUES ({Status.PENDING}), ({READY})) AS k(kind)
    ),
    rollup AS (
        INSERT INTO rollup_deltas (account_id, kinds, numbers)
        SELECT account_id, ARRAY[{SUBMITTED}], ARRAY[n] FROM moved
    )
    {kept("SELECT go.now AS stored, s.* FROM go, reserved AS s")}
""")
"""Stores few new tasks that are ready at once, with payloads, labels, request ids, history, counts and tags."""


def bound(
    pairs: Sequence[tuple[int, NewTask]], counts: Mapping[tuple[int, int], int], max_pending: int
) -> dict[str, object]:
    """Returns the parameters of `SMALL_SUBMIT`."""
    requests = sorted(request_row(key, task) for key, task in pairs if task.request_id)
    return {
        "max_pending": max_pending,
        **TASKS.bind_part("task", [task_row(*pair) for pair in pairs]),
        **TRACED_PAYLOADS.bind_part("payload", [stored_traced(payload_row(*pair)) for pair in pairs]),
        **LABELS.bind_part("label", [row for pair in pairs for row in label_rows(*pair)]),
        **_REQUESTS.bind_part("request", requests),
        **bind_counts(counts),
    }


# Returns a row even if no account is found, with the time and the number of pending tasks of all accounts.
_READ_SUBMIT_CONTEXT = sa.text(f"""
    SELECT now(), p.n, a.account_id, a.active, a.max_priority, a.max_pending_tasks,
        CASE WHEN a.max_pending_tasks > 0 THEN ({pending_of("a.account_id")}) ELSE 0 END
    FROM ({pending_of(str(ALL_ACCOUNTS))}) AS p
    LEFT JOIN accounts AS a ON a.account_id = ANY(CAST(:ids AS bigint[]))
""")
"""Reads the time, the number of pending tasks, and the accounts, for the checks of a submit."""
# A range of the days from then on, each of them a negative account (see `schema.task_counts`).
_LATER = "<= -CAST(:day AS bigint)"
_LATER_DELTAS = f"SELECT n FROM count_deltas AS k WHERE k.account_id {_LATER} AND k.kind = {Status.PENDING}"
_SCHEDULED_FROM = sa.text(pending(_LATER, _LATER_DELTAS))
"""Counts the pending tasks that are scheduled from a day on."""
_KEYS = sa.text("SELECT nextval('key_seq')")
"""Draws a block of task keys."""

_REQUEST = UnnestedRows(account_id="bigint", request_id="text", task_key="bigint", fingerprint="bytea")
# The unique key decides between concurrent submits of one id: the later one waits for the earlier one's commit.
_REMEMBER = sa.text(f"""
    INSERT INTO request_ids (account_id, request_id, task_key, fingerprint)
    SELECT account_id, request_id, task_key, fingerprint FROM {_REQUEST.source}
    ORDER BY account_id, request_id, task_key
    ON CONFLICT DO NOTHING
    RETURNING task_key
""")
"""Remembers new request ids."""
# Locked, so that an id that is answered from is not deleted meanwhile.
_KNOWN_REQUESTS = sa.text(f"""
    SELECT q.account_id, q.request_id, q.task_key, q.fingerprint
    FROM request_ids AS q JOIN {_REQUEST.source} USING (account_id, request_id)
    FOR KEY SHARE OF q
""")
"""Reads and locks known request ids."""
_FORGET = sa.text(f"""
    DELETE FROM request_ids AS q USING {_REQUEST.source}
    WHERE q.account_id = r.account_id AND q.request_id = r.request_id AND q.task_key = r.task_key
""")
"""Deletes request ids that this transaction remembered."""


class Stored(NamedTuple):
    """What came of a small submit: the time, and the tags that its tasks got. `ready`: they may wait for a claim."""

    now: datetime
    reservations: dict[tuple[int, int], TagReservation]
    ready: bool


class Submits(Statements):
    def next_keys(self) -> int:
        """Returns the first of 1,000 numbers of the key sequence that are reserved for the caller."""
        return int(self._row(_KEYS)[0])

    def context(self, ids: Sequence[int]) -> SubmitContext:
        """Returns the time, how many tasks are pending, and those of these accounts that exist."""
        rows = self._rows(_READ_SUBMIT_CONTEXT, ids=array("bigint", ids))
        accounts = {row[2]: SubmitAccount(*row[2:]) for row in rows if row[2] is not None}
        return SubmitContext(rows[0][0], rows[0][1], accounts)

    def scheduled_from(self, day: int) -> int:
        """Returns how many pending tasks are scheduled for that day (see `domain/task.py`) or a later one."""
        return int(self._row(_SCHEDULED_FROM, day=day)[0])

    def remember(self, rows: Sequence[RequestId]) -> set[int]:
        """Remembers request ids that are new; returns the task keys of those."""
        return {row[0] for row in self._rows(_REMEMBER, **_REQUEST.bind(rows))}

    def known(self, rows: Sequence[RequestId]) -> dict[tuple[int, str], RequestId]:
        requests = [
            RequestId(account_id, request_id, task_key, bytes(fingerprint))
            for account_id, request_id, task_key, fingerprint in self._rows(_KNOWN_REQUESTS, **_REQUEST.bind(rows))
        ]
        return {(row.account_id, row.request_id): row for row in requests}

    def forget(self, rows: Sequence[RequestId]) -> None:
        self._run(_FORGET, **_REQUEST.bind(rows))

    def store_small(
        self,
        pairs: Sequence[tuple[int, NewTask]],
        counts: Mapping[tuple[int, int], int],
        max_pending: int,
        claim: Callable[[], Claimed] | None = None,
    ) -> Stored | None:
        """Stores these tasks, which are ready at once, and commits.

        `counts`: how many they are by (account, priority). `claim`: runs in the same transaction, and commits. Returns
        None, with none of them stored, if more than `max_pending` would be pending, an account does not exist, is not
        active or has a quota against them, a request id is known, or something was sent in this transaction before.
        """
        if not self._session.untouched:
            return None
        self._session.hold_back(ASSIGN_TAGS, {})
        submit = SMALL_SUBMIT, bound(pairs, counts, max_pending)
        try:
            if claim is None:
                answer, ready = self._session.execute_and_commit(*submit).fetchall()[0][0], True
            else:
                self._session.hold_back(*submit)
                claimed = claim()
                answer, ready = claimed.kept, claimed.full or claimed.locked_out
        except UniqueViolation:  # another session has remembered the request id just now
            return None
        rows = [tuple(row.values()) for row in json.loads(answer)]
        return (
            Stored(datetime.fromisoformat(rows[0][0]), reservations(row[1:] for row in rows), ready) if rows else None
        )
