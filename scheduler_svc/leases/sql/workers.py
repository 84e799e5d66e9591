"""Workers: their sessions, last heartbeats and desired states."""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from scheduler_svc.database.batch import UnnestedRows, array
from scheduler_svc.database.statements import Statements
from scheduler_svc.domain.lease import SessionRow
from scheduler_svc.domain.worker import POLL_TIMEOUT, DesiredState, Hello, PoolWorker
from scheduler_svc.leases.rows import HeartbeatAnswer, HeartbeatRow

# The poll that it is to be asked again for, in case it never got it; nobody waits for longer.
_UNANSWERED_POLL = f"""
    CASE WHEN w.requested_poll > w.answered_poll AND w.poll_time > now() - interval '{POLL_TIMEOUT:g} seconds'
        THEN w.requested_poll ELSE 0 END
"""

# Two first hellos of one id at once: the loser of the insert waits for the winner, and finds its row.
_LOCK_SESSION = sa.text("""
    SELECT folder_id, session_number, hostname, extract(epoch FROM now() - heartbeat_time), identity
    FROM workers WHERE worker_id = :worker_id FOR UPDATE
""")
"""Locks and reads a worker's session."""
_OPEN_SESSION = sa.text(f"""
    INSERT INTO workers AS w (worker_id, session_key, folder_id, session_number, process_id, hostname, version, slots,
        labels, creator_path, creator_version, scheduler_id, connected, draining, connect_time, heartbeat_time,
        desired_slots, desired_drain, identity)
    VALUES (:worker_id, nextval('session_seq'), :folder_id, :session_number, :process_id, :hostname, :version, :slots,
        CAST(:labels AS jsonb), :creator_path, :creator_version, :scheduler_id, true, false, now(), now(), NULL,
        false, :identity)
    ON CONFLICT (worker_id) DO UPDATE SET
        session_key = excluded.session_key, folder_id = excluded.folder_id, session_number = excluded.session_number,
        process_id = excluded.process_id, hostname = excluded.hostname, version = excluded.version,
        slots = excluded.slots, labels = excluded.labels, creator_path = excluded.creator_path,
        creator_version = excluded.creator_version, scheduler_id = excluded.scheduler_id, connected = true,
        identity = excluded.identity,
        draining = CASE WHEN w.process_id = excluded.process_id THEN w.draining ELSE false END,
        connect_time = now(), heartbeat_time = now(),
        desired_slots = CASE WHEN w.process_id = excluded.process_id THEN w.desired_slots END,
        desired_drain = w.process_id = excluded.process_id AND w.desired_drain,
        unhealthy_time = CASE WHEN w.process_id = excluded.process_id THEN w.unhealthy_time END,
        last_error = CASE WHEN w.process_id = excluded.process_id THEN w.last_error END
    WHERE :replace
    RETURNING session_key, desired_slots, desired_drain, {_UNANSWERED_POLL}
""")
"""Opens a session of a worker."""

_HEARD = UnnestedRows(worker_id="text", session_key="bigint", unhealthy="boolean", last_error="text")
# Only the session that is open; what an old stream still says is not taken. A row that somebody has locked is read and
# not written: a stranger's lock must not stop the renewals, and a hello that holds it ends what it does not keep.
_STORE_HEARTBEATS = sa.text(f"""
    WITH open AS MATERIALIZED (
        SELECT w.worker_id, w.session_key, r.unhealthy, r.last_error, w.desired_slots, w.desired_drain,
            {_UNANSWERED_POLL} AS poll
        FROM {_HEARD.source}, LATERAL (
            SELECT * FROM workers AS x WHERE x.worker_id = r.worker_id AND x.session_key = r.session_key OFFSET 0) AS w
    ),
    free AS MATERIALIZED (
        SELECT worker_id FROM workers WHERE worker_id = ANY(ARRAY(SELECT worker_id FROM open))
        ORDER BY worker_id FOR NO KEY UPDATE SKIP LOCKED
    ),
    noted AS (
        UPDATE workers AS w SET heartbeat_time = now(), last_error = open.last_error,
            unhealthy_time = CASE WHEN open.unhealthy THEN coalesce(w.unhealthy_time, now()) END
        FROM open WHERE w.worker_id = ANY(ARRAY(SELECT worker_id FROM free))
            AND w.worker_id = open.worker_id AND w.session_key = open.session_key
    )
    SELECT session_key, desired_slots, desired_drain, poll,
        EXISTS (SELECT FROM leases AS l WHERE l.revoked AND l.worker_id = open.worker_id)
    FROM open
""")
"""Stores heartbeats; reads the desired states."""

_DRAINING = sa.text("UPDATE workers SET draining = true WHERE worker_id = :worker_id AND session_key = :session_key")
"""Notes that a worker drains."""
_CLOSE_SESSION = sa.text(
    "UPDATE workers SET connected = false WHERE worker_id = :worker_id AND session_key = :session_key"
)
"""Notes that a session's stream has ended."""
_WANT_DRAIN = sa.text("UPDATE workers SET desired_drain = :drain WHERE worker_id = :worker_id")
"""Sets whether a worker should drain."""
_WANT_SLOTS = sa.text("UPDATE workers SET desired_slots = :slots WHERE worker_id = :worker_id")
"""Sets a worker's desired slots."""

_IDENTITIES = sa.text("SELECT worker_id, identity FROM workers WHERE worker_id = ANY(CAST(:workers AS text[]))")
"""Reads which tokens opened the sessions of some workers."""

_CONNECTED = "w.connected AND w.heartbeat_time > now() - make_interval(secs => :ttl)"
_LATELY = "w.heartbeat_time > now() - interval '1 hour'"
_COUNT_WORKERS = sa.text(f"""
    SELECT count(*), count(*) FILTER (WHERE w.worker_id IN (
        SELECT worker_id FROM leases WHERE NOT revoked AND accept_time IS NOT NULL))
    FROM workers AS w WHERE {_LATELY} AND {_CONNECTED}
""")
"""Counts connected and active workers."""

# What it holds is counted where it stands: in the leases. How one does that is gone, nobody knows.
_SHOWN = f"""
    SELECT w.worker_id, w.hostname, w.version, c.connected, coalesce(w.desired_slots, w.slots), coalesce(l.busy, 0),
        coalesce(l.queued, 0), w.draining OR w.desired_drain, w.connect_time, w.heartbeat_time, w.scheduler_id,
        w.creator_version, w.labels, CASE WHEN c.connected THEN w.unhealthy_time END,
        CASE WHEN c.connected THEN coalesce(w.last_error, '') ELSE '' END
    FROM workers AS w
    CROSS JOIN LATERAL (SELECT {_CONNECTED} AS connected) AS c
    LEFT JOIN (
        SELECT worker_id, count(accept_time) AS busy, count(*) - count(accept_time) AS queued
        FROM leases WHERE NOT revoked GROUP BY worker_id
    ) AS l ON l.worker_id = w.worker_id
"""
_LIST_WORKERS = sa.text(f"{_SHOWN} WHERE {_LATELY} AND w.worker_id > :after ORDER BY w.worker_id LIMIT :limit")
"""Reads a page of workers, by id."""
_GET_WORKER = sa.text(_SHOWN + " WHERE w.worker_id = :worker_id")
"""Reads one worker."""


class Workers(Statements):
    def lock(self, worker_id: str) -> SessionRow | None:
        """Returns the worker's session, locked against claims and other hellos; None if it has never had one."""
        row = self._row(_LOCK_SESSION, worker_id=worker_id)
        return None if row is None else SessionRow(row[0], row[1], row[2], float(row[3]), row[4])

    def open(self, hello: Hello, scheduler_id: str, *, replace: bool) -> tuple[int, DesiredState] | None:
        """Opens a session; without `replace` only where there was none (None: another one was quicker)."""
        row = self._row(
            _OPEN_SESSION,
            worker_id=hello.worker_id,
            folder_id=hello.folder_id,
            identity=hello.identity,
            session_number=hello.session_number,
            process_id=hello.process_id,
            hostname=hello.hostname,
            version=hello.version,
            slots=hello.slots,
            labels=json.dumps(dict(hello.labels)),
            creator_path=hello.creator_path,
            creator_version=hello.creator_version,
            scheduler_id=scheduler_id,
            replace=replace,
        )
        return None if row is None else (row[0], DesiredState(*row[1:]))

    def record_heartbeats(self, rows: Sequence[HeartbeatRow]) -> dict[int, HeartbeatAnswer]:
        """Stores heartbeats; returns the desired states, by session. Sessions that are missing have been replaced."""
        answers = self._rows(_STORE_HEARTBEATS, **_HEARD.bind(rows))
        return {session: HeartbeatAnswer(DesiredState(*desired), revoked) for session, *desired, revoked in answers}

    def set_draining(self, worker_id: str, session_key: int) -> None:
        self._run(_DRAINING, worker_id=worker_id, session_key=session_key)

    def close(self, worker_id: str, session_key: int) -> None:
        """Notes that the session's stream has ended; its leases live on."""
        self._run(_CLOSE_SESSION, worker_id=worker_id, session_key=session_key)

    def want_drain(self, worker_id: str, *, drain: bool) -> None:
        self._run(_WANT_DRAIN, worker_id=worker_id, drain=drain)

    def want_slots(self, worker_id: str, slots: int) -> None:
        self._run(_WANT_SLOTS, worker_id=worker_id, slots=slots)

    def identities(self, workers: Sequence[str]) -> dict[str, str]:
        """Returns whose token opened the sessions of these workers; an empty text if no tokens were required."""
        return dict(self._rows(_IDENTITIES, workers=array("text", workers)))

    def get(self, worker_id: str, ttl: float) -> PoolWorker | None:
        """Returns one worker; one without a heartbeat for `ttl` seconds counts as disconnected."""
        return self._one(PoolWorker, _GET_WORKER, worker_id=worker_id, ttl=ttl)

    def count(self, ttl: float) -> tuple[int, int]:
        """Returns how many workers are connected, and how many of these have a busy slot."""
        connected, active = self._row(_COUNT_WORKERS, ttl=ttl)
        return connected, active

    def list(self, ttl: float, after: str, limit: int) -> list[PoolWorker]:
        """Returns the workers with ids above `after` with a heartbeat within the last hour, by their ids."""
        return self._all(PoolWorker, _LIST_WORKERS, ttl=ttl, after=after, limit=limit)
