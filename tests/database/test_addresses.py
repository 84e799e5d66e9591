"""Checks of DATABASE_URL at start, with a pooler of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from contentgen.service.settings import SettingsError
from scheduler_svc.database.connections import check_server, check_sessions, connect
from scheduler_svc.transactions import make_engine

pytestmark = pytest.mark.integration


# A minimal connection pooler: simple queries only, one of three ways to treat sessions, no limits.


SESSION = "session"
TRANSACTION = "transaction"
DEAF = "deaf"
"""Keeps sessions, and passes no notifications on."""
_ENCRYPTION_REQUESTS = (80877103, 80877104)
_STARTUP_HEAD = 8


class _Message(NamedTuple):
    kind: bytes
    body: bytes

    def __bytes__(self) -> bytes:
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body


class _Server(NamedTuple):
    """One session of PostgreSQL."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes


class Pooler:
    """Listens on a port of this machine, in a thread of its own, in front of a server's socket."""

    def __init__(self, socket: Path, mode: str, *, newest_first: bool) -> None:
        self.port = 0
        self._socket = socket
        self._mode = mode
        self._newest_first = newest_first
        self._idle: deque[_Server] = deque()
        self._all: list[_Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pooler")

    def open(self) -> None:
        self._thread.start()
        opened = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._listening = asyncio.run_coroutine_threadsafe(opened, self._loop).result(10)
        self.port = self._listening.sockets[0].getsockname()[1]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._listening.close()
        for server in self._all:
            server.writer.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            startup = await _startup(reader, writer)
            kept = await self._taken(startup)
            writer.write(kept.greeting)
            if self._mode == TRANSACTION:
                self._idle.append(kept)
                await self._each_apart(reader, writer, startup)
            else:
                await self._all_together(reader, writer, kept)
        writer.close()

    async def _each_apart(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, startup: bytes) -> None:
        """Runs each query in any free session."""
        while (query := await _read(reader)).kind == b"Q":
            server = await self._taken(startup)
            server.writer.write(bytes(query))
            writer.write(await _until_ready(server.reader))
            self._idle.append(server)

    async def _all_together(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: _Server) -> None:
        back = asyncio.create_task(self._pass_on(server.reader, writer))
        while (message := await _read(reader)).kind != b"X":
            server.writer.write(bytes(message))
        server.writer.close()
        await back

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await _read(reader)
                if self._mode != DEAF or message.kind != b"A":
                    writer.write(bytes(message))

    async def _taken(self, startup: bytes) -> _Server:
        if self._idle and (self._mode == TRANSACTION):
            return self._idle.pop() if self._newest_first else self._idle.popleft()
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(startup)
        server = _Server(reader, writer, await _until_ready(reader))
        self._all.append(server)
        return server


async def _startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """A client's first message; encryption is declined."""
    while True:
        head = await reader.readexactly(_STARTUP_HEAD)
        length, code = struct.unpack("!ii", head)
        if code not in _ENCRYPTION_REQUESTS:
            return head + await reader.readexactly(length - _STARTUP_HEAD)
        writer.write(b"N")


async def _read(reader: asyncio.StreamReader) -> _Message:
    kind, length = struct.unpack("!ci", await reader.readexactly(5))
    return _Message(kind, await reader.readexactly(length - 4))


async def _until_ready(reader: asyncio.StreamReader) -> bytes:
    """A server's messages until it is ready for the next query."""
    answer = b""
    while True:
        message = await _read(reader)
        answer += bytes(message)
        if message.kind == b"Z":
            return answer


@contextmanager
def pooled(socket: Path, mode: str, *, newest_first: bool = True) -> Iterator[Pooler]:
    """A pooler in front of the server at `socket`; of idle sessions the one used last is used next, or first."""
    pooler = Pooler(socket, mode, newest_first=newest_first)
    pooler.open()
    try:
        yield pooler
    finally:
        pooler.close()


# Checks of DATABASE_URL at start: kept sessions, a pooler that keeps none, a missing server.


def _socket(url: str) -> Path:
    return Path(str(sa.make_url(url).query["host"])) / ".s.PGSQL.5432"


def _through(pooler: Pooler, url: str) -> str:
    pooled_url = sa.make_url(url).set(host="127.0.0.1", port=pooler.port, query={})
    return pooled_url.render_as_string(hide_password=False)


def test_sessions_are_kept_without_a_pooler(empty_db_url: str) -> None:
    check_sessions(empty_db_url)


def test_a_pooler_that_keeps_sessions_is_accepted(empty_db_url: str) -> None:
    with pooled(_socket(empty_db_url), SESSION) as pooler:
        check_sessions(_through(pooler, empty_db_url))


@pytest.mark.parametrize("newest_first", [True, False])
def test_a_pooler_that_keeps_no_sessions_is_refused_with_advice(empty_db_url: str, newest_first: bool) -> None:
    with pooled(_socket(empty_db_url), TRANSACTION, newest_first=newest_first) as pooler:
        problem = _problem(_through(pooler, empty_db_url))
    assert problem.startswith("DATABASE_URL leads to a connection pooler")
    assert "another for each transaction" in problem
    assert "pool_mode=session" in problem


def test_a_pooler_that_loses_notifications_is_refused(empty_db_url: str) -> None:
    with pooled(_socket(empty_db_url), DEAF) as pooler:
        problem = _problem(_through(pooler, empty_db_url))
    assert "loses what NOTIFY tells" in problem


def test_a_missing_server_is_reported_in_one_line() -> None:
    problem = _problem("postgresql+psycopg2://user:secret@127.0.0.1:1/db")
    assert problem.startswith("DATABASE_URL can't be used: ")
    assert "127.0.0.1" in problem
    assert "secret" not in problem


@pytest.mark.parametrize("address", ["host:port", "s@cret@host:port"])
def test_an_unreadable_url_is_not_shown(address: str) -> None:
    problem = _problem(f"postgresql+psycopg2://user:s3cret@{address}/db")
    assert problem.startswith("DATABASE_URL can't be read: it must be postgresql://")
    assert "cret" not in problem


@pytest.mark.parametrize("hot", [True, False])
def test_the_server_limits_how_long_a_session_leaves_a_transaction_open(empty_db_url: str, hot: bool) -> None:
    engine = make_engine(empty_db_url, 1, hot=hot)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW idle_in_transaction_session_timeout")) == "20s"
        assert connection.scalar(sa.text("SHOW enable_seqscan")) == ("off" if hot else "on")
    engine.dispose()


@pytest.mark.parametrize(("off", "refused"), [(3_600.0, True), (-400.0, True), (60.0, False), (-60.0, False)])
def test_a_clock_that_is_far_from_the_database_s_is_refused(empty_db_url: str, off: float, *, refused: bool) -> None:
    with (
        closing(connect(sa.make_url(empty_db_url))) as connection,
        capture_logs() as logs,
        pytest.raises(SettingsError) if refused else nullcontext() as raised,
    ):
        check_server(connection, clock=lambda: time.time() + off)
    (logged,) = logs
    assert logged["event"].endswith("ahead of the database's" if off > 0 else "behind the database's")
    assert not raised or "by NTP" in str(raised.value)


def _problem(url: str) -> str:
    with pytest.raises(SettingsError) as raised:
        check_sessions(url)
    (problem,) = raised.value.problems
    return problem
