"""How PostgreSQL is connected to, pooled or not, and the checks at start that it can be used.

PostgreSQL has no bounds of waits by default: one row that another session has locked would block every caller that
shares the connection. `Timeouts` has the bounds. A transaction that they end has changed nothing.

A pooler may stand between. LISTEN, prepared statements and settings belong to a session. A pooler that hands each
transaction to whichever session is free keeps none of them, and hints would be lost without a word: what needs none of
them may go through it, by a URL of its own.

Whoever knows the key of an advisory lock can take it, and some of ours are only tried: nothing waits then, and
PostgreSQL logs nothing. So `system/sql.py` looks for sessions that hold one of these for long.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from enum import StrEnum
from typing import Any, NamedTuple

import psycopg2
import sqlalchemy as sa
import structlog
from psycopg2 import extensions

from contentgen.service.settings import SettingsError
from scheduler_svc.database.lineage import Lineage
from scheduler_svc.domain.clock import CLOCK_TOLERANCE, describe_offset, is_wrong, offset


class Timeouts(NamedTuple):
    """Bounds of one connection, in seconds."""

    lock: float
    statement: float

    def sql(self) -> str:
        """Returns the statements that set them, for the session."""
        return f"SET lock_timeout = {_ms(self.lock)}; SET statement_timeout = {_ms(self.statement)};"


LOCK_TIMEOUT = 2.0
"""Seconds. Our own transactions hold a lock for milliseconds, or some hundred for a large group on a slow disk."""
CALL_TIMEOUT = 10.0
"""Seconds that a statement of a client's call may take: callers wait so long by default."""
HOT_TIMEOUT = 30.0
"""Seconds that a statement of a lane or a loop may take: a group of the largest results on a slow disk needs some."""
ALONE_TIMEOUT = 600.0
"""Seconds that a statement of a vacuum or an import may take: no caller waits for it."""


def set_local_lock_timeout(seconds: float) -> str:
    """Returns the statement that sets the lock timeout for the transaction that has just begun."""
    return f"SET LOCAL lock_timeout = {_ms(seconds)}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1_000))


_DEFAULTS: Mapping[str, Any] = {
    "connect_timeout": 5,  # for each host
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8_000,
}
"""libpq's parameters. A host that says nothing for 8 to 11 s is given up: callers wait 10 s by default."""

# It sets any value, so that no reload of the server's configuration takes it away from the session.
SET_DURABLE = (
    "SELECT set_config('synchronous_commit', coalesce(nullif(setting, 'off'), 'on'), false)"
    " FROM current_setting('synchronous_commit') AS setting"
)
"""Commits durably from now on, whatever the server, database or role says."""


def defaults(url: sa.URL, application: str = "contentgen") -> dict[str, Any]:
    """Returns the options that the URL itself does not set. `application` is the name of the sessions."""
    parameters = {"application_name": application, **_DEFAULTS}
    return {name: value for name, value in parameters.items() if name not in url.query}


def connect(url: sa.URL, lineage: Lineage | None = None) -> extensions.connection:
    """Returns a connection outside of any pool that commits each statement. Raises psycopg2.Error."""
    arguments, options = url.get_dialect()().create_connect_args(url)
    dial = lineage.connect if lineage else psycopg2.connect
    connection: extensions.connection = dial(*arguments, **{**defaults(url), **options})
    connection.autocommit = True
    return connection


COMPARISONS = 5
"""How often two connections are compared: a pooler may give both the right session by chance."""
_NOT_KEPT = (
    "DATABASE_URL leads to a connection pooler that does not keep a connection to one session of PostgreSQL{how}:"
    " LISTEN/NOTIFY and prepared statements need that. Name it by CONTENTGEN_POOL_URL, and lead DATABASE_URL straight"
    " to PostgreSQL; or use session pooling there (PgBouncer: pool_mode=session)"
)

_NO_URL = (
    "DATABASE_URL can't be read: it must be postgresql://user:password@host:5432/database, several hosts by comma,"
    " with the password's @ : / ? # % as %40 %3A %2F %3F %23 %25"
)


def check_sessions(url: str, lineage: Lineage | None = None) -> None:
    """Raises SettingsError if the database can't be reached or used, or a pooler keeps no sessions.

    It takes no time-out: a session receives a notification with its next statement at the latest.
    """
    try:
        address = sa.make_url(url)
        with closing(connect(address, lineage)) as one, closing(connect(address, lineage)) as other:
            check_server(one)
            _compare(one, other)
            _notify(one, other)
    except psycopg2.Error as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError([f"DATABASE_URL can't be used: {message}"]) from None
    except (sa.exc.ArgumentError, ValueError):  # they quote the URL, and so the password
        raise SettingsError([_NO_URL]) from None


def describe_standby(url: str) -> str:
    """Returns what the server of CONTENTGEN_READ_URL is. Raises SettingsError if it can't be reached."""
    try:
        with closing(connect(sa.make_url(url))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_is_in_recovery()")
            standby = (cursor.fetchone() or (False,))[0]
            return "a standby answers" if standby else "answers, and is no standby: it will not be read"
    except psycopg2.Error as error:
        raise SettingsError([f"CONTENTGEN_READ_URL can't be used: {' '.join(str(error).split())}"]) from None
    except (sa.exc.ArgumentError, ValueError):
        raise SettingsError([_NO_URL.replace("DATABASE_URL", "CONTENTGEN_READ_URL")]) from None


def _compare(one: Any, other: Any) -> None:
    """Each connection has to keep a session, and not the other's."""
    samples = [(_session(one), _session(other), _session(one)) for _ in range(COMPARISONS)]
    its_own = {session for before, _, after in samples for session in (before, after)}
    others = {session for _, session, _ in samples}
    if len(its_own) > 1 or len(others) > 1 or its_own == others:
        raise SettingsError([_NOT_KEPT.format(how=", but gives it another for each transaction")])


def _session(connection: Any) -> object:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def _notify(one: Any, other: Any) -> None:
    channel = f"contentgen_{secrets.token_hex(8)}"
    _run(one, f"LISTEN {channel}")
    _run(other, f"NOTIFY {channel}")
    _session(one)
    if not one.notifies:
        raise SettingsError([_NOT_KEPT.format(how=", or loses what NOTIFY tells")])


def _run(connection: Any, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


OLDEST, NEWEST = 15, 18
"""PostgreSQL's major versions that are supported."""

_SERVER = sa.text("""
    SELECT CAST(current_setting('server_version_num') AS integer) / 10000, pg_is_in_recovery(),
        CAST(current_setting('transaction_read_only') AS boolean), quote_ident(current_user),
        quote_ident(current_database()), current_setting('server_encoding'),
        extract(epoch FROM clock_timestamp())::float8
""")
"""Reads the version, the role and the clock of the server."""

_log = structlog.get_logger(__name__)


class ServerState(NamedTuple):
    """A server as one session sees it; `role` and `database` are quoted."""

    major: int
    standby: bool
    read_only: bool
    role: str
    database: str
    encoding: str
    time: float


def check_server(connection: Any, clock: Callable[[], float] = time.time) -> None:
    """Checks the server of a driver's connection. Raises SettingsError if it is too old, a standby, read-only for this
    role, or if its clock and ours are too far apart.
    """
    with connection.cursor() as cursor:
        before = clock()
        cursor.execute(_SERVER.text)
        server = ServerState(*cursor.fetchone())
    clock_offset = offset(server.time, before, clock())
    if abs(clock_offset) > CLOCK_TOLERANCE:
        _log.warning(
            f"this machine's clock is {describe_offset(clock_offset)}",
            action="clock",
            offset_seconds=round(clock_offset, 1),
        )
    if is_wrong(clock_offset):
        raise SettingsError(
            [f"this machine's clock is {describe_offset(clock_offset)}: set the wrong one of the two, by NTP"]
        )
    if server.major > NEWEST:
        _log.warning("this version of PostgreSQL was not tried", action="store", found=server.major, newest=NEWEST)
    if problem := _problem(server):
        raise SettingsError([problem])


def _problem(server: ServerState) -> str | None:
    if server.major < OLDEST:
        return (
            f"DATABASE_URL leads to PostgreSQL {server.major}: versions {OLDEST} to {NEWEST} are supported;"
            " upgrade the server, or name another one"
        )
    if server.standby:
        return (
            "DATABASE_URL leads to a standby, which takes no writes: name the primary, or all servers of the pair, with"
            " target_session_attrs=read-write"
        )
    if server.read_only:
        return (
            f"role {server.role} may only read: its transactions are read-only (default_transaction_read_only). Run"
            f" ALTER ROLE {server.role} IN DATABASE {server.database} SET default_transaction_read_only = off, or set"
            " that in the server's configuration"
        )
    if server.encoding != "UTF8":
        return (
            f"database {server.database} has the encoding {server.encoding}, and needs UTF8: make another one by CREATE"
            " DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    return None


class AdvisoryLock(StrEnum):
    """`key` is what PostgreSQL's functions take."""

    DISPATCH = "contentgen.pause_dispatch"
    FLOORS = "contentgen.ready_floors"
    COUNTS = "contentgen.fold_counts"
    ROLLUPS = "contentgen.fold_rollups"
    RETENTION = "contentgen.retention"

    @property
    def key(self) -> str:
        return f"hashtext('{self.value}')"
