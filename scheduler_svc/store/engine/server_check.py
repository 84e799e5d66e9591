"""What server DATABASE_URL leads to, asked at start: its version, and whether it takes writes of this role."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from scheduler_svc.config import SettingsError

OLDEST, NEWEST = 15, 18
"""PostgreSQL's major versions that are supported."""

_SERVER = sa.text("""
    SELECT CAST(current_setting('server_version_num') AS integer) / 10000, pg_is_in_recovery(),
        CAST(current_setting('transaction_read_only') AS boolean), quote_ident(current_user),
        quote_ident(current_database())
""")
"""Reads the version and the role of the server."""

_log = structlog.get_logger(__name__)


class ServerState(NamedTuple):
    """A server as one session sees it; `role` and `database` are quoted."""

    major: int
    standby: bool
    read_only: bool
    role: str
    database: str


def check_server(connection: Any) -> None:
    """Of the driver's connection. Raises SettingsError if it is too old, a standby, or read-only for this role."""
    with connection.cursor() as cursor:
        cursor.execute(_SERVER.text)
        server = ServerState(*cursor.fetchone())
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
    return None
