"""Which server is the fleet's database: a primary that was replaced by its standby may come back, and take writes.

A database is known by its system and its timeline: a standby that is promoted begins the next one. A replica goes from
a lower to a higher one and never back, and to no other system. What it knows is what it has seen: on the connections
that it makes, on the other servers that DATABASE_URL names, and before its last start, by a file in its data folder. An
old primary alone can't be told from a healthy one: `docs/how-to/failover.md` says what is left to the operator. No row
can tell which primary is the right one, since each of two would have its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import psycopg2
import sqlalchemy as sa
import structlog
from psycopg2 import extensions

_PORT = 5432


class HostList:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        hosts = str(options.get("host", "")).split(",")
        ports = str(options.get("port", "")).split(",")
        # By `hostaddr` a host has another name than it is connected to by.
        self._single = len(hosts) == 1 or "hostaddr" in options
        self._left = list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))

    @property
    def options(self) -> dict[str, Any]:
        """The options that connect to the first host that accepts a connection."""
        if self._single:
            return self._options
        return self._options | _named(*zip(*self._left, strict=True))

    def each(self) -> Iterator[dict[str, Any]]:
        """Yields the options for each host alone; empty if the URL names one host."""
        if not self._single:
            for host, port in self._left:
                yield {**self._options, **_named((host,), (port,)), "target_session_attrs": "any"}

    def leave_out(self, host: str, port: int) -> bool:
        """Does not try this host again. Returns whether it was in the list and others are left."""
        hosts = [address for address in self._left if address[0] != host or int(address[1] or _PORT) != port]
        left_out = not self._single and 0 < len(hosts) < len(self._left)
        if left_out:
            self._left = hosts
        return left_out


def _named(hosts: tuple[str, ...], ports: tuple[str, ...]) -> dict[str, str]:
    return {"host": ",".join(hosts), "port": ",".join(ports)}


_log = structlog.get_logger(__name__)


class LineageFile:
    """The file for one URL. Replicas may share the folder."""

    def __init__(self, folder: Path, url: str) -> None:
        address = sa.make_url(url)
        self._name = f"{address.host or ''}{address.port or ''}{address.query.get('host', '')}/{address.database}"
        self._path = folder / f"database-{hashlib.sha256(self._name.encode()).hexdigest()[:12]}.json"

    def __str__(self) -> str:
        return str(self._path)

    def read(self) -> tuple[int, int] | None:
        """Returns system and timeline; None if there is no file, or it can't be read."""
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            return int(record["system"]), int(record["timeline"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.warning(
                "which database it was is not known any more", action="store", file=str(self), error=str(error)
            )
            return None

    def write(self, system: int, timeline: int) -> None:
        """Logs a warning if the folder is not writable."""
        text = json.dumps({"database": self._name, "system": str(system), "timeline": timeline})
        unfinished = self._path.with_name(f"{self._path.name}.{platform.node()}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(f"{text}\n", encoding="utf-8")
            unfinished.rename(self._path)
        except OSError as error:
            _log.warning(
                "an old primary may be taken for the database after a restart", action="store", error=str(error)
            )


_LINE = sa.text("""
    SELECT (SELECT system_identifier FROM pg_control_system()), CASE WHEN NOT pg_is_in_recovery()
        THEN CAST(CAST('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS bit(32)) AS integer) END
""")
"""Reads the server's system and timeline."""

PROBE_TIMEOUT = 2
"""Seconds in which a probed server must accept a connection."""


class TimelineId(NamedTuple):
    """A system identifier and a timeline; None for a standby, which has none of its own."""

    system: int
    timeline: int | None

    def __str__(self) -> str:
        return f"timeline {self.timeline} of system {self.system}"


class TimelineConnection(extensions.connection):
    timeline: int | None = None

    def abandon(self) -> None:
        """Makes whatever waits for an answer fail, on any thread.

        No timeout of the connection ends that: the kernel of a frozen server takes what is sent to it.
        """
        with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(self.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


class WrongServer(psycopg2.OperationalError):
    """The server is not the fleet's database: it is an old primary, or another system."""


class Lineage:
    """What one process knows of the fleet's database. Safe for any thread."""

    def __init__(self, file: LineageFile | None = None) -> None:
        """`file` keeps what is known over restarts."""
        self._lock = threading.Lock()
        self._file = file
        line = file.read() if file else None
        self._known = TimelineId(*line) if line else None
        self._reported: set[TimelineId] = set()
        self._connections = WeakSet[TimelineConnection]()

    def guard(self, engine: sa.Engine) -> None:
        """Makes an engine connect to the fleet's database only. Connections to an old primary end, used or not."""
        sa.event.listen(engine, "do_connect", self._connect)
        sa.event.listen(engine, "checkout", self._check)

    def connect(self, *arguments: Any, **options: Any) -> TimelineConnection:
        """Connects as `psycopg2.connect`, to the first server that is the fleet's database. Raises psycopg2.Error."""
        hosts, refused = HostList(options), None
        while True:
            try:
                connection: TimelineConnection = psycopg2.connect(
                    *arguments, **hosts.options, connection_factory=TimelineConnection
                )
            except psycopg2.OperationalError as error:
                if refused:
                    raise WrongServer(f"{refused}; the others: {str(error).strip()}") from None
                raise
            host, port = connection.info.host, connection.info.port
            try:
                self._admit(connection)
            except WrongServer as error:
                connection.close()
                refused = error
                if not hosts.leave_out(host, port):
                    raise
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    def is_stale(self, connection: Any) -> bool:
        """Returns whether a connection of `connect` leads to an old primary."""
        with self._lock:
            known = self._known.timeline if self._known else None
        timeline = connection.timeline
        return timeline is not None and known is not None and timeline < known

    def probe(self, url: str) -> None:
        """Connects to every server of a URL that names several, to find a standby that was promoted."""
        address = sa.make_url(url)
        arguments, options = address.get_dialect()().create_connect_args(address)
        lines = []
        for server in HostList({**options, "connect_timeout": PROBE_TIMEOUT}).each():
            with suppress(psycopg2.Error), closing(psycopg2.connect(*arguments, **server)) as connection:
                lines.append((_line(connection), _name(connection)))
        for line, name in sorted(lines, key=lambda pair: pair[0].timeline or 0, reverse=True):
            with suppress(WrongServer):
                self._adopt(line, name)

    def _connect(self, _dialect: object, _record: object, arguments: Any, options: Any) -> TimelineConnection:
        return self.connect(*arguments, **options)

    def _check(self, connection: Any, _record: object, _proxy: object) -> None:
        if self.is_stale(connection):
            raise sa.exc.DisconnectionError("the fleet's database is another server now")

    def _admit(self, connection: TimelineConnection) -> None:
        line = _line(connection)
        connection.timeline = line.timeline
        with self._lock:
            self._connections.add(connection)  # first, so that it is abandoned where another one has moved on meanwhile
        self._adopt(line, _name(connection))

    def _adopt(self, line: TimelineId, server: str) -> None:
        """Raises WrongServer."""
        with self._lock:
            known, new = self._known, self._known is None and line.timeline is not None
            if known is not None and not _follows(line, known):
                self._refuse(line, known, server)
            moved = known is not None and (line.timeline or 0) > (known.timeline or 0)
            if new or moved:
                self._known = line
                if self._file:
                    self._file.write(line.system, line.timeline or 0)
            connections = list(self._connections) if moved else []
        if moved:
            _log.warning(
                "a standby was promoted: it is the database now", action="store", server=server, line=str(line)
            )
            for connection in connections:
                if self.is_stale(connection):
                    connection.abandon()

    def _refuse(self, line: TimelineId, known: TimelineId, server: str) -> None:
        problem = f"{server} is {line}, and the schedulers' database is {known}: "
        if line.system == known.system:
            problem += "it is an old primary, whose standby was promoted; stop it, or make it a standby (fencing)"
        else:
            problem += "it is another database; correct DATABASE_URL"
            problem += f", or delete {self._file} if it was moved on purpose" if self._file else ""
        if line not in self._reported:
            self._reported.add(line)
            _log.error(problem, action="store")
        raise WrongServer(problem)


def _follows(line: TimelineId, known: TimelineId) -> bool:
    return line.system == known.system and (line.timeline is None or line.timeline >= (known.timeline or 0))


def _name(connection: extensions.connection) -> str:
    return f"{connection.info.host}:{connection.info.port}"


def _line(connection: extensions.connection) -> TimelineId:
    connection.autocommit = True  # no BEGIN, which costs a round trip, and which some poolers refuse
    with connection.cursor() as cursor:
        cursor.execute(_LINE.text)
        row = cursor.fetchone()
    connection.autocommit = False
    assert row
    return TimelineId(*row)
