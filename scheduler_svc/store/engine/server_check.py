"""What server DATABASE_URL leads to, asked at start: its version, and whether it takes writes of this role."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from contentgen.service.settings import SettingsError
from scheduler_svc.domain.clock import CLOCK_TOLERANCE, describe_offset, is_wrong, offset

OLDEST, NEWEST = 15, 18
"""PostgreSQL's major versions that are supported."""

_SERVER = sa.text("""
    SELECT CAST(current_setting('server_version_num') AS integer) / 10000, pg_is_in_recovery(),
        CAST(current_setting('transaction_read_only') AS boolean), quote_ident(current_user),
        quote_ident(current_database()), extract(epoch FROM clock_timestamp())::float8
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
    time: float


def check_server(connection: Any, clock: Callable[[], float] = time.time) -> None:
    """Of the driver's connection. Raises SettingsError if it is too old, a standby, read-only for this role, or if its
    clock and ours are too far apart.
    """
    with connection.cursor() as cursor:
        before = clock()
        cursor.execute(_SERVER.text)
        server = ServerState(*cursor.fetchone())
    ours = offset(server.time, before, clock())
    if abs(ours) > CLOCK_TOLERANCE:
        _log.warning(f"this machine's clock is {describe_offset(ours)}", action="clock", offset_seconds=round(ours, 1))
    if is_wrong(ours):
        raise SettingsError([f"this machine's clock is {describe_offset(ours)}: set the wrong one of the two, by NTP"])
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
