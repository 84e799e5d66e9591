"""An old database on a PostgreSQL server: the same draft, in columns of the server's types, and what only they hold."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime

import psycopg2
import sqlalchemy as sa
from psycopg2 import sql

from lab.fuzz.old_databases.draft import HOSTILE_IDS, Draft, Row, Table

_TYPES = {"INTEGER": "bigint", "BOOLEAN": "boolean", "DATETIME": "timestamptz", "JSON": "json"}
_OTHERS = (
    "text", "bytea", "double precision", "numeric", "smallint", "json", "jsonb", "text[]", "timestamp", "timestamptz",
    "date", "interval", "uuid", "inet", "char(3)", "tsvector", "money", "int4range", "point", "bit(3)",
)  # fmt: skip
_TIMES = ("infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59", "0001-01-01 00:00:00+14", "epoch")
_NUMBERS = ("NaN", "Infinity", "1e300", "9" * 100, "0.1")


def put(draft: Draft, url: str, source: random.Random, other_types: float) -> None:
    """Writes the draft into an empty database; what a column can't hold is NULL. `other_types`: of so many columns."""
    with closing(psycopg2.connect(_dsn(url))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for table in draft.tables.values():
            types = {name: _type(type_text, name, source, other_types) for name, type_text in table.columns.items()}
            columns = sql.SQL(", ").join(
                sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in types.items()
            )
            cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(table.name), columns))
            for row in table.rows:
                _insert(cursor, table, {name: row[name] for name in types if name in row}, types, source)
        for statement in draft.after:
            cursor.execute(statement)


def _type(type_text: str, name: str, source: random.Random, chance: float) -> str:
    """As the old application's tables have it there, or another one; keys are whole numbers of some size."""
    if name == "id":
        return source.choice(("bigint", "numeric", "integer")) if chance else "bigint"
    return source.choice(_OTHERS) if source.random() < chance else _TYPES.get(type_text.partition(" ")[0], "text")


def _insert(
    cursor: psycopg2.extensions.cursor, table: Table, row: Row, types: dict[str, str], source: random.Random
) -> None:
    """Value by value, so that what one column refuses leaves the others as they are."""
    values = dict(row)
    if isinstance(values.get("id"), int) and int(str(values["id"])) >= HOSTILE_IDS:
        values |= {name: _of(kind, source, values.get(name)) for name, kind in types.items() if name != "id"}
    fitting = {
        name: text for name, value in values.items() if (text := _fitting(cursor, value, types[name])) is not None
    }
    names = sql.SQL(", ").join(map(sql.Identifier, fitting))
    holes = sql.SQL(", ").join(sql.SQL("CAST(%s AS " + types[name] + ")") for name in fitting)
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table.name), names, holes)
    with suppress(psycopg2.Error):
        cursor.execute(insert, list(fitting.values()))


def _of(kind: str, source: random.Random, value: object) -> object:
    """Returns what only a column of that type can hold, at times."""
    if source.random() < 0.8:
        return value
    if kind in {"timestamp", "timestamptz", "date"}:
        return source.choice(_TIMES)
    return source.choice(_NUMBERS) if kind in {"numeric", "double precision"} else value


def _fitting(cursor: psycopg2.extensions.cursor, value: object, kind: str) -> str | None:
    """Returns the text of the value where a column of that type takes it."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    try:
        cursor.execute(sql.SQL("SELECT CAST(%s AS " + kind + ")::text"), [text])
    except (psycopg2.Error, ValueError):
        return None
    return text


def _dsn(url: str) -> str:
    return str(sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False))


@contextmanager
def without_rights(url: str, source: random.Random) -> Iterator[str]:
    """The URL of a role that may not read one of the tables."""
    role = f"reader_{source.getrandbits(32)}"
    with closing(psycopg2.connect(_dsn(url))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        cursor.execute(f"REVOKE SELECT ON {source.choice(('accounts', 'contents'))} FROM {role}")
        try:
            yield sa.make_url(url).set(username=role).render_as_string(hide_password=False)
        finally:
            cursor.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
