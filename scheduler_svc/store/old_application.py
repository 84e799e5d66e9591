"""Reads the old application's tables, whatever database they are in; nothing is written there, and no secret is read.

All reads are of one transaction, and so of one moment. Rows are read by ranges and lists of their keys: what is held is
one page. Driver errors become SourceUnreadable here.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from scheduler_svc.domain.old_rows import Kind, OldRow, SourceUnreadable

_REQUIRED = {
    Kind.ACCOUNT: ("accounts", ("id", "name")),
    Kind.TASK: ("content_generation_tasks", ("id", "task_id", "account_id")),
    Kind.CONTENT: ("contents", ("id", "account_id", "title", "content")),
    Kind.POOL_ENTRY: ("publish_pool", ("id", "content_id")),
}
_OPTIONAL = {
    Kind.ACCOUNT: ("directory_name", "is_active", "created_at"),
    Kind.TASK: (
        "content_id", "topic", "keywords", "category", "requirements", "tone", "status", "priority", "retry_count",
        "max_retries", "submitted_at", "started_at", "completed_at", "result", "error_message", "auto_approve",
        "created_at", "updated_at",
    ),
    Kind.CONTENT: (
        "summary", "category", "topic", "image_url", "cover_image", "images", "review_status", "review_comment",
        "generation_task_id", "created_at",
    ),
    Kind.POOL_ENTRY: ("priority", "scheduled_at", "status", "last_error"),
}  # fmt: skip
"""What is asked for and may be missing. Whatever is not named here is never read."""

_WAL_HEADER = slice(18, 20)
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg2"}


def read_url(text: str) -> sa.URL:
    """The source's URL, with a driver that is there. Raises SourceUnreadable."""
    try:
        url = sa.make_url(text.strip().replace("postgres://", "postgresql://", 1))
    except sa.exc.ArgumentError:
        raise SourceUnreadable(
            "the source must be a SQLAlchemy URL, such as sqlite:////srv/old/app.db or postgresql://user@host/name"
        ) from None
    return url.set(drivername=_DRIVERS.get(url.get_backend_name(), url.drivername))


def name_of(url: sa.URL) -> str:
    """What the source is called unless told otherwise: where it is, without who reads it."""
    if url.get_backend_name() == "sqlite":
        return f"sqlite:{Path(url.database or '').absolute()}"
    host = url.host or str(url.query.get("host", "localhost"))
    return f"{url.get_backend_name()}://{host}:{url.port or ''}/{url.database or ''}"


@contextmanager
def open_old_application(url: sa.URL) -> Iterator[OldDatabase]:
    """The old application's data as it is now. Raises SourceUnreadable where that can't be read."""
    engine = _engine(url)
    try:
        with _connect(engine) as connection:
            yield OldDatabase(connection)
    finally:
        engine.dispose()


class OldDatabase:
    """Implements `application.import_ports.OldApplication` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        """Looks at which tables and columns there are. Raises SourceUnreadable where the required ones are missing."""
        self._connection = connection
        with _readable(connection.engine):
            self._tables = {kind: _table(connection, kind) for kind in Kind}
        for kind in (Kind.ACCOUNT, Kind.TASK):
            if self._tables[kind] is None:
                raise SourceUnreadable(
                    f"{_shown(connection.engine)} has no table {_REQUIRED[kind][0]}: it is no database of the old"
                    " application"
                )

    def count(self, kind: Kind) -> int:
        """How many rows there are."""
        table = self._tables[kind]
        return 0 if table is None else int(self._read(sa.select(sa.func.count()).select_from(table))[0][0])

    def ids(self, kind: Kind, after: int | None, limit: int) -> list[int]:
        """The keys of the next rows, in their order."""
        table = self._tables[kind]
        if table is None:
            return []
        query = sa.select(table.c.id).order_by(table.c.id).limit(limit)
        return [row[0] for row in self._read(query if after is None else query.where(table.c.id > after))]

    def rows(self, kind: Kind, ids: Iterable[int]) -> list[OldRow]:
        """Those of these rows that there are, by their keys."""
        return self._rows(kind, "id", ids)

    def contents_of(self, task_ids: Iterable[str]) -> list[OldRow]:
        """Contents that name one of these tasks; where several name one, the oldest comes last."""
        return self._rows(Kind.CONTENT, "generation_task_id", task_ids)[::-1]

    def in_pool(self, content_ids: Iterable[int]) -> set[int]:
        """Those of these contents that stand in the publish pool."""
        return self._contents(Kind.POOL_ENTRY, "content_id", content_ids)

    def rejected(self, content_ids: Iterable[int]) -> set[int]:
        """Those of these contents that a review has rejected."""
        table = self._tables[Kind.CONTENT]
        if table is None or "review_status" not in table.c:
            return set()
        return self._contents(Kind.CONTENT, "id", content_ids, sa.func.lower(table.c.review_status) == "rejected")

    def _rows(self, kind: Kind, column: str, values: Iterable[object]) -> list[OldRow]:
        table, wanted = self._tables[kind], list(values)
        if table is None or column not in table.c or not wanted:
            return []
        query = sa.select(table).where(table.c[column].in_(wanted)).order_by(table.c.id)
        return [OldRow(row._asdict()) for row in self._read(query)]

    def _contents(self, kind: Kind, column: str, ids: Iterable[int], *conditions: sa.ColumnElement[bool]) -> set[int]:
        table, wanted = self._tables[kind], list(ids)
        if table is None or not wanted:
            return set()
        query = sa.select(table.c[column]).where(table.c[column].in_(wanted), *conditions)
        return {row[0] for row in self._read(query)}

    def _read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        with _readable(self._connection.engine):
            return self._connection.execute(query).fetchall()


def _table(connection: sa.Connection, kind: Kind) -> sa.TableClause | None:
    """The table with those of its columns that are asked for; None where there is no such table.

    Without types, so that values come as the driver has them, whatever the column was declared as.
    """
    name, required = _REQUIRED[kind]
    inspector = sa.inspect(connection)
    if not inspector.has_table(name):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # a type that SQLAlchemy does not know is none of ours
        there = {column["name"] for column in inspector.get_columns(name)}
    if missing := [column for column in required if column not in there]:
        raise SourceUnreadable(
            f"{_shown(connection.engine)}: table {name} has no column {', '.join(missing)}: it is no table of the old"
            " application"
        )
    return sa.table(name, *[sa.column(column) for column in (*required, *_OPTIONAL[kind]) if column in there])


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        options = {"connect_timeout": 10} if url.get_backend_name() == "postgresql" else {}
        try:
            return sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)
        except (ImportError, sa.exc.NoSuchModuleError) as error:
            raise SourceUnreadable(
                f"there is no driver for {url.drivername} URLs ({error}): install it beside contentgen"
            ) from None
    if not url.database or not Path(url.database).is_file():
        raise SourceUnreadable(f"there is no SQLite file {url.database or ''!r}")
    return sa.create_engine(url, poolclass=sa.NullPool, creator=lambda: _open_sqlite(Path(str(url.database))))


def _open_sqlite(path: Path) -> sqlite3.Connection:
    """Read-only. A file in WAL mode that nobody has open would be given two more beside it, but for `immutable`."""
    with path.open("rb") as file:
        in_wal_mode = file.read(20)[_WAL_HEADER] == b"\x02\x02"
    alone = in_wal_mode and not path.with_name(path.name + "-wal").exists()
    options = "mode=ro&immutable=1" if alone else "mode=ro"
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{options}", uri=True)
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")  # judged row by row
    return connection


@contextmanager
def _connect(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection whose one transaction sees one moment and can't write."""
    with _readable(engine):
        connection = engine.connect()
    with connection:
        with _readable(engine):
            match engine.dialect.name:
                case "sqlite":
                    connection.exec_driver_sql("BEGIN")
                case "postgresql":
                    connection = connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                case _:
                    connection = connection.execution_options(isolation_level="REPEATABLE READ")
                    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        yield connection


@contextmanager
def _readable(engine: sa.Engine) -> Iterator[None]:
    """What the driver says becomes SourceUnreadable; but a value that it can't take is a matter of its row."""
    try:
        yield
    except sa.exc.DataError:
        raise
    except sa.exc.SQLAlchemyError as error:
        said = str(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
        raise SourceUnreadable(f"can't read {_shown(engine)}: {said.strip().partition(chr(10))[0]}") from error


def _shown(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
