"""Opens the old application's database of any kind: read-only, with limits of time and memory.

`tables` reads through it. Driver errors become SourceUnreadable and RowsUnreadable here.

A SQLite file of some bytes can have rows of gigabytes. So the memory of a statement on SQLite is bounded: SQLite's own
(192 MiB, until the statement ends), its rows (64 MiB for one, 32 MiB for several together), and the value that exceeded
the limit (32 MiB, as text up to 128 MiB). Blobs are copies of SQLite's memory.
"""

from __future__ import annotations

import sqlite3
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from psycopg2 import extensions

from old_application.old_rows import RowsUnreadable, SourceUnreadable, printable
from scheduler_svc.config import check_location

_WAL_HEADER = slice(18, 20)
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg2"}
_MAX_VALUE_BYTES = 32 * 1024 * 1024
"""In SQLite, where a view or a computed column can make gigabytes from a file of some bytes."""
_MAX_SQLITE_BYTES = 192 * 1024 * 1024
"""Of SQLite's own memory, which holds all values of a row before one of them is read. Counted for the process."""
_MAX_ROW_BYTES = 64 * 1024 * 1024
_MAX_ROWS_BYTES = 32 * 1024 * 1024
"""Of several rows together, because the objects made from them add to it; larger pages are read in parts."""
_LOCK_TIMEOUT = 5.0
_DEADLINE_CHECK_INTERVAL_STEPS = 100_000
"""Steps of SQLite's virtual machine between two checks of the deadline: some milliseconds."""
# The file's own schema is not trusted, and pages are checked before they are read. Without mmap, a file that is
# truncated meanwhile fails a read instead of ending the process.
_SAFETY_PRAGMAS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    f"PRAGMA hard_heap_limit = {_MAX_SQLITE_BYTES}",
)
# As text, because the driver rejects a row with a time outside Python's range. The reader of the row decides.
_TIME_AS_TEXT = extensions.new_type((1082, 1114, 1184), "TIME_AS_TEXT", lambda text, _cursor: text)
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def read_url(text: str) -> sa.URL:
    """Parses the source's URL and sets the installed driver. Raises SourceUnreadable."""
    try:
        url = sa.make_url(text.strip().replace("postgres://", "postgresql://", 1))
        if url.get_backend_name() != "sqlite":
            check_location(text.partition("://")[2])
        return url.set(drivername=_DRIVERS.get(url.get_backend_name(), url.drivername))
    except (sa.exc.ArgumentError, ValueError):
        raise SourceUnreadable(
            "the source must be a SQLAlchemy URL, such as sqlite:////srv/old/app.db or postgresql://user@host/name"
        ) from None


def name_of(url: sa.URL) -> str:
    """The default name of the source: its location, without user or password."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:{Path(url.database or '').absolute()}".encode("utf-8", "backslashreplace").decode()
    host = url.host or str(url.query.get("host", "localhost"))
    return f"{url.get_backend_name()}://{host}:{url.port or ''}/{url.database or ''}"


class OldSource:
    """A connection with one read-only transaction, which sees one snapshot."""

    def __init__(self, connection: sa.Connection, deadline: _Deadline, memory: _MemoryBudget) -> None:
        self.connection = connection
        self._deadline = deadline
        self._memory = memory

    @contextmanager
    def reading(self, *, rows: bool = False) -> Iterator[sa.Connection]:
        """The connection for one statement, whose timeout starts now. Raises SourceUnreadable.

        `rows`: raises RowsUnreadable if the driver can't read a value, or if the values exceed the limit of memory.
        """
        self._deadline.begin()
        self._memory.begin()
        with _readable(self.connection.engine, self._deadline, rows=rows):
            driver = self.connection.connection.dbapi_connection
            if isinstance(driver, sqlite3.Connection) and not driver.in_transaction:
                # SQLite had exhausted its memory, which ended the transaction: a later snapshot, if the file is in use.
                self.connection.exec_driver_sql("BEGIN")
            # In PostgreSQL a statement that fails would end the transaction.
            saves = rows and self.connection.dialect.name == "postgresql"
            with self.connection.begin_nested() if saves else nullcontext():
                yield self.connection

    @property
    def display_url(self) -> str:
        """The source's URL for messages, without its secrets."""
        return _display_url(self.connection.engine.url)


@contextmanager
def open_source(url: sa.URL, timeout: float) -> Iterator[OldSource]:
    """Opens the source. `timeout`: seconds that one statement may take. Raises SourceUnreadable."""
    deadline, memory = _Deadline(timeout), _MemoryBudget()
    engine = _engine(url, deadline, memory)
    try:
        with _readable(engine, deadline):
            connection = engine.connect()
        with connection:
            with _readable(engine, deadline):
                connection = _begin_snapshot(connection, timeout)
            yield OldSource(connection, deadline, memory)
    finally:
        engine.dispose()


class _Deadline:
    """The time at which the running statement has taken too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.begin()

    def begin(self) -> None:
        self._end = time.monotonic() + self.seconds

    def is_past(self) -> bool:
        return time.monotonic() > self._end


class _TooLarge(ValueError):
    """Values exceed the limit of memory."""


class _MemoryBudget:
    """Limits the memory of a SQLite statement's results: counts each Python object as the driver makes it."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._held = self._rows = 0

    def text(self, raw: bytes) -> str:
        """The driver's `text_factory`. Whether a row with invalid UTF-8 is used, its reader decides."""
        text = raw.decode("utf-8", "surrogateescape")
        self._hold(sys.getsizeof(text))
        return text

    def row(self, _cursor: sqlite3.Cursor, values: tuple[object, ...]) -> tuple[object, ...]:
        """The driver's `row_factory`."""
        self._hold(sys.getsizeof(values) + sum(len(value) for value in values if isinstance(value, bytes)))
        self._rows += 1
        return values

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > _MAX_ROW_BYTES and not self._rows:
            raise _TooLarge(f"its row has more than {_MAX_ROW_BYTES >> 20} MiB")
        if self._held > _MAX_ROWS_BYTES and self._rows:
            raise _TooLarge(f"its rows have more than {_MAX_ROWS_BYTES >> 20} MiB together")


def _engine(url: sa.URL, deadline: _Deadline, memory: _MemoryBudget) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        options = {"connect_timeout": 10} if url.get_backend_name() == "postgresql" else {}
        try:
            return sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)
        except (ImportError, sa.exc.NoSuchModuleError) as error:
            raise SourceUnreadable(
                f"there is no driver for {url.drivername} URLs ({error}): install it beside contentgen"
            ) from None
    path = Path(url.database or "")
    if not url.database or not _is_file(path):
        raise SourceUnreadable(f"there is no SQLite file {url.database or ''!r}")
    return sa.create_engine(url, poolclass=sa.NullPool, creator=lambda: _open_sqlite(path, deadline, memory))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has NUL
        return False


def _open_sqlite(path: Path, deadline: _Deadline, memory: _MemoryBudget) -> sqlite3.Connection:
    """Opens a file read-only; with `immutable` if it is in WAL mode and not in use: else SQLite would add two files."""
    with path.open("rb") as file:
        in_wal_mode = file.read(20)[_WAL_HEADER] == b"\x02\x02"
    alone = in_wal_mode and not path.with_name(path.name + "-wal").exists()
    options = "mode=ro&immutable=1" if alone else "mode=ro"
    wait = min(_LOCK_TIMEOUT, deadline.seconds)
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True, timeout=wait)
    connection.text_factory, connection.row_factory = memory.text, memory.row
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
    connection.set_progress_handler(deadline.is_past, _DEADLINE_CHECK_INTERVAL_STEPS)
    for pragma in _SAFETY_PRAGMAS:
        connection.execute(pragma)
    return connection


def _begin_snapshot(connection: sa.Connection, timeout: float) -> sa.Connection:
    match connection.dialect.name:
        case "sqlite":
            connection.exec_driver_sql("BEGIN")
        case "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            if connection.dialect.driver == "psycopg2":
                driver: Any = connection.connection.dbapi_connection
                extensions.register_type(_TIME_AS_TEXT, driver)
            connection.exec_driver_sql("SET datestyle = 'ISO'")
            connection.exec_driver_sql(f"SET statement_timeout = {round(timeout * 1000)}")
        case _:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    return connection


@contextmanager
def _readable(engine: sa.Engine, deadline: _Deadline, *, rows: bool = False) -> Iterator[None]:
    """Turns driver errors into SourceUnreadable; with `rows`, errors of values into RowsUnreadable."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError, ValueError, OverflowError, MemoryError) as error:
        # Frees the values: the error and SQLAlchemy's frames refer to each other, and would wait for the collector.
        traceback.clear_frames(error.__traceback__)
        of_a_value = isinstance(error, sa.exc.DataError | ValueError | OverflowError | MemoryError)
        if rows and of_a_value:
            raise RowsUnreadable(_message(error)) from None
        url = _display_url(engine.url)
        if deadline.is_past():
            raise SourceUnreadable(
                f"can't read {url}: a statement took longer than {deadline.seconds:g} s, the --source-timeout"
            ) from None
        raise SourceUnreadable(f"can't read {url}: {_message(error)}{_advice(error)}") from error


def _message(error: Exception) -> str:
    """The first line of the driver's message, made printable, because it quotes names from the file."""
    if isinstance(error, MemoryError):
        return f"SQLite would need more than {_MAX_SQLITE_BYTES >> 20} MiB of memory for it"
    first = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error).strip().partition("\n")[0]
    return printable(first)


def _advice(error: Exception) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code not in _CORRUPT:
        return ""
    return ". If the file is damaged, `sqlite3 FILE .recover | sqlite3 NEW` makes a new one of what is left of it"


def _display_url(url: sa.URL) -> str:
    """The URL without the password and without the query, which may hold it too."""
    return url.set(query={}).render_as_string(hide_password=True)
