"""Audit events, newest first.

A list of an account, or of a method that is no submit, reads an index of its own. A further condition, and that on the
caller, has none: then a page examines `MAX_EXAMINED` events at most, and says where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from scheduler_svc.database.batch import Insert, UnnestedRows, array
from scheduler_svc.database.statements import EACH_ACCOUNT, Page, Statements, accounts, of_each_account
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.audit import SUBMITS, AuditEvent, AuditFilter

MAX_EXAMINED = 5_000
"""Events of which a page finds out whether they match."""

# The index of methods is spelt like this. Submits are many, and seldom searched for. Their RPCs are known by `awaited`
# of their rows, too; here they are named, since another one needs a migration.
_NO_SUBMIT = "method NOT IN ({})".format(", ".join(f"'{method}'" for method in SUBMITS))

_NEXT_REPLICA = sa.text("SELECT nextval('audit_seq')")
"""Draws a number for a replica."""
_INSERT_EVENTS = Insert(
    "audit_events",
    event_key="bigint",
    actor="text",
    account_id="bigint",
    method="text",
    resource="text",
    outcome="text",
    changes="text",
)
"""Inserts events."""
_STORED = sa.text("""
    SELECT k.event_key FROM unnest(CAST(:keys AS bigint[])) AS r(event_key), LATERAL (
        SELECT x.event_key FROM audit_events AS x WHERE x.event_key = r.event_key OFFSET 0) AS k
""")
"""Finds which events are stored already."""
_EXTENDED = UnnestedRows(
    event_key="bigint",
    actor="text",
    account_id="bigint",
    method="text",
    resource="text",
    outcome="text",
    changes="text",
)
# A row that was deleted meanwhile comes back, with all that it was about.
_EXTEND = sa.text(f"""
    INSERT INTO audit_events (event_key, actor, account_id, method, resource, outcome, changes)
    SELECT event_key, actor, account_id, method, resource, outcome, changes FROM {_EXTENDED.source} ORDER BY event_key
    ON CONFLICT (event_key) DO UPDATE SET resource = excluded.resource, changes = excluded.changes
""")
"""Stores further submits with the event of the first one."""
_RESOURCES = UnnestedRows(kind="text", id="bigint")
_ACCOUNTS_OF = sa.text(f"""
    SELECT r.kind, r.id, CASE r.kind
        WHEN 'task' THEN (SELECT account_id FROM tasks WHERE task_key = r.id)
        WHEN 'content' THEN (SELECT account_id FROM contents WHERE content_id = r.id)
        WHEN 'schedule' THEN (SELECT account_id FROM schedules WHERE schedule_id = r.id)
        WHEN 'webhook' THEN (SELECT account_id FROM webhooks WHERE webhook_id = r.id)
        WHEN 'channel' THEN (SELECT account_ids[1] FROM webhooks WHERE webhook_id = r.id AND account_ids[2] IS NULL)
        WHEN 'delivery' THEN (SELECT w.account_id FROM webhooks AS w WHERE w.webhook_id = (
            SELECT d.webhook_id FROM webhook_deliveries AS d WHERE d.delivery_id = r.id)) END
    FROM {_RESOURCES.source}
""")
"""Reads which accounts resources belong to."""

_COLUMNS = "event_key, actor, account_id, method, resource, outcome, changes"


class _Selection(NamedTuple):
    """The conditions of a list, without their values."""

    of_accounts: bool
    of_actor: bool
    of_method: bool
    submits: bool

    @classmethod
    def of(cls, scope: Scope, wanted: AuditFilter) -> _Selection:
        return cls(scope.accounts is not None, bool(wanted.actor), bool(wanted.method), wanted.method in SUBMITS)

    @property
    def by_method(self) -> bool:
        return self.of_method and not self.of_accounts and not self.submits

    @property
    def examines(self) -> bool:
        """Whether rows that are read may not belong on the page."""
        return self.of_actor or (self.of_method and not self.by_method)

    @property
    def conditions(self) -> str:
        actor = " AND actor = :actor" if self.of_actor else ""
        return actor + (" AND method = :method" if self.of_method and not self.by_method else "")

    def rows(self, columns: str, conditions: str, end: str) -> str:
        """Returns a query of what is in the range, newest first, by one index. `end`: of the rows of each account."""
        if self.of_accounts:
            order = "ORDER BY account_id DESC, event_key DESC"
            key_range = "(account_id, event_key) >= (a.own, :low) AND (account_id, event_key) < (a.own, :high)"
            query = f"SELECT {columns} FROM audit_events WHERE {key_range}{conditions} {order} {end}"
            return f"SELECT k.* FROM {EACH_ACCOUNT}, LATERAL ({query}) AS k"
        if self.by_method:
            order = "ORDER BY method DESC, event_key DESC"
            key_range = (
                f"{_NO_SUBMIT} AND (method, event_key) >= (:method, :low) AND (method, event_key) < (:method, :high)"
            )
            return f"SELECT {columns} FROM audit_events WHERE {key_range}{conditions} {order} {end}"
        key_range = "event_key >= :low AND event_key < :high"
        return f"SELECT {columns} FROM audit_events WHERE {key_range}{conditions} ORDER BY event_key DESC {end}"


@lru_cache(maxsize=20)
def _bound(selection: _Selection) -> sa.TextClause:
    """Finds how far a page reads. `skipped` is one less than the number of events that it examines of each account."""
    return sa.text(f"SELECT max(event_key) FROM ({selection.rows('event_key', '', 'OFFSET :skipped LIMIT 1')}) AS b")


@lru_cache(maxsize=20)
def _page(selection: _Selection) -> sa.TextClause:
    """Reads a page of events."""
    rows = selection.rows(_COLUMNS, selection.conditions, "LIMIT :limit")
    return sa.text(f"SELECT {_COLUMNS} FROM ({rows}) AS p ORDER BY event_key DESC LIMIT :limit")


class Audit(Statements):
    def next_replica(self) -> int:
        """Returns a number that no other replica of this time has, for the keys of events."""
        return int(self._row(_NEXT_REPLICA)[0])

    def insert(self, events: Sequence[AuditEvent]) -> None:
        self._session.insert(_INSERT_EVENTS, events)

    def extend(self, events: Sequence[AuditEvent]) -> None:
        """Stores what these events of submits are about by now."""
        self._run(_EXTEND, **_EXTENDED.bind(events))

    def stored(self, keys: Sequence[int]) -> set[int]:
        return set(self._all(int, _STORED, keys=array("bigint", keys)))

    def accounts_of(self, resources: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        rows = self._rows(_ACCOUNTS_OF, **_RESOURCES.bind(resources))
        return {(kind, key): account_id for kind, key, account_id in rows if account_id is not None}

    def list(self, scope: Scope, wanted: AuditFilter, limit: int) -> Page[AuditEvent, int]:
        """Returns the newest events of these accounts that are wanted, and where the search stopped."""
        selection = _Selection.of(scope, wanted)
        reads: dict[str, Any] = accounts(scope) | wanted._asdict()
        low = self._lowest(selection, scope, reads)
        events = self._all(AuditEvent, _page(selection), **reads | {"low": low, "limit": limit})
        ended = low == wanted.low or len(events) == limit
        return Page(events, None if ended else low)

    def _lowest(self, selection: _Selection, scope: Scope, reads: dict[str, Any]) -> int:
        """Returns the lowest key that a page examines."""
        low: int = reads["low"]
        if not selection.examines:
            return low
        skipped = of_each_account(scope, MAX_EXAMINED) - 1
        return self._row(_bound(selection), **reads | {"skipped": skipped})[0] or low
