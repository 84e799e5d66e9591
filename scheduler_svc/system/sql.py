"""The replicas' own rows, what PostgreSQL tells of itself, and what waits besides tasks."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.connections import AdvisoryLock
from scheduler_svc.database.statements import Statements
from scheduler_svc.domain.content import PublishStatus
from scheduler_svc.domain.system import (
    DURABILITY_SETTINGS,
    Backlogs,
    DatabaseState,
    LaneState,
    LockHolder,
    Maintenance,
    OldestTransaction,
    ReplicaState,
    Revocation,
    WalPosition,
)
from scheduler_svc.domain.webhook import RETRY_FOR, DeliveryStatus
from scheduler_svc.publishing.sql import AWAITS_RETRY, PUBLISHABLE

# Each condition is that of one index only, whatever the planner believes of the table (see `database/statements.py`).
_DELIVERIES = """SELECT FROM webhook_deliveries
            WHERE (status, webhook_id) > ({0}, 0) AND (status, webhook_id) < ({0} + 1, 0)"""
_MOVED_ON = "SELECT FROM publish_pool WHERE status = {} AND status <> {} AND next_attempt_time IS NULL"


def _counted(rows: str) -> str:
    return f"(SELECT count(*) FROM ({rows} LIMIT :limit) AS x)"


def _moved_on(status: PublishStatus) -> str:
    return _counted(_MOVED_ON.format(status, PublishStatus.PENDING))


_READ_BACKLOGS = sa.text(f"""
    SELECT {_counted(_DELIVERIES.format(DeliveryStatus.PENDING))},
        {_counted(_DELIVERIES.format(DeliveryStatus.EXHAUSTED))},
        coalesce((SELECT CAST(extract(epoch FROM now() - expire_time) AS float8) + {RETRY_FOR.total_seconds()}
            FROM webhook_deliveries WHERE end_time IS NULL ORDER BY expire_time LIMIT 1), 0),
        {_counted(f"SELECT FROM publish_pool WHERE status = {PublishStatus.PENDING} AND {PUBLISHABLE}")},
        {_moved_on(PublishStatus.PUBLISHING)},
        {_counted(f"SELECT FROM publish_pool WHERE {AWAITS_RETRY}")},
        {_moved_on(PublishStatus.FAILED)},
        {_counted("SELECT FROM schedules WHERE due_time IS NOT NULL")},
        coalesce((SELECT CAST(extract(epoch FROM now() - due_time) AS float8)
            FROM schedules WHERE due_time IS NOT NULL ORDER BY due_time LIMIT 1), 0),
        (SELECT CAST(coalesce(extract(epoch FROM success_time), 0) AS float8) FROM backups)
""")
"""Counts, up to a limit each, and reads the oldest, of what waits besides tasks; and the newest backup."""


_ANNOUNCE = sa.text("""
    WITH gone AS (DELETE FROM replicas WHERE heartbeat_time < now() - interval '1 day')
    INSERT INTO replicas AS r (scheduler_id, version, start_time, heartbeat_time, serving, lanes, traits)
    VALUES (:scheduler_id, :version, :start_time, now(), :serving, CAST(:lanes AS jsonb), CAST(:traits AS jsonb))
    ON CONFLICT (scheduler_id) DO UPDATE SET
        heartbeat_time = now(), serving = excluded.serving, lanes = excluded.lanes, traits = excluded.traits
""")
"""Stores how a replica stands; deletes those that have been silent for a day."""
_WITHDRAW = sa.text("DELETE FROM replicas WHERE scheduler_id = :scheduler_id")
"""Deletes a replica's row."""
_REPLICAS = sa.text("""
    SELECT scheduler_id, version, start_time, heartbeat_time, serving, lanes, traits FROM replicas
    WHERE heartbeat_time > now() - interval '1 hour' ORDER BY scheduler_id LIMIT 1000
""")
"""Reads the replicas."""
_DATABASE = sa.text("SELECT current_setting('server_version'), pg_database_size(current_database())")
"""Reads PostgreSQL's version and the database's size."""
_FLUSHED = sa.text("""
    SELECT system_identifier, CAST(pg_current_wal_flush_lsn() - '0/0' AS bigint) FROM pg_control_system()
""")
"""Reads how far the primary's log is flushed: each commit that was acknowledged is before it."""
_REPLAYED = sa.text("""
    SELECT system_identifier, CAST(pg_last_wal_replay_lsn() - '0/0' AS bigint) FROM pg_control_system()
    WHERE pg_is_in_recovery()
""")
"""Reads how far a standby has replayed the log; nothing from a server that is none."""

_SET_MAINTENANCE = sa.text("""
    INSERT INTO maintenance (until_time, reason) VALUES (coalesce(CAST(:until_time AS timestamptz), now()), :reason)
    ON CONFLICT ("only") DO UPDATE SET until_time = excluded.until_time, reason = excluded.reason
""")
"""Says until when no new tasks are taken; null: they are."""
_MAINTENANCE = sa.text("SELECT until_time, reason FROM maintenance WHERE until_time > now()")
"""Reads it, unless that is over."""
_REVOKE_TOKENS = sa.text("""
    INSERT INTO revoked_tokens (sha256, revoke_time, revoked_by)
    SELECT h.sha256, now(), :revoked_by FROM unnest(CAST(:hashes AS text[])) AS h(sha256)
    ON CONFLICT (sha256) DO NOTHING
""")
"""Revokes tokens for good."""
_REVOKED_TOKENS = sa.text("SELECT sha256, revoke_time, revoked_by FROM revoked_tokens")
"""Reads the tokens that were revoked."""

# Our own sessions have synchronous_commit on, so that what the server, role and database say is in `reset_val`; what a
# role or database says since this session began is in the catalog alone.
_WEAKENED = sa.text("""
    SELECT s.name FROM pg_settings AS s
    WHERE s.name = ANY(:names) AND coalesce(current_setting('contentgen.throwaway', true), '') <> 'on'
        AND (s.reset_val = 'off' OR EXISTS (
            SELECT FROM pg_db_role_setting AS own, unnest(own.setconfig) AS setting
            WHERE own.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                AND own.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
                AND setting IN (s.name || '=off', s.name || '=false', s.name || '=no', s.name || '=0')))
    ORDER BY s.name
""")
"""Finds the settings of durability that are off, unless the server says that its data is thrown away anyway."""
_CLOCK = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
"""Reads the database's clock."""

# A session, `b`, as `LockHolder` has it, but for its tables and whether they are waited for.
_SESSION = """
    b.pid, coalesce(b.usename, ''), coalesce(b.application_name, ''), coalesce(host(b.client_addr), ''),
        coalesce(b.state, ''), extract(epoch FROM clock_timestamp() - b.xact_start)::float8
"""
_OLDEST_FIRST = "GROUP BY 1, 2, 3, 4, 5, b.xact_start ORDER BY b.xact_start NULLS LAST, b.pid LIMIT 20"

# A holder that itself waits for a lock is left out: what it waits for is the cause. Of sessions of other roles a role
# without rights sees the pid and the role alone.
_HOLDERS = sa.text(f"""
    SELECT {_SESSION}, coalesce(string_agg(DISTINCT w.relation, ', '), ''), true
    FROM (
        SELECT a.pid, (SELECT max(l.relation::regclass::text) FROM pg_locks AS l WHERE l.pid = a.pid
            AND (l.locktype = 'tuple' OR (l.locktype = 'relation' AND NOT l.granted))) AS relation
        FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.wait_event_type = 'Lock'
    ) AS w, unnest(pg_blocking_pids(w.pid)) AS blocking(pid), pg_stat_activity AS b
    WHERE b.pid = blocking.pid
        AND NOT EXISTS (SELECT FROM pg_stat_activity AS x WHERE x.pid = b.pid AND x.wait_event_type = 'Lock')
    {_OLDEST_FIRST}
""")
"""Finds the sessions that others wait for."""

# What holds row locks shows its table's lock only. Ours are gone in milliseconds, or the replica is frozen.
_LONG_LOCKS = sa.text(f"""
    SELECT {_SESSION}, string_agg(DISTINCT c.relname, ', '), false
    FROM pg_stat_activity AS b JOIN pg_locks AS l ON l.pid = b.pid JOIN pg_class AS c ON c.oid = l.relation
    WHERE b.datname = current_database() AND b.backend_type = 'client backend'
        AND b.xact_start < clock_timestamp() - make_interval(secs => :seconds)
        AND l.locktype = 'relation' AND l.granted AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
        AND c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
    {_OLDEST_FIRST}
""")
"""Finds the sessions that have held locks for long."""

# A key is two halves. A session without a transaction has held its lock for as long as it has been idle, at least.
# Without pg_read_all_stats both times are NULL of a session of another role, which is no scheduler's.
_ADVISORY_LOCKS = sa.text(f"""
    SELECT {_SESSION}, string_agg(DISTINCT n.name, ', '), true
    FROM pg_locks AS l JOIN unnest(CAST(:names AS text[])) AS n(name)
            ON (l.classid::bigint << 32) + l.objid::bigint = hashtext(n.name)::bigint
        JOIN pg_stat_activity AS b ON b.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND b.datname = current_database()
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND coalesce(b.xact_start, b.state_change, '-infinity') < clock_timestamp() - make_interval(secs => :seconds)
    {_OLDEST_FIRST}
""")
"""Finds the sessions that have held advisory locks of ours for long."""

# A transaction that has an id, in any database, keeps back the lower end of all snapshots. A backup has none; a
# replication slot keeps back what vacuums may remove, and no snapshot. Without pg_read_all_stats the state and the age
# of another role's session are NULL.
_OLDEST_TRANSACTION = sa.text("""
    SELECT pid, coalesce(database, ''), coalesce(role, ''), application, coalesce(state, ''),
        extract(epoch FROM clock_timestamp() - since)::float8, xid::text
    FROM (
        SELECT pid, datname AS database, usename AS role, application_name AS application, state, xact_start AS since,
            backend_xid AS xid
        FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
        UNION ALL
        SELECT 0, database, owner, gid, 'prepared', prepared, transaction FROM pg_prepared_xacts
    ) AS x
    WHERE CAST(:among AS text[]) IS NULL
        OR pid IN (SELECT coalesce(pid, 0) FROM pg_locks WHERE virtualtransaction = ANY(CAST(:among AS text[])))
    ORDER BY age(xid) DESC LIMIT 1
""")
"""Finds the transaction that keeps back the snapshots of the whole server, or the oldest of some."""


class SystemStatements(Statements):
    """Statements on `replicas`, and on PostgreSQL's own views."""

    def announce(self, replica: ReplicaState) -> None:
        lanes = {name: {key: getattr(lane, key) for key in _STORED} for name, lane in replica.lanes.items()}
        traits = {
            "clock_offset": replica.clock_offset,
            "settings": {**replica.settings},
            "standby_problem": replica.standby_problem,
        }
        self._run(
            _ANNOUNCE,
            scheduler_id=replica.scheduler_id,
            version=replica.version,
            start_time=replica.start_time,
            serving=replica.serving,
            lanes=json.dumps(lanes),
            traits=json.dumps(traits),
        )

    def withdraw(self, scheduler_id: str) -> None:
        self._run(_WITHDRAW, scheduler_id=scheduler_id)

    def replicas(self) -> list[ReplicaState]:
        """Returns the replicas with a heartbeat within the last hour, by id."""
        return [_replica(row) for row in self._rows(_REPLICAS)]

    def database(self) -> DatabaseState:
        version, size = self._row(_DATABASE)
        return DatabaseState(version, size, self.weakened_settings())

    def weakened_settings(self) -> tuple[str, ...]:
        """Returns those of `DURABILITY_SETTINGS` that the server, the database or the role has off, sorted."""
        return tuple(name for (name,) in self._rows(_WEAKENED, names=list(DURABILITY_SETTINGS)))

    def flushed(self) -> WalPosition:
        """Returns how far the primary's log is flushed."""
        return WalPosition(*self._row(_FLUSHED))

    def replayed(self) -> WalPosition | None:
        """Returns how far this standby has replayed the log. Returns None if the server is no standby."""
        return self._one(WalPosition, _REPLAYED)

    def clock(self) -> float:
        """Returns the database's clock, in Unix time."""
        return float(self._row(_CLOCK)[0])

    def set_maintenance(self, maintenance: Maintenance | None) -> None:
        until_time, reason = maintenance or (None, "")
        self._run(_SET_MAINTENANCE, until_time=until_time, reason=reason)

    def maintenance(self) -> Maintenance | None:
        return self._one(Maintenance, _MAINTENANCE)

    def revoke_tokens(self, hashes: Sequence[str], revoked_by: str) -> None:
        self._run(_REVOKE_TOKENS, hashes=array("text", hashes), revoked_by=revoked_by)

    def revoked_tokens(self) -> dict[str, Revocation]:
        """Returns when and by whom tokens were revoked, by their hashes."""
        return {sha256: Revocation(*how) for sha256, *how in self._rows(_REVOKED_TOKENS)}

    def lock_holders(self) -> list[LockHolder]:
        """Returns the sessions that others of this database wait for at this moment, the longest transaction first."""
        return self._all(LockHolder, _HOLDERS)

    def long_locks(self, seconds: float) -> list[LockHolder]:
        """Returns the sessions that have held locks of rows, or tables, for so long: what needs them may be skipped."""
        return self._all(LockHolder, _LONG_LOCKS, seconds=seconds)

    def advisory_locks(self, seconds: float) -> list[LockHolder]:
        """Returns the sessions that have held advisory locks of ours for so long; their names are in `relation`."""
        names = array("text", [lock.value for lock in AdvisoryLock])
        return self._all(LockHolder, _ADVISORY_LOCKS, names=names, seconds=seconds)

    def oldest_transaction(self, among: Collection[str] | None = None) -> OldestTransaction | None:
        """Returns the server's oldest transaction that has an id, but for this one; it may be as young as a submit.

        `among`: virtual ids of the transactions to choose from; None: all.
        """
        chosen = None if among is None else array("text", among)
        return self._one(OldestTransaction, _OLDEST_TRANSACTION, among=chosen)

    def backlogs(self, limit: int) -> Backlogs:
        """Counts up to `limit` of each."""
        return Backlogs(*self._row(_READ_BACKLOGS, limit=limit))


_STORED = ("oldest", "waiting", "set_aside")
"""What a replica stores of a lane."""


def _replica(row: Any) -> ReplicaState:
    """Returns a row as another version may have stored it: with more said of its lanes, or with less."""
    scheduler_id, version, start_time, heartbeat_time, serving, stored, traits = row
    lanes = {name: LaneState(**{key: lane[key] for key in _STORED if key in lane}) for name, lane in stored.items()}
    said = traits.get("clock_offset"), traits.get("settings", {}), traits.get("standby_problem", "")
    return ReplicaState(scheduler_id, version, start_time, heartbeat_time, serving, lanes, *said)
