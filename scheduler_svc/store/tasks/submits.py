"""Accounts, request ids and keys of a submit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from psycopg2.errors import UniqueViolation

from scheduler_svc.application.records import RequestId, SmallSubmit, SubmitAccount, SubmitContext, TagReservation
from scheduler_svc.application.tasks.ledger import ALL_ACCOUNTS
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.store.dispatch.floors import ASSIGN_TAGS
from scheduler_svc.store.dispatch.reservations import reservations
from scheduler_svc.store.engine.batch import UnnestedRows, array
from scheduler_svc.store.engine.rows import Statements
from scheduler_svc.store.tasks.pending_counts import pending, pending_of
from scheduler_svc.store.tasks.small_submits import SMALL_SUBMIT, bound

# Returns a row even if no account is found, with the time and the number of pending tasks of all accounts.
_STANDING = sa.text(f"""
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
_KNOWN = sa.text(f"""
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


class Submits(Statements):
    def next_keys(self) -> int:
        """Returns the first of 1,000 numbers of the key sequence that are reserved for the caller."""
        row = self._row(_KEYS)
        assert row is not None
        return int(row[0])

    def context(self, ids: Sequence[int]) -> SubmitContext:
        """The time, how many tasks are pending, and those of these accounts that exist."""
        rows = self._rows(_STANDING, ids=array("bigint", ids))
        accounts = {row[2]: SubmitAccount(*row[2:]) for row in rows if row[2] is not None}
        return SubmitContext(rows[0][0], rows[0][1], accounts)

    def scheduled_from(self, day: int) -> int:
        """How many pending tasks are scheduled for that day (see `domain/bounds.py`) or a later one."""
        row = self._row(_SCHEDULED_FROM, day=day)
        assert row is not None
        return int(row[0])

    def remember(self, rows: Sequence[RequestId]) -> set[int]:
        """Remembers request ids that are new; returns the task keys of those."""
        return {row[0] for row in self._rows(_REMEMBER, **_REQUEST.bind(rows))}

    def known(self, rows: Sequence[RequestId]) -> dict[tuple[int, str], RequestId]:
        """The stored requests with these ids."""
        found = [RequestId(a, r, k, bytes(f)) for a, r, k, f in self._rows(_KNOWN, **_REQUEST.bind(rows))]
        return {(row.account_id, row.request_id): row for row in found}

    def forget(self, rows: Sequence[RequestId]) -> None:
        """Deletes request ids that this transaction remembered."""
        self._run(_FORGET, **_REQUEST.bind(rows))

    def store_small(
        self, new: SmallSubmit, max_pending: int
    ) -> tuple[datetime, dict[tuple[int, int], TagReservation]] | None:
        """Stores these tasks and commits; returns the time, and the tags that they got.

        Returns None, with nothing done, if more than `max_pending` would be pending, an account does not exist, is not
        active or has a quota against them, a request id is known, or something was sent in this transaction before.
        """
        if not self._session.untouched:
            return None
        self._session.hold_back(ASSIGN_TAGS, {})
        try:
            rows = self._session.execute_and_commit(SMALL_SUBMIT, bound(new, max_pending)).fetchall()
        except sa.exc.IntegrityError as error:
            if isinstance(error.orig, UniqueViolation):  # another session has remembered the request id just now
                return None
            raise
        return (rows[0][0], reservations(row[1:] for row in rows)) if rows else None
