"""Reads the old application's tables from any kind of database. Writes nothing, and reads no secrets.

All reads see one snapshot. Rows are read by ranges and lists of their keys, so at most one page is in memory, and less
if its rows are large. `source` has the connection, and counts the memory of SQLite's rows; on a server, `_check_size`
asks for the size first.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from old_application.old_rows import MAX_ID, OldRow, RowKind, RowsUnreadable, SourceUnreadable
from old_application.old_source import OldSource
from old_application.source import PAGE
from scheduler_svc.domain.task import TEXTS

_REQUIRED = {
    RowKind.ACCOUNT: ("accounts", ("id", "name")),
    RowKind.TASK: ("content_generation_tasks", ("id", "task_id", "account_id")),
    RowKind.CONTENT: ("contents", ("id", "account_id", "title", "content")),
    RowKind.POOL_ENTRY: ("publish_pool", ("id", "content_id")),
}
_OPTIONAL = {
    RowKind.ACCOUNT: ("directory_name", "is_active", "created_at"),
    RowKind.TASK: (
        *TEXTS, "content_id", "status", "priority", "retry_count", "max_retries", "submitted_at", "started_at",
        "completed_at", "result", "error_message", "auto_approve", "created_at", "updated_at",
    ),
    RowKind.CONTENT: (
        "summary", "category", "topic", "image_url", "cover_image", "images", "review_status", "review_comment",
        "generation_task_id", "created_at",
    ),
    RowKind.POOL_ENTRY: ("priority", "scheduled_at", "status", "last_error"),
}  # fmt: skip
"""Columns that are read if they exist. Columns that are not named here are never read."""

_MAX_PAGE_BYTES = 32 * 1024 * 1024
"""Of a server's rows as UTF-8, which may take four times as much in Python; a larger page is halved."""
_FETCH_SIZE = 20
"""Rows that are fetched from a server at a time."""


class OldDatabase:
    """The database that is imported, as of its opening, on one connection.

    All methods raise SourceUnreadable; those that return rows, or find rows by keys, also RowsUnreadable. Rows whose
    keys are no integers of at most 18 digits count only in `count` and `without_id`.
    """

    def __init__(self, source: OldSource) -> None:
        """Reads which tables and columns exist. Raises SourceUnreadable if required ones are missing."""
        self._source = source
        self._tables = {kind: _table(source, kind) for kind in RowKind}
        for kind in (RowKind.ACCOUNT, RowKind.TASK):
            if self._tables[kind] is None:
                raise SourceUnreadable(
                    f"{source.display_url} has no table {_REQUIRED[kind][0]}: it is no database of the old application"
                )

    def count(self, kind: RowKind) -> int:
        return self._count(kind, sa.true())

    def without_id(self, kind: RowKind) -> int:
        """How many rows have no key by which others can refer to them."""
        table = self._tables[kind]
        return 0 if table is None else self._count(kind, sa.not_(sa.func.coalesce(self._has_id(table), sa.false())))

    def pages(self, kind: RowKind) -> Iterator[list[int]]:
        """The distinct keys of the rows, in ascending order, so many at a time as a transaction takes."""
        table = self._tables[kind]
        first = -MAX_ID
        while table is not None and (ids := self._ids(table, first)):
            yield ids
            first = ids[-1] + 1

    def _ids(self, table: sa.TableClause, first: int) -> list[int]:
        query = sa.select(table.c.id).distinct().where(self._has_id(table), table.c.id >= first)
        with self._source.reading() as connection:
            ids = [int(row[0]) for row in connection.execute(query.order_by(table.c.id).limit(PAGE))]
        if any(one >= other for one, other in pairwise([first - 1, *ids])):  # else the same page would be read again
            raise SourceUnreadable(
                f"{self._source.display_url}: the rows of {table.name} are out of order: the database is damaged"
            )
        return ids

    def rows(self, kind: RowKind, ids: Iterable[int]) -> list[OldRow]:
        """The rows with these keys; missing ones are left out."""
        return self._rows(kind, "id", ids)

    def contents_of(self, task_ids: Iterable[str]) -> list[OldRow]:
        """Contents that name one of these tasks; if several name the same one, the oldest comes last."""
        return self._rows(RowKind.CONTENT, "generation_task_id", task_ids)[::-1]

    def in_pool(self, content_ids: Iterable[int]) -> set[int]:
        return self._contents(RowKind.POOL_ENTRY, "content_id", content_ids)

    def rejected(self, content_ids: Iterable[int]) -> set[int]:
        table = self._tables[RowKind.CONTENT]
        if table is None or "review_status" not in table.c:
            return set()
        return self._contents(RowKind.CONTENT, "id", content_ids, sa.func.lower(table.c.review_status) == "rejected")

    def _rows(self, kind: RowKind, column: str, values: Iterable[object]) -> list[OldRow]:
        table, keys = self._tables[kind], list(values)
        if table is None or column not in table.c or not keys:
            return []
        query = sa.select(table).where(self._has_id(table), table.c[column].in_(keys)).order_by(table.c.id)
        self._check_size(query)
        with self._source.reading(rows=True) as connection:
            result = connection.execute(query.execution_options(yield_per=_FETCH_SIZE))
            rows = [row._asdict() for row in result]
        copies = Counter(row["id"] for row in rows) if column == "id" else self._copies(table, rows)
        return [OldRow(row, copies[row["id"]]) for row in {row["id"]: row for row in rows}.values()]

    def _check_size(self, query: sa.Select[Any]) -> None:
        """Raises RowsUnreadable if the rows are too large: a server's driver would load all of them into memory."""
        if self._is_sqlite:
            return
        rows = query.order_by(None).subquery()
        texts = [sa.func.coalesce(sa.func.octet_length(sa.cast(column, sa.Text)), 0) for column in rows.c]
        with self._source.reading(rows=True) as connection:
            size = connection.execute(sa.select(sa.func.sum(sum(texts, sa.literal(0))))).scalar() or 0
        if size > _MAX_PAGE_BYTES:
            raise RowsUnreadable(f"its row has more than {_MAX_PAGE_BYTES >> 20} MiB")

    def _copies(self, table: sa.TableClause, rows: Iterable[Mapping[str, object]]) -> dict[object, int]:
        """How many rows of the table have each of these rows' keys."""
        if not (keys := {row["id"] for row in rows}):
            return {}
        query = sa.select(table.c.id, sa.func.count()).where(table.c.id.in_(keys)).group_by(table.c.id)
        with self._source.reading(rows=True) as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def _contents(
        self, kind: RowKind, column: str, ids: Iterable[int], *conditions: sa.ColumnElement[bool]
    ) -> set[int]:
        table, keys = self._tables[kind], list(ids)
        if table is None or not keys:
            return set()
        query = sa.select(table.c[column]).where(table.c[column].in_(keys), *conditions)
        with self._source.reading(rows=True) as connection:
            return {int(row[0]) for row in connection.execute(query)}

    def _count(self, kind: RowKind, condition: sa.ColumnElement[bool]) -> int:
        table = self._tables[kind]
        if table is None:
            return 0
        with self._source.reading() as connection:
            query = sa.select(sa.func.count()).select_from(table).where(condition)
            return int(connection.execute(query).scalar_one())

    def _has_id(self, table: sa.TableClause) -> sa.ColumnElement[bool]:
        """In SQLite a column may hold values of any type, and numbers sort below all others."""
        fits = table.c.id.between(sa.literal_column(str(-MAX_ID)), sa.literal_column(str(MAX_ID)))
        return sa.and_(sa.func.typeof(table.c.id) == "integer", fits) if self._is_sqlite else fits

    @property
    def _is_sqlite(self) -> bool:
        return self._source.connection.dialect.name == "sqlite"


def _table(source: OldSource, kind: RowKind) -> sa.TableClause | None:
    """The table with the columns that are read; None if it does not exist.

    Without types, so that values come as the driver returns them, whatever type the column declares.
    """
    name, required = _REQUIRED[kind]
    with source.reading() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)  # types that SQLAlchemy does not know do not matter here
        inspector = sa.inspect(connection)
        if not inspector.has_table(name):
            return None
        columns = {column["name"]: column["type"] for column in inspector.get_columns(name)}
    if missing := [column for column in required if column not in columns]:
        raise SourceUnreadable(
            f"{source.display_url}: table {name} has no column {', '.join(missing)}: it is no table of the old"
            " application"
        )
    if source.connection.dialect.name != "sqlite" and not isinstance(columns["id"], sa.Integer | sa.Numeric):
        raise SourceUnreadable(
            f"{source.display_url}: table {name}: id should be a whole number, is {columns['id']}: it is no table of"
            " the old application"
        )
    return sa.table(name, *[sa.column(column) for column in (*required, *_OPTIONAL[kind]) if column in columns])
