"""Webhooks. A deleted one stays, without its secrets, until the retention has deleted its deliveries."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.webhook import MAX_PENDING, Webhook, WebhookChange
from scheduler_svc.store.engine.access_paths import account_filter
from scheduler_svc.store.engine.batch import array
from scheduler_svc.store.engine.rows import Statements

_COLUMNS = f"""
    webhook_id, account_id, url, event_types, active,
    CASE WHEN backlogged THEN 'no more events are stored: {MAX_PENDING:,} deliveries wait'
        || coalesce('; ' || nullif(last_error, ''), '') ELSE last_error END, create_time,
    CASE WHEN previous_secret_expire_time > now() THEN previous_secret_expire_time END
"""
_LOCK_NUMBER = sa.text("""
    SELECT pg_advisory_xact_lock(hashtextextended('contentgen.webhooks.' || CAST(:account_id AS bigint), 0))
""")
"""Locks out others that create a webhook of an account, or of all (0)."""
_COUNT = sa.text("SELECT count(*) FROM webhooks WHERE account_id = :account_id AND delete_time IS NULL")
"""Counts the webhooks of an account."""
_INSERT = sa.text(f"""
    INSERT INTO webhooks (account_id, url, event_types, secret)
    VALUES (:account_id, :url, CAST(:event_types AS text[]), :secret) RETURNING {_COLUMNS}
""")
"""Creates a webhook."""
_GET = sa.text(f"SELECT {_COLUMNS} FROM webhooks WHERE webhook_id = :webhook_id AND delete_time IS NULL")
"""Reads one webhook."""
_LIST = sa.text(f"""
    SELECT {_COLUMNS} FROM webhooks
    WHERE webhook_id > :after AND delete_time IS NULL
        AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
    ORDER BY webhook_id LIMIT :limit
""")
"""Reads a page of webhooks, by id."""
# NULL: unchanged. What was wrong with the address before says nothing of a new one.
_UPDATE = sa.text(f"""
    UPDATE webhooks SET url = coalesce(CAST(:url AS text), url),
        event_types = coalesce(CAST(:event_types AS text[]), event_types),
        active = coalesce(CAST(:active AS boolean), active),
        last_error = CASE WHEN CAST(:url AS text) <> url OR CAST(:active AS boolean) THEN '' ELSE last_error END
    WHERE webhook_id = :webhook_id AND delete_time IS NULL RETURNING {_COLUMNS}
""")
"""Changes the fields of a webhook that are given."""
_ROTATE = sa.text(f"""
    UPDATE webhooks SET secret = :secret, previous_secret = secret,
        previous_secret_expire_time = now() + make_interval(secs => :overlap)
    WHERE webhook_id = :webhook_id AND delete_time IS NULL RETURNING {_COLUMNS}
""")
"""Replaces a webhook's secret, and keeps the one before for a while."""
_DELETE = sa.text("""
    UPDATE webhooks SET active = false, delete_time = now(), secret = '', previous_secret = NULL,
        previous_secret_expire_time = NULL, url = ''
    WHERE webhook_id = :webhook_id AND delete_time IS NULL
""")
"""Marks a webhook as deleted, and forgets its address and secrets."""
_WANTED = sa.text("SELECT DISTINCT unnest(event_types), account_id FROM webhooks WHERE active")
"""Reads which events active webhooks want."""


class Webhooks(Statements):
    def lock_count(self, account_id: int) -> int:
        """How many webhooks an account has; nobody else adds one to it before this transaction ends."""
        self._run(_LOCK_NUMBER, account_id=account_id)
        return int(self._row(_COUNT, account_id=account_id)[0])

    def insert(self, account_id: int, url: str, event_types: Sequence[str], secret: str) -> Webhook:
        """Creates a webhook; the database assigns its id."""
        types = array("text", event_types)
        return _webhook(self._row(_INSERT, account_id=account_id, url=url, event_types=types, secret=secret))

    def get(self, webhook_id: int) -> Webhook | None:
        row = self._row(_GET, webhook_id=webhook_id)
        return None if row is None else _webhook(row)

    def list(self, scope: Scope, after: int, limit: int) -> builtins.list[Webhook]:
        """Webhooks of these accounts with ids above `after`, lowest first. Those of all accounts are only in ALL."""
        return [_webhook(row) for row in self._rows(_LIST, after=after, accounts=account_filter(scope), limit=limit)]

    def update(self, webhook_id: int, change: WebhookChange) -> Webhook | None:
        """Changes a webhook; returns the result, or None if there is no such webhook."""
        types = None if change.event_types is None else array("text", change.event_types)
        row = self._row(_UPDATE, webhook_id=webhook_id, url=change.url, event_types=types, active=change.active)
        return None if row is None else _webhook(row)

    def rotate(self, webhook_id: int, secret: str, overlap: timedelta) -> Webhook | None:
        """Gives a webhook a new secret; the present one stays valid for `overlap`."""
        row = self._row(_ROTATE, webhook_id=webhook_id, secret=secret, overlap=overlap.total_seconds())
        return None if row is None else _webhook(row)

    def delete(self, webhook_id: int) -> int:
        return self._run(_DELETE, webhook_id=webhook_id)

    def wanted(self) -> builtins.list[tuple[str, int]]:
        """The event types that active webhooks want, each with an account (0: all)."""
        return [(event_type, account_id) for event_type, account_id in self._rows(_WANTED)]


def _webhook(row: Any) -> Webhook:
    webhook_id, account_id, url, event_types, *rest = row
    return Webhook(webhook_id, account_id, url, tuple(event_types), *rest)
