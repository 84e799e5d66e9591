"""Recent starts of accounts with `max_starts_per_minute`. Read with the account's window, in one snapshot.

A transaction that counts an account's starts holds its rows in `shares`. One that removes a task without claiming it
does not, so `tagged` is only added to and subtracted from, never set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from scheduler_svc.domain.start_quota import Starts
from scheduler_svc.store.engine.batch import UnnestedRows, array
from scheduler_svc.store.engine.rows import Statements

_ADD = sa.text("""
    INSERT INTO start_quotas (account_id, tagged, times, counts) VALUES (:account_id, 0, '{}', '{}')
    ON CONFLICT DO NOTHING
""")
"""Begins to count an account's starts."""
_REMOVE = sa.text("DELETE FROM start_quotas WHERE account_id = :account_id")
"""Stops counting an account's starts."""
_COUNT = sa.text("""
    INSERT INTO start_quotas AS q (account_id, tagged, times, counts)
    VALUES (:account_id, :more, CAST(:times AS timestamptz[]), CAST(:counts AS integer[]))
    ON CONFLICT (account_id) DO UPDATE SET tagged = q.tagged + excluded.tagged, times = excluded.times,
        counts = excluded.counts
""")
"""Stores an account's starts within the last minute."""
_TAGS = UnnestedRows(account_id="bigint", tags="integer")
_SUBTRACT_TAGS = sa.text(f"""
    UPDATE start_quotas AS q SET tagged = q.tagged - r.tags FROM {_TAGS.source}
    WHERE q.account_id = r.account_id AND q.account_id = ANY(ARRAY(
        SELECT account_id FROM start_quotas WHERE account_id = ANY(CAST(:account_id AS bigint[]))
        ORDER BY account_id FOR UPDATE))
""")
"""Subtracts the tags of tasks that were removed without a claim."""
_REOPENED = sa.text("""
    SELECT account_id FROM start_quotas AS q WHERE EXISTS (
        SELECT FROM shares AS s WHERE s.account_id = q.account_id AND NOT s.closed OFFSET 0)
""")
"""Finds accounts with a quota that are not closed."""


class StartQuotas(Statements):
    def add(self, account_id: int) -> None:
        """Counts the account's starts from now on. Idempotent."""
        self._run(_ADD, account_id=account_id)

    def remove(self, account_id: int) -> None:
        self._run(_REMOVE, account_id=account_id)

    def count(self, account_id: int, more: int, starts: Sequence[Starts]) -> None:
        """Stores the starts of the last minute, and that `more` tasks have a tag than before."""
        times = array("timestamptz", [it.time for it in starts])
        counts = array("integer", [it.number for it in starts])
        self._run(_COUNT, account_id=account_id, more=more, times=times, counts=counts)

    def subtract_tags(self, tags: Mapping[int, int]) -> None:
        """Subtracts, by account, tasks that were removed with a tag and will not start."""
        self._run(_SUBTRACT_TAGS, **_TAGS.bind(sorted(tags.items())))

    def reopened(self) -> list[int]:
        """Accounts with a quota that a replica of a version without quotas has opened: their tasks get tags at once."""
        return [row[0] for row in self._rows(_REOPENED)]
