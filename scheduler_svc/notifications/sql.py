"""Channels, which are rows of `webhooks`, and the events that are held for their next messages."""

from __future__ import annotations

import builtins
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import Statements, account_filter
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.channel import MAX_HELD, NAMED_EVENTS, Channel, EventGroup, Held, NewChannel

_COLUMNS = """
    webhook_id, url, secret, description, event_types, account_ids, quiet_hours, digest, language, active, last_error,
    create_time
"""
_OWN = "account_ids IS NOT NULL AND delete_time IS NULL"
_LOCK_NUMBER = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('contentgen.channels', 0))")
"""Locks out others that create a channel."""
_COUNT_CHANNELS = sa.text(f"SELECT count(*) FROM webhooks WHERE {_OWN}")
"""Counts the channels."""
_INSERT_CHANNEL = sa.text(f"""
    INSERT INTO webhooks (
        account_id, secret, url, description, event_types, account_ids, quiet_hours, digest, language)
    VALUES (0, :secret, :url, :description, CAST(:event_types AS text[]), CAST(:account_ids AS bigint[]),
        :quiet_hours, :digest, :language) RETURNING {_COLUMNS}
""")
"""Creates a channel."""
_GET_CHANNEL = sa.text(f"SELECT {_COLUMNS} FROM webhooks WHERE webhook_id = :channel_id AND {_OWN}")
"""Reads one channel."""
_LIST_CHANNELS = sa.text(f"""
    SELECT {_COLUMNS} FROM webhooks
    WHERE webhook_id > :after AND {_OWN} AND (CAST(:accounts AS bigint[]) IS NULL
        OR account_ids <> '{{}}' AND account_ids <@ CAST(:accounts AS bigint[]))
    ORDER BY webhook_id LIMIT :limit
""")
"""Reads a page of channels, by id."""
# NULL: unchanged. What was wrong with the address before says nothing of a new one.
_UPDATE_CHANNEL = sa.text(f"""
    UPDATE webhooks SET url = coalesce(CAST(:url AS text), url),
        description = coalesce(CAST(:description AS text), description),
        event_types = coalesce(CAST(:event_types AS text[]), event_types),
        account_ids = coalesce(CAST(:account_ids AS bigint[]), account_ids),
        quiet_hours = coalesce(CAST(:quiet_hours AS text), quiet_hours),
        digest = coalesce(CAST(:digest AS interval), digest),
        language = coalesce(CAST(:language AS text), language),
        active = coalesce(CAST(:active AS boolean), active),
        last_error = CASE WHEN CAST(:url AS text) <> url OR CAST(:active AS boolean) THEN '' ELSE last_error END
    WHERE webhook_id = :channel_id AND {_OWN} RETURNING {_COLUMNS}
""")
"""Changes the fields of a channel that are given."""
_DELETE_CHANNEL = sa.text(f"""
    UPDATE webhooks SET active = false, delete_time = now(), secret = '', url = ''
    WHERE webhook_id = :channel_id AND {_OWN}
""")
"""Marks a channel as deleted, and forgets its address."""
_DROP_HELD = sa.text("DELETE FROM channel_events WHERE channel_id = :channel_id")
"""Drops what is held for a channel."""
# Of inactive ones too: a transaction that had read one before may store some more.
_HELD = sa.text(f"""
    SELECT w.webhook_id, w.active, w.quiet_hours, w.digest, w.language, k.event_type, k.due_time, now(), (
        SELECT count(*) FROM (
            SELECT FROM channel_events AS x WHERE x.channel_id = w.webhook_id LIMIT {MAX_HELD}
        ) AS x) = {MAX_HELD}
    FROM webhooks AS w, LATERAL (
        SELECT x.event_type, x.due_time FROM channel_events AS x
        WHERE x.channel_id = w.webhook_id ORDER BY x.due_time LIMIT 1
    ) AS k WHERE w.account_ids IS NOT NULL
""")
"""Finds the channels for which events are held, with the first one."""
# One replica at a time, so that there is one message.
_TAKE = sa.text(f"""
    WITH channel AS MATERIALIZED (
        SELECT webhook_id FROM webhooks WHERE webhook_id = :channel_id FOR NO KEY UPDATE SKIP LOCKED
    ), taken AS (
        DELETE FROM channel_events AS e USING channel AS c
        WHERE e.channel_id = c.webhook_id AND e.due_time <= now() + CAST(:window AS interval)
        RETURNING e.event_id, e.event_type, coalesce(e.data ->> 'reason', '') AS cause, e.data
    ), numbered AS (
        SELECT *, row_number() OVER (PARTITION BY event_type, cause ORDER BY event_id) AS n FROM taken
    )
    SELECT event_type, cause, count(*), json_agg(data ORDER BY n) FILTER (WHERE n <= {NAMED_EVENTS})
    FROM numbered GROUP BY event_type, cause ORDER BY min(event_id)
""")
"""Takes what is held for a channel, and counts it by kind and cause."""
_TITLES = sa.text("""
    SELECT c.content_id, c.title, a.name FROM contents AS c JOIN accounts AS a USING (account_id)
    WHERE c.content_id = ANY(CAST(:content_ids AS bigint[]))
""")
"""Reads titles of contents, with the names of their accounts."""


class Channels(Statements):
    def lock_count(self) -> int:
        """Returns how many channels there are; nobody else adds one before this transaction ends."""
        self._run(_LOCK_NUMBER)
        return int(self._row(_COUNT_CHANNELS)[0])

    def insert(self, channel: NewChannel, secret: str) -> Channel:
        return _channel(*self._row(_INSERT_CHANNEL, secret=secret, **_bound(asdict(channel))))

    def get(self, channel_id: int) -> Channel | None:
        return self._one(_channel, _GET_CHANNEL, channel_id=channel_id)

    def list(self, scope: Scope, after: int, limit: int) -> builtins.list[Channel]:
        """Lists channels with ids above `after` that are only for these accounts, lowest first."""
        return self._all(_channel, _LIST_CHANNELS, after=after, accounts=account_filter(scope), limit=limit)

    def update(self, channel_id: int, change: Mapping[str, Any]) -> Channel | None:
        """Changes these fields, of those that `NewChannel` has, and `active`."""
        unchanged = dict.fromkeys((*NewChannel.__slots__, "active"))
        return self._one(_channel, _UPDATE_CHANNEL, channel_id=channel_id, **_bound({**unchanged, **change}))

    def delete(self, channel_id: int) -> int:
        return self._run(_DELETE_CHANNEL, channel_id=channel_id)

    def drop_held(self, channel_id: int) -> None:
        self._run(_DROP_HELD, channel_id=channel_id)

    def held(self) -> builtins.list[Held]:
        return self._all(Held, _HELD)

    def take(self, channel_id: int, window: timedelta) -> builtins.list[EventGroup]:
        """Takes what is due within `window`; nothing while another transaction has the channel."""
        return self._all(EventGroup, _TAKE, channel_id=channel_id, window=window)

    def titles(self, content_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Returns the titles of those contents that exist, each with the name of its account."""
        rows = self._rows(_TITLES, content_ids=array("bigint", content_ids)) if content_ids else []
        return {content_id: (title, account) for content_id, title, account in rows}


def _bound(values: Mapping[str, Any]) -> dict[str, Any]:
    arrays = {"event_types": "text", "account_ids": "bigint"}
    return {
        name: array(arrays[name], value) if name in arrays and value is not None else value
        for name, value in values.items()
    }


def _channel(channel_id: int, url: str, secret: str, *rest: Any) -> Channel:
    fingerprint = hmac.new(secret.encode(), url.encode(), hashlib.sha256).hexdigest()[:8]
    description, event_types, account_ids, *others = rest
    destination = f"{url.partition(':')[0]}://…{fingerprint}"
    return Channel(channel_id, destination, description, tuple(event_types), tuple(account_ids), *others)
