"""Whole databases of a server: a restore creates a new one beside the present one, and swaps them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa

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
    """A line for those of one program on one host: a scheduler has dozens."""
    pids: dict[tuple[str, str], list[int]] = {}
    for session in sessions:
        pids.setdefault((session.application, session.host), []).append(session.pid)
    return "\n".join(
        f"process{'es' * (len(of) > 1)} {', '.join(map(str, of))} of the database ({name or 'no name'}, from {host})"
        for (name, host), of in pids.items()
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
            mine = bool(self._admin.scalar(_TRY_LOCK, {"lock": _LOCK_KEY}))
            if mine:
                for name in self._admin.scalars(_LEFT, {"prefix": _UNFINISHED}).all():
                    self.drop(name)
            yield mine

    def major(self) -> int:
        return int(self._admin.scalar(_MAJOR))

    def sessions(self) -> Sequence[DatabaseSession]:
        """The sessions on the database, oldest first."""
        return [DatabaseSession(*row) for row in self._admin.execute(_SESSIONS, {"name": self.target})]

    def lasting_sessions(self) -> Sequence[DatabaseSession]:
        """The sessions that stay: those of a scheduler that was just stopped may take a moment to end."""
        deadline = time.monotonic() + DISCONNECT_TIMEOUT
        while (sessions := self.sessions()) and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL)
        return sessions

    def exists(self) -> bool:
        return self._admin.scalar(_EXISTS, {"name": self.target}) is not None

    def has_tables(self) -> bool:
        """Whether the database has any tables, ours or not."""
        with self.connected() as connection:
            return bool(connection.scalar(_HAS_TABLES))

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """A connection to the database itself."""
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def create(self) -> str:
        """Creates an empty database, of the owner of the present one; returns its URL."""
        name = f"{_UNFINISHED}{secrets.token_hex(4)}"
        owner = self._admin.scalar(_DATABASE_OWNER, {"name": self.target})
        owned = f" OWNER {owner}" if owner else ""
        self._admin.exec_driver_sql(f"CREATE DATABASE {name}{owned} TEMPLATE template0 ENCODING 'UTF8'")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, name: str) -> None:
        """Drops a database if it exists, and its sessions."""
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
