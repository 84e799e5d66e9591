"""Checks at start that DATABASE_URL leads to sessions of a PostgreSQL that the scheduler can use. Part of `store`.

A pooler may stand between. LISTEN, prepared statements and settings belong to a session. A pooler that hands each
transaction to whichever session is free keeps none of them, and hints would be lost without a word.
"""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any

import psycopg2
import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.store.engine.connecting import connect
from scheduler_svc.store.engine.lineage import Lineage
from scheduler_svc.store.engine.server_check import check_server

COMPARISONS = 5
"""How often two connections are compared: a pooler may give both the right session by chance."""
_NOT_KEPT = (
    "DATABASE_URL leads to a connection pooler that does not keep a connection to one session of PostgreSQL{how}:"
    " LISTEN/NOTIFY and prepared statements need that. Use session pooling there (PgBouncer: pool_mode=session),"
    " or a URL that leads straight to PostgreSQL"
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
        said = " ".join(str(error).split()) or type(error).__name__
        raise SettingsError([f"DATABASE_URL can't be used: {said}"]) from None
    except (sa.exc.ArgumentError, ValueError):  # they quote the URL, and so the password
        raise SettingsError([_NO_URL]) from None


def _compare(one: Any, other: Any) -> None:
    """Each connection has to keep a session, and not the other's."""
    looks = [(_session(one), _session(other), _session(one)) for _ in range(COMPARISONS)]
    its_own = {session for before, _, after in looks for session in (before, after)}
    others = {session for _, session, _ in looks}
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
