"""Whole databases of a server: a restore creates a new one beside the present one, prepares it, and swaps them.

The rights that roles have in the present database are granted in the new one. A database that was restored from a
backup is prepared before any replica uses it: its numbers go on behind those that may have been used since. It is not
filled in place, because no transaction covers the deletion of what is there and `pg_restore`'s script; two renames are
one. Its leases stay: their workers may still run them, and a lease that the worker's Hello does not name is released.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa
from psycopg2 import errors as pg_errors

DISCONNECT_TIMEOUT = 3.0
"""Seconds in which the sessions on a database may end."""

_POLL_INTERVAL = 0.1
_MAINTENANCE = "postgres"
_LOCK_KEY = 0x72_65_73_74_6F_72_65  # "restore"
_UNFINISHED = "contentgen_restoring_"
_REPLACED = "contentgen_replaced_"

_TRY_LOCK = sa.text("SELECT pg_try_advisory_lock(:lock)")
"""Locks out other restores on this server, if none runs."""
_LEFT = sa.text("SELECT datname FROM pg_database WHERE starts_with(datname, :prefix)")
"""Finds the databases that a killed restore left."""
_EXISTS = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
"""Checks whether a database exists."""
_DATABASE_OWNER = sa.text("""
    SELECT quote_ident(pg_get_userbyid(datdba)) FROM pg_database
    WHERE datname = :name AND datdba <> CAST(quote_ident(current_user) AS regrole)
        AND pg_has_role(current_user, datdba, 'MEMBER')
""")
"""Reads who owns a database, if it is another role that we may give one to."""
_SESSIONS = sa.text("""
    SELECT pid, coalesce(application_name, ''), coalesce(host(client_addr), 'this machine') FROM pg_stat_activity
    WHERE datname = :name AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY backend_start
""")
"""Finds the sessions on a database."""
_HAS_TABLES = sa.text("""
    SELECT EXISTS (SELECT FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace)
""")
"""Checks whether a database has tables."""
_MAJOR = sa.text("SELECT CAST(current_setting('server_version_num') AS integer) / 10000")
"""Reads the server's major version."""


class DatabaseSession(NamedTuple):
    pid: int
    application: str
    host: str


def described(sessions: Sequence[DatabaseSession]) -> str:
    """Returns a line for the sessions of each program on each host: a scheduler has dozens of them."""
    pids: dict[tuple[str, str], list[int]] = {}
    for session in sessions:
        pids.setdefault((session.application, session.host), []).append(session.pid)
    return "\n".join(
        f"process{'es' * (len(ids) > 1)} {', '.join(map(str, ids))} of the database ({name or 'no name'}, from {host})"
        for (name, host), ids in pids.items()
    )


class Databases:
    """The databases of the server of `url`, which names one of them, seen from its maintenance database."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self.target = str(self._url.database)
        other = "template1" if self.target == _MAINTENANCE else _MAINTENANCE  # nobody can rename where they are
        self._engine = sa.create_engine(
            self._url.set(database=other), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )
        self._connection: sa.Connection | None = None

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Connects, and locks out other restores on this server. Yields whether it got the lock.

        With the lock, it drops what a killed restore left.
        """
        with self._engine.connect() as self._connection:
            acquired = bool(self._admin.scalar(_TRY_LOCK, {"lock": _LOCK_KEY}))
            if acquired:
                for name in self._admin.scalars(_LEFT, {"prefix": _UNFINISHED}).all():
                    self.drop(name)
            yield acquired

    def major(self) -> int:
        return int(self._admin.scalar(_MAJOR))

    def sessions(self) -> Sequence[DatabaseSession]:
        return [DatabaseSession(*row) for row in self._admin.execute(_SESSIONS, {"name": self.target})]

    def lasting_sessions(self) -> Sequence[DatabaseSession]:
        """Returns the sessions that stay: those of a scheduler that was just stopped may take a moment to end."""
        deadline = time.monotonic() + DISCONNECT_TIMEOUT
        while (sessions := self.sessions()) and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)
        return sessions

    def exists(self) -> bool:
        return self._admin.scalar(_EXISTS, {"name": self.target}) is not None

    def has_tables(self) -> bool:
        with self.connected() as connection:
            return bool(connection.scalar(_HAS_TABLES))

    def connected(self) -> sa.Connection:
        return sa.create_engine(self._url, poolclass=sa.NullPool).connect()

    def create(self) -> str:
        """Creates an empty database, of the owner of the present one; returns its URL."""
        name = f"{_UNFINISHED}{secrets.token_hex(4)}"
        owner = self._admin.scalar(_DATABASE_OWNER, {"name": self.target})
        owned = f" OWNER {owner}" if owner else ""
        self._admin.exec_driver_sql(f"CREATE DATABASE {name}{owned} TEMPLATE template0 ENCODING 'UTF8'")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, name: str) -> None:
        self._admin.exec_driver_sql(f"DROP DATABASE IF EXISTS {self._quoted(name)} WITH (FORCE)")

    def swap_in(self, new: str) -> str | None:
        """Renames `new` to the name of the database, in one transaction; returns the new name of the former one.

        Raises sa.exc.DBAPIError, with nothing changed, if either has a session.
        """
        target, aside = self._quoted(self.target), f"{_REPLACED}{secrets.token_hex(4)}"
        replaces = self.exists()
        renames = [f"ALTER DATABASE {target} RENAME TO {aside}"] if replaces else []
        renames.append(f"ALTER DATABASE {self._quoted(new)} RENAME TO {target}")
        self._admin.exec_driver_sql("; ".join(renames))  # sent at once, they are one transaction
        return aside if replaces else None

    @property
    def _admin(self) -> sa.Connection:
        assert self._connection is not None, "within `locked`"
        return self._connection

    def _quoted(self, name: str) -> str:
        return self._admin.dialect.identifier_preparer.quote_identifier(name)


# A database or schema whose rights were never changed has none here, and PostgreSQL's defaults in the new one. What an
# owner has comes with the ownership.
_GRANTS = sa.text("""
    WITH held AS (
        SELECT 1 AS step, 'DATABASE ' || quote_ident(:database) AS what, '' AS whose, acl.*
        FROM pg_database AS d, aclexplode(d.datacl) AS acl
        WHERE d.datname = current_database() AND acl.grantee <> d.datdba
        UNION ALL
        SELECT 2, 'SCHEMA public', '', acl.* FROM pg_namespace AS n, aclexplode(n.nspacl) AS acl
        WHERE n.nspname = 'public' AND acl.grantee <> n.nspowner
        UNION ALL
        SELECT 3, CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' ELSE 'FUNCTIONS' END,
            'ALTER DEFAULT PRIVILEGES FOR ROLE ' || quote_ident(pg_get_userbyid(d.defaclrole))
                || CASE WHEN d.defaclnamespace = 0 THEN ' ' ELSE ' IN SCHEMA public ' END, acl.*
        FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS acl
        WHERE d.defaclobjtype IN ('r', 'S', 'f') AND acl.grantee <> d.defaclrole
            AND d.defaclnamespace IN (0, CAST('public' AS regnamespace))
        UNION ALL
        SELECT 4, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END || ' public.' || quote_ident(c.relname), '',
            acl.*
        FROM pg_class AS c, aclexplode(c.relacl) AS acl
        WHERE c.relnamespace = CAST('public' AS regnamespace) AND c.relkind IN ('r', 'p', 'v', 'S')
            AND acl.grantee <> c.relowner
    )
    SELECT 'REVOKE ALL ON DATABASE ' || quote_ident(:database) || ' FROM PUBLIC', 0 AS step
    FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL
    UNION ALL
    SELECT 'REVOKE ALL ON SCHEMA public FROM PUBLIC', 0
    FROM pg_namespace WHERE nspname = 'public' AND nspacl IS NOT NULL
    UNION ALL
    SELECT whose || 'GRANT ' || string_agg(privilege_type, ', ') || ' ON ' || what || ' TO '
        || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, step
    FROM held GROUP BY step, what, whose, grantee, is_grantable
    ORDER BY step
""")
"""Reads what roles may do in a database, as the statements that grant it in the one of that name."""
_OWNER = sa.text("""
    SELECT pg_get_userbyid(relowner) FROM pg_class
    WHERE relname = 'alembic_version' AND relnamespace = CAST('public' AS regnamespace)
        AND relowner <> CAST(quote_ident(current_user) AS regrole) AND pg_has_role(current_user, relowner, 'MEMBER')
        AND has_schema_privilege(relowner, 'public', 'CREATE')
""")
"""Reads who owns the tables, if it is another role that we may act as, and that may create them."""
_LACKS_ROWS = sa.text("""
    SELECT quote_ident(wanted.name)
    FROM unnest(CAST(:roles AS text[])) AS wanted(name) LEFT JOIN pg_roles ON rolname = wanted.name
    WHERE (rolname IS NOT NULL AND has_table_privilege(rolname, 'tasks', 'INSERT')) IS NOT TRUE
""")
"""Finds the roles that are not there, or may not serve."""

_ABSENT = (pg_errors.UndefinedTable, pg_errors.InvalidSchemaName)


def read_grants(connection: sa.Connection, database: str) -> list[str]:
    """Returns the statements that grant in `database` what roles have in the connection's one."""
    return list(connection.scalars(_GRANTS, {"database": database}))


def owner_of_tables(connection: sa.Connection) -> str | None:
    """Returns who owns the tables; None if that is the connection's own role, or if it can't act as the owner."""
    owner: str | None = connection.scalar(_OWNER)
    return owner


def apply_grants(connection: sa.Connection, grants: Sequence[str]) -> list[str]:
    """Runs the statements whose objects are there; returns those that this role may not run. In autocommit mode."""
    forbidden = []
    for grant in grants:
        try:
            connection.exec_driver_sql(grant)
        except sa.exc.ProgrammingError as error:
            if isinstance(error.orig, pg_errors.InsufficientPrivilege):
                forbidden.append(grant)
            elif not isinstance(error.orig, _ABSENT):
                raise
    return forbidden


def roles_without_rows(connection: sa.Connection, roles: Sequence[str]) -> list[str]:
    """Returns the roles that the server does not have, or that may not serve the connection's database; quoted."""
    return list(connection.scalars(_LACKS_ROWS, {"roles": list(roles)}))


# The stamp is that of the last tick before the backup. As after any gap, nothing expires for a lease time from the
# first tick on: workers have time to come back, and say what they hold.
_OPEN_A_GAP = sa.text("UPDATE reaper SET stamp = to_timestamp(0)")
"""Makes the reaper wait a lease time after a restore."""
_DISCONNECT_WORKERS = sa.text("UPDATE workers SET connected = false WHERE connected")
"""Marks all workers as disconnected after a restore."""
# Numbers that were assigned after the backup are not assigned again: an id of a content or an account that a client has
# kept would lead to another one. So many a second may have been drawn, and ten minutes for clocks that differ.
# Tasks need none of this, for their keys have the time in them; leases have random fences.
_SKIP_NUMBERS = sa.text("""
    SELECT setval(s.name, coalesce(pg_sequence_last_value(s.name), 0)
        + ceil(s.most_a_second * (600 + greatest(0, extract(epoch FROM now() - r.stamp))))::bigint)
    FROM reaper AS r, (VALUES
        (CAST('content_seq' AS regclass), 10000),
        (CAST('session_seq' AS regclass), 1000),
        (CAST(pg_get_serial_sequence('accounts', 'account_id') AS regclass), 100),
        (CAST(pg_get_serial_sequence('schedules', 'schedule_id') AS regclass), 100),
        (CAST(pg_get_serial_sequence('webhooks', 'webhook_id') AS regclass), 100),
        (CAST(pg_get_serial_sequence('webhook_deliveries', 'delivery_id') AS regclass), 10000)
    ) AS s(name, most_a_second)
""")
"""Advances the sequences past the ids that were drawn after the backup."""
_PUT_ASSETS = sa.text("UPDATE asset_store SET store_id = :store_id")
"""Writes where the assets of a backup were put."""
_FORGET_BACKUPS = sa.text("UPDATE backups SET success_time = NULL")
"""Says that a restored database has no backup of its own."""
_SUMS = sa.text("""
    SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM tasks), (SELECT count(*) FROM leases),
        (SELECT count(*) FROM contents)
""")
"""Counts what a restored database holds."""


class RestoredCounts(NamedTuple):
    """How many rows the database has; `running` counts the leases."""

    accounts: int
    tasks: int
    running: int
    contents: int


def prepare_restored(engine: sa.Engine, store_id: str | None = None) -> RestoredCounts:
    """Prepares the database for replicas; returns what it holds. `store_id`: where its assets were put."""
    with engine.begin() as connection:
        if store_id:
            connection.execute(_PUT_ASSETS, {"store_id": store_id})
        connection.execute(_SKIP_NUMBERS)
        connection.execute(_OPEN_A_GAP)
        connection.execute(_DISCONNECT_WORKERS)
        connection.execute(_FORGET_BACKUPS)
        connection.exec_driver_sql("ANALYZE")
        return RestoredCounts(*connection.execute(_SUMS).one())
