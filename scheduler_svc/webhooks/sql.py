"""Webhooks and their deliveries, which are stored with the moves that they tell of and claimed by replicas.

A deleted webhook stays, without its secrets, until the retention has deleted its deliveries.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Statements, account_filter
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.channel import MIN_TASK_DIGEST
from scheduler_svc.domain.clock import boottime
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.domain.webhook import (
    FIRST_CONCURRENT_TRIES,
    MAX_PENDING,
    RETRY_FOR,
    Claim,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    EventType,
    Webhook,
    WebhookChange,
)
from scheduler_svc.webhooks.work import DeliveryOutcome, WebhookEvent

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
_COUNT_WEBHOOKS = sa.text("""
    SELECT count(*) FROM webhooks WHERE account_id = :account_id AND delete_time IS NULL AND account_ids IS NULL
""")
"""Counts the webhooks of an account."""
_INSERT_WEBHOOK = sa.text(f"""
    INSERT INTO webhooks (account_id, url, event_types, secret)
    VALUES (:account_id, :url, CAST(:event_types AS text[]), :secret) RETURNING {_COLUMNS}
""")
"""Creates a webhook."""
_GET_WEBHOOK = sa.text(f"""
    SELECT {_COLUMNS} FROM webhooks WHERE webhook_id = :webhook_id AND delete_time IS NULL AND account_ids IS NULL
""")
"""Reads one webhook."""
_LIST_WEBHOOKS = sa.text(f"""
    SELECT {_COLUMNS} FROM webhooks
    WHERE webhook_id > :after AND delete_time IS NULL AND account_ids IS NULL
        AND (CAST(:accounts AS bigint[]) IS NULL OR account_id = ANY(CAST(:accounts AS bigint[])))
    ORDER BY webhook_id LIMIT :limit
""")
"""Reads a page of webhooks, by id."""
# NULL: unchanged. What was wrong with the address before says nothing of a new one.
_UPDATE_WEBHOOK = sa.text(f"""
    UPDATE webhooks SET url = coalesce(CAST(:url AS text), url),
        event_types = coalesce(CAST(:event_types AS text[]), event_types),
        active = coalesce(CAST(:active AS boolean), active),
        last_error = CASE WHEN CAST(:url AS text) <> url OR CAST(:active AS boolean) THEN '' ELSE last_error END
    WHERE webhook_id = :webhook_id AND delete_time IS NULL RETURNING {_COLUMNS}
""")
"""Changes the fields of a webhook that are given."""
_ROTATE_SECRET = sa.text(f"""
    UPDATE webhooks SET secret = :secret, previous_secret = secret,
        previous_secret_expire_time = now() + make_interval(secs => :overlap)
    WHERE webhook_id = :webhook_id AND delete_time IS NULL RETURNING {_COLUMNS}
""")
"""Replaces a webhook's secret, and keeps the one before for a while."""
_DELETE_WEBHOOK = sa.text("""
    UPDATE webhooks SET active = false, delete_time = now(), secret = '', previous_secret = NULL,
        previous_secret_expire_time = NULL, url = ''
    WHERE webhook_id = :webhook_id AND delete_time IS NULL
""")
"""Marks a webhook as deleted, and forgets its address and secrets."""
_WANTED = sa.text("""
    SELECT DISTINCT unnest(w.event_types), a.account_id, w.account_ids IS NOT NULL
    FROM webhooks AS w, unnest(coalesce(nullif(w.account_ids, '{}'), ARRAY[w.account_id])) AS a(account_id)
    WHERE w.active
""")
"""Reads which events active webhooks and channels want."""


class Webhooks(Statements):
    def lock_count(self, account_id: int) -> int:
        """Returns how many webhooks an account has; nobody else adds one to it before this transaction ends."""
        self._run(_LOCK_NUMBER, account_id=account_id)
        return int(self._row(_COUNT_WEBHOOKS, account_id=account_id)[0])

    def insert(self, account_id: int, url: str, event_types: Sequence[str], secret: str) -> Webhook:
        types = array("text", event_types)
        return _webhook(*self._row(_INSERT_WEBHOOK, account_id=account_id, url=url, event_types=types, secret=secret))

    def get(self, webhook_id: int) -> Webhook | None:
        return self._one(_webhook, _GET_WEBHOOK, webhook_id=webhook_id)

    def list(self, scope: Scope, after: int, limit: int) -> builtins.list[Webhook]:
        """Lists webhooks of these accounts with ids above `after`, lowest first. Only ALL has those of all accounts."""
        return self._all(_webhook, _LIST_WEBHOOKS, after=after, accounts=account_filter(scope), limit=limit)

    def update(self, webhook_id: int, change: WebhookChange) -> Webhook | None:
        types = None if change.event_types is None else array("text", change.event_types)
        values = {"url": change.url, "event_types": types, "active": change.active}
        return self._one(_webhook, _UPDATE_WEBHOOK, webhook_id=webhook_id, **values)

    def rotate(self, webhook_id: int, secret: str, overlap: timedelta) -> Webhook | None:
        """Gives a webhook a new secret; the present one stays valid for `overlap`."""
        seconds = overlap.total_seconds()
        return self._one(_webhook, _ROTATE_SECRET, webhook_id=webhook_id, secret=secret, overlap=seconds)

    def delete(self, webhook_id: int) -> int:
        return self._run(_DELETE_WEBHOOK, webhook_id=webhook_id)

    def wanted(self) -> builtins.list[tuple[str, int, bool]]:
        """Returns the event types that are wanted, each with an account (0: all), and whether by a channel."""
        return [(event_type, account_id, by_channel) for event_type, account_id, by_channel in self._rows(_WANTED)]


def _webhook(webhook_id: int, account_id: int, url: str, event_types: Sequence[str], *rest: Any) -> Webhook:
    return Webhook(webhook_id, account_id, url, tuple(event_types), *rest)


_LIFETIME = f"interval '{RETRY_FOR.total_seconds():.0f} seconds'"
_MESSAGE_ID = "'msg_' || replace(CAST(gen_random_uuid() AS text), '-', '')"

_EVENTS = UnnestedRows(event_type="text", account_id="bigint", task_key="bigint", data="jsonb")
# By rows of `webhooks` as they are now, whatever this replica has heard of them. In the order of the events, which the
# ids of one task's deliveries have to keep.
_STORE_EVENTS = sa.text(f"""
    WITH wanted AS MATERIALIZED (
        SELECT r.*, w.* FROM (SELECT *, row_number() OVER () AS n FROM {_EVENTS.source}) AS r, LATERAL (
            SELECT x.webhook_id, x.account_ids IS NOT NULL AS by_channel, x.digest FROM webhooks AS x
            WHERE x.active AND NOT x.backlogged AND x.account_id = ANY(ARRAY[0, r.account_id])
                AND r.event_type = ANY(x.event_types)
                AND (x.account_ids IS NULL OR x.account_ids = '{{}}' OR r.account_id = ANY(x.account_ids)) OFFSET 0
        ) AS w
    ), held AS (
        INSERT INTO channel_events (channel_id, event_type, data, due_time)
        SELECT webhook_id, event_type, data, now() + CASE WHEN starts_with(event_type, 'task.')
            THEN greatest(digest, interval '{MIN_TASK_DIGEST.total_seconds():.0f} seconds') ELSE digest END
        FROM wanted WHERE by_channel ORDER BY n
    )
    INSERT INTO webhook_deliveries (webhook_id, event_type, task_key, message_id, data, next_attempt_time, expire_time)
    SELECT webhook_id, event_type, task_key, {_MESSAGE_ID}, data, now(), now() + {_LIFETIME}
    FROM wanted WHERE NOT by_channel ORDER BY n, webhook_id
""")
"""Stores events for the webhooks that want them, and for the next messages of channels."""
_TASK_OF = sa.text("SELECT task_key FROM contents WHERE content_id = :content_id")
"""Reads the task of a content."""

_ATTEMPT = """
    now(), d.delivery_id, d.webhook_id, w.account_id, d.event_type, d.attempt_count, d.next_attempt_time, d.create_time,
    d.message_id, CAST(d.data AS text), w.url, w.secret,
    CASE WHEN w.previous_secret_expire_time > now() THEN w.previous_secret END
"""
_FREE = UnnestedRows(webhook_id="bigint", free="integer")
# Each condition is that of one index only, whatever the planner believes of the table (see `database/statements.py`):
# pending is what has a next try.
_DUE_ORDER = "ORDER BY d.next_attempt_time, d.delivery_id"
_OF_TASK = "SELECT * FROM webhook_deliveries AS x WHERE x.task_key = {}.task_key AND x.next_attempt_time IS NOT NULL"
_OWN_PENDING = f"""(x.status, x.webhook_id, x.delivery_id) > ({DeliveryStatus.PENDING}, p.webhook_id, 0)
                AND (x.status, x.webhook_id, x.delivery_id) < ({DeliveryStatus.PENDING}, p.webhook_id + 1, 0)"""
# From each webhook with something pending to the next one, so that quiet ones are not looked at.
_PENDING = """
    RECURSIVE pending AS (
        SELECT (
            SELECT x.webhook_id FROM webhook_deliveries AS x WHERE x.next_attempt_time IS NOT NULL AND x.webhook_id > 0
            ORDER BY x.webhook_id, x.next_attempt_time, x.delivery_id LIMIT 1
        ) AS webhook_id
        UNION ALL
        SELECT (
            SELECT x.webhook_id FROM webhook_deliveries AS x
            WHERE x.next_attempt_time IS NOT NULL AND x.webhook_id > p.webhook_id
            ORDER BY x.webhook_id, x.next_attempt_time, x.delivery_id LIMIT 1
        ) FROM pending AS p WHERE p.webhook_id IS NOT NULL
    ), waiting AS MATERIALIZED (
        SELECT p.webhook_id FROM pending AS p, LATERAL (
            SELECT FROM webhooks AS x WHERE x.webhook_id = p.webhook_id AND x.active OFFSET 0
        ) AS w
    )"""
# The head of each webhook's due deliveries, and so much of it as may begin. One that is not the first of its task is
# put off until that one's next try: else those that wait behind a receiver which is away would be read each time.
# Webhooks in random order: if there is no place for all, it is not always the same ones that wait.
_CLAIM_DELIVERIES = sa.text(f"""
    WITH {_PENDING}, head AS MATERIALIZED (
        SELECT k.* FROM (
            SELECT x.webhook_id, coalesce(r.free, {FIRST_CONCURRENT_TRIES}) AS free
            FROM waiting AS x LEFT JOIN {_FREE.source} USING (webhook_id) ORDER BY random()
        ) AS w, LATERAL (
            SELECT d.ctid AS row, d.delivery_id, d.webhook_id, d.task_key FROM webhook_deliveries AS d
            WHERE d.webhook_id = w.webhook_id AND d.next_attempt_time <= now()
            {_DUE_ORDER} LIMIT w.free FOR UPDATE SKIP LOCKED
        ) AS k LIMIT :limit
    ), placed AS MATERIALIZED (
        SELECT h.row, h.webhook_id, (
            SELECT d.next_attempt_time FROM ({_OF_TASK.format("h")} OFFSET 0) AS d
            WHERE d.webhook_id = h.webhook_id AND d.delivery_id < h.delivery_id ORDER BY d.delivery_id LIMIT 1
        ) AS first_at FROM head AS h
    )
    UPDATE webhook_deliveries AS d SET
        next_attempt_time = CASE WHEN p.first_at IS NULL THEN now() + make_interval(secs => :lease)
            ELSE greatest(p.first_at, now() + interval '1 second') END,
        attempt_count = d.attempt_count + CASE WHEN p.first_at IS NULL THEN 1 ELSE 0 END
    FROM placed AS p, LATERAL (SELECT * FROM webhooks AS x WHERE x.webhook_id = p.webhook_id OFFSET 0) AS w
    WHERE d.ctid = p.row
    RETURNING p.first_at IS NULL, {_ATTEMPT}
""")
"""Claims due deliveries, and puts off those behind another one of their task."""
_CLAIM_PING = sa.text(f"""
    WITH d AS (
        INSERT INTO webhook_deliveries (
            webhook_id, event_type, message_id, data, attempt_count, next_attempt_time, expire_time)
        VALUES (:webhook_id, :event_type, {_MESSAGE_ID}, CAST(:data AS jsonb), 1,
            now() + make_interval(secs => :lease), now())
        RETURNING *
    )
    SELECT {_ATTEMPT} FROM d, webhooks AS w WHERE w.webhook_id = d.webhook_id
""")
"""Stores a ping, or a test message, that is being sent."""
_INSERT_MESSAGE = sa.text(f"""
    INSERT INTO webhook_deliveries (webhook_id, event_type, message_id, data, next_attempt_time, expire_time)
    SELECT :channel_id, '{EventType.DIGEST}', {_MESSAGE_ID}, CAST(:data AS jsonb), t.first, t.first + {_LIFETIME}
    FROM (SELECT coalesce(CAST(:not_before AS timestamptz), now()) AS first) AS t
""")
"""Stores a message of a channel."""
_NEXT_DUE_TIME = sa.text(f"""
    WITH {_PENDING}
    SELECT extract(epoch FROM min(k.next_attempt_time) - now())::float8 FROM waiting AS w, LATERAL (
        SELECT d.next_attempt_time FROM webhook_deliveries AS d
        WHERE d.webhook_id = w.webhook_id AND d.next_attempt_time IS NOT NULL
        {_DUE_ORDER} LIMIT 1
    ) AS k WHERE w.webhook_id <> ALL(CAST(:but AS bigint[]))
""")
"""Finds when a delivery is due next."""

# Ids are of all webhooks, so of one that has fewer of them between its first and its last there are fewer, too: only of
# others the deliveries are counted, as far as they matter.
_MARK_BACKLOGS = sa.text(f"""
    WITH {_PENDING}, counted AS MATERIALIZED (
        SELECT p.webhook_id, last.id - first.id + 1 >= :limit AND (
            SELECT count(*) FROM (SELECT FROM webhook_deliveries AS x WHERE {_OWN_PENDING} LIMIT :limit) AS d
        ) >= :limit AS backlogged
        FROM pending AS p, LATERAL (
            SELECT x.delivery_id AS id FROM webhook_deliveries AS x WHERE {_OWN_PENDING}
            ORDER BY x.status, x.webhook_id, x.delivery_id LIMIT 1
        ) AS first, LATERAL (
            SELECT x.delivery_id AS id FROM webhook_deliveries AS x WHERE {_OWN_PENDING}
            ORDER BY x.status DESC, x.webhook_id DESC, x.delivery_id DESC LIMIT 1
        ) AS last
    )
    UPDATE webhooks AS w SET backlogged = NOT w.backlogged
    WHERE w.backlogged <> coalesce((SELECT c.backlogged FROM counted AS c WHERE c.webhook_id = w.webhook_id), false)
    RETURNING w.webhook_id, w.backlogged
""")
"""Marks the webhooks for which too many deliveries wait, and those for which they no longer do."""

_OUTCOMES = UnnestedRows(
    delivery_id="bigint",
    webhook_id="bigint",
    claim_expire_time="timestamptz",
    delivered="boolean",
    gone="boolean",
    status_code="integer",
    error="text",
    delay="float8",
)
# The fence: only while the claim of this try is the latest. A ping expires at once: a try that fails is its last.
_RECORD_TRIES = sa.text(f"""
    UPDATE webhook_deliveries AS d SET status = n.status, last_status_code = n.status_code, last_error = n.error,
        next_attempt_time = CASE WHEN n.status = {DeliveryStatus.PENDING}
            THEN now() + make_interval(secs => n.delay) END,
        end_time = CASE WHEN n.status <> {DeliveryStatus.PENDING} THEN now() END
    FROM (
        SELECT r.*, x.row, CASE WHEN r.delivered THEN {DeliveryStatus.DELIVERED}
            WHEN r.gone OR now() + make_interval(secs => r.delay) > x.expire_time THEN {DeliveryStatus.EXHAUSTED}
            ELSE {DeliveryStatus.PENDING} END AS status
        FROM {_OUTCOMES.source}, LATERAL (
            SELECT y.ctid AS row, y.expire_time, y.next_attempt_time FROM webhook_deliveries AS y
            WHERE y.delivery_id BETWEEN r.delivery_id AND r.delivery_id ORDER BY y.delivery_id OFFSET 0 FOR UPDATE
        ) AS x WHERE x.next_attempt_time = r.claim_expire_time
    ) AS n
    WHERE d.ctid = n.row
    RETURNING d.webhook_id, d.task_key, d.status
""")
"""Records how tries went."""
_ENDED = UnnestedRows(webhook_id="bigint", task_key="bigint")
_FOLLOW = sa.text(f"""
    UPDATE webhook_deliveries AS d SET next_attempt_time = now()
    WHERE d.delivery_id = ANY(ARRAY(
        SELECT t.delivery_id FROM {_ENDED.source}, LATERAL ({_OF_TASK.format("r")} OFFSET 0) AS t
        WHERE t.webhook_id = r.webhook_id AND t.attempt_count = 0
    )) AND d.attempt_count = 0 AND d.next_attempt_time - now() > interval '0'
""")
"""Makes deliveries due that were put off behind one that has ended."""
_NOTES = UnnestedRows(webhook_id="bigint", error="text", gone="boolean")
_NOTE = sa.text(f"""
    UPDATE webhooks AS w SET last_error = r.error, active = w.active AND NOT r.gone
    FROM {_NOTES.source}
    WHERE w.webhook_id = r.webhook_id AND w.delete_time IS NULL AND (w.last_error <> r.error OR r.gone)
""")
"""Records how the latest tries of webhooks went; deactivates those whose receivers want nothing any more."""

_DELIVERY = """
    delivery_id, webhook_id, event_type, status, attempt_count, next_attempt_time, last_status_code, last_error,
    create_time, end_time, message_id, CAST(data AS text)
"""
_GET_DELIVERY = sa.text(f"SELECT {_DELIVERY} FROM webhook_deliveries WHERE delivery_id = :delivery_id")
"""Reads one delivery."""
_LIST_DELIVERIES = sa.text(f"""
    SELECT {_DELIVERY} FROM unnest(CAST(:statuses AS smallint[])) AS s(own), LATERAL (
        SELECT * FROM webhook_deliveries AS x
        WHERE (x.status, x.webhook_id, x.delivery_id) >= (s.own, :webhook_id, 0)
            AND (x.status, x.webhook_id, x.delivery_id) < (s.own, :webhook_id, :before)
        ORDER BY x.status DESC, x.webhook_id DESC, x.delivery_id DESC LIMIT :limit
    ) AS d ORDER BY delivery_id DESC LIMIT :limit
""")
"""Reads a page of a webhook's deliveries, newest first."""
_MADE_DUE = f"""
    UPDATE webhook_deliveries AS d SET next_attempt_time = now(), end_time = NULL,
        attempt_count = CASE WHEN d.status = {DeliveryStatus.PENDING} THEN d.attempt_count ELSE 0 END,
        expire_time = CASE WHEN d.status = {DeliveryStatus.PENDING} THEN d.expire_time ELSE now() + {_LIFETIME} END,
        status = {DeliveryStatus.PENDING}"""
_REDELIVER = sa.text(f"{_MADE_DUE} WHERE d.delivery_id = :delivery_id")
"""Makes a delivery due now."""
_REDELIVER_BATCH = sa.text(f"""
    WITH batch AS MATERIALIZED (
        SELECT x.ctid AS row FROM webhook_deliveries AS x
        WHERE (x.status, x.webhook_id, x.delivery_id) > (:status, :webhook_id, :after)
            AND (x.status, x.webhook_id, x.delivery_id) < (:status, :webhook_id + 1, 0)
        ORDER BY x.status, x.webhook_id, x.delivery_id LIMIT :limit FOR UPDATE
    )
    {_MADE_DUE} FROM batch AS b WHERE d.ctid = b.row RETURNING d.delivery_id
""")
"""Makes deliveries of a webhook due now, the oldest first."""


class Deliveries(Statements):
    def store(self, events: Sequence[WebhookEvent]) -> None:
        """Stores events, in this order, for the active webhooks that want them."""
        self._session.hold_back(_STORE_EVENTS, _EVENTS.bind(events))

    def task_of(self, content_id: int) -> int:
        return int(self._row(_TASK_OF, content_id=content_id)[0])

    def claim(
        self, free: Mapping[int, int], limit: int, lease: timedelta
    ) -> tuple[builtins.list[DeliveryAttempt], int]:
        """Claims up to `limit` due deliveries, the first ones of their tasks; returns how many others it put off, too.

        `free`: how many of each webhook; of one that is not in it `FIRST_CONCURRENT_TRIES`.
        """
        claimed_at = boottime()
        rows = self._rows(
            _CLAIM_DELIVERIES, **_FREE.bind(sorted(free.items())), limit=limit, lease=lease.total_seconds()
        )
        claimed = sorted(
            (_attempt(row[1:], claimed_at) for row in rows if row[0]), key=lambda attempt: attempt.delivery_id
        )
        return claimed, len(rows) - len(claimed)

    def claim_ping(self, webhook_id: int, event_type: EventType, data: object, lease: timedelta) -> DeliveryAttempt:
        """Stores a ping, or a test message, claimed; nothing retries it."""
        claimed_at = boottime()
        values = {"event_type": event_type, "data": json.dumps(data), "lease": lease.total_seconds()}
        return _attempt(self._row(_CLAIM_PING, webhook_id=webhook_id, **values), claimed_at)

    def insert_message(self, channel_id: int, data: object, not_before: datetime | None) -> None:
        """Stores a message of a channel, due now or later."""
        self._run(_INSERT_MESSAGE, channel_id=channel_id, data=json.dumps(data), not_before=not_before)

    def next_due(self, but: Collection[int]) -> float | None:
        """Returns the seconds until a delivery of another webhook than `but` is due; None if there is none."""
        (seconds,) = self._row(_NEXT_DUE_TIME, but=array("bigint", sorted(but)))
        return None if seconds is None else float(seconds)

    def mark_backlogs(self, limit: int) -> builtins.list[tuple[int, bool]]:
        """Marks webhooks for which `limit` deliveries wait, or no longer do; returns those that changed.

        Nothing is stored for a marked one.
        """
        return [(webhook_id, backlogged) for webhook_id, backlogged in self._rows(_MARK_BACKLOGS, limit=limit)]

    def record(self, outcomes: Sequence[DeliveryOutcome]) -> None:
        """Records how tries went, in the order of their ids, and for their webhooks."""
        rows = self._rows(_RECORD_TRIES, **_OUTCOMES.bind(outcomes))
        ended = sorted({(row[0], row[1]) for row in rows if row[2] != DeliveryStatus.PENDING and row[1] is not None})
        if ended:
            self._run(_FOLLOW, **_ENDED.bind(ended))
        latest = {outcome.webhook_id: (outcome.error, outcome.gone) for outcome in outcomes}
        self._run(_NOTE, **_NOTES.bind([(key, *note) for key, note in sorted(latest.items())]))

    def get(self, delivery_id: int) -> Delivery | None:
        return self._one(_delivery, _GET_DELIVERY, delivery_id=delivery_id)

    def list(
        self, webhook_id: int, status: DeliveryStatus | None, before: int | None, limit: int
    ) -> builtins.list[Delivery]:
        """Returns the deliveries of a webhook with ids below `before`, newest first; `status` None: all."""
        statuses = array("smallint", [int(value) for value in (DeliveryStatus if status is None else [status])])
        below = KEY_MAX if before is None else before
        wanted = {"webhook_id": webhook_id, "statuses": statuses, "before": below}
        return self._all(_delivery, _LIST_DELIVERIES, **wanted, limit=limit)

    def redeliver(self, delivery_id: int) -> None:
        """Makes a delivery due now: an ended one as if its move were now, with all its tries."""
        self._run(_REDELIVER, delivery_id=delivery_id)

    def redeliver_batch(self, webhook_id: int, status: DeliveryStatus, after: int, limit: int) -> builtins.list[int]:
        """Makes up to `limit` deliveries with ids above `after` due now, lowest first; returns their ids."""
        wanted = {"webhook_id": webhook_id, "status": int(status), "after": after}
        return self._all(int, _REDELIVER_BATCH, **wanted, limit=limit)


def _attempt(row: Any, claimed_at: float) -> DeliveryAttempt:
    claim_time, *fields, secret, previous_secret = row
    secrets = (secret, previous_secret) if previous_secret else (secret,)
    return DeliveryAttempt._make([Claim(claim_time, claimed_at), *fields, secrets])


def _delivery(delivery_id: int, webhook_id: int, event_type: str, status: int, *rest: Any) -> Delivery:
    return Delivery(delivery_id, webhook_id, event_type, DeliveryStatus(status), *rest)
