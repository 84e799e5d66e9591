"""Old databases as SQLite files and on a PostgreSQL server: honest rows, and beside them rows of anything."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2

from lab.fuzz.inputs.rows import cell
from tests.harness.importing import LONG_AGO, SECRET, old_columns

HONEST = "honest"
"""What the texts of rows begin with that have to arrive."""
HOSTILE_IDS = 100
"""Where the ids of hostile rows begin; those of the honest ones are below, and nothing hostile names them."""
_ODD_IDS = (0, -1, -(2**63), 2**63 - 1, 10**17, 10**18)
_REFERENCES = ("account_id", "content_id", "generation_task_id")

Row = dict[str, Any]
Rows = dict[str, list[Row]]
"""The rows of each table, by its name."""
Columns = Mapping[str, Mapping[str, str]]
"""Of each table: by name, what they are declared as; the id is the first one."""
COLUMNS: Columns = {
    table: {column.name: str(column.type.compile()) for column in columns} | {"id": "INTEGER PRIMARY KEY"}
    for table, columns in old_columns().items()
}


def honest_rows() -> Rows:
    """Returns a pending task, a failed one, and a completed one whose content is in the pool: each can be taken."""
    account = {"id": 1, "name": f"{HONEST} account", "is_active": 1, "wechat_app_secret": SECRET}
    tasks = [
        {"id": number, "task_id": f"{HONEST}-{number}", "account_id": 1, "topic": f"{HONEST} {number}"}
        | {"status": status, "created_at": LONG_AGO.isoformat(), "completed_at": LONG_AGO.isoformat()}
        for number, status in enumerate(("pending", "failed", "completed"), 1)
    ]
    tasks[2]["content_id"] = 3
    content = {"id": 3, "account_id": 1, "title": f"{HONEST} content", "content": "# an article"}
    content |= {"generation_task_id": f"{HONEST}-3", "review_status": "approved"}
    entry = {"id": 3, "content_id": 3, "priority": 1, "status": "pending"}
    return dict(zip(COLUMNS, ([account], tasks, [content], [entry]), strict=True))


def random_rows(source: random.Random) -> Rows:
    """Returns the honest rows, and hostile ones among them."""
    rows = honest_rows()
    hostile = source.choice((0.05, 0.3, 1.0))
    for table, own in rows.items():
        own += [_hostile_row(table, number, hostile, source) for number in range(source.randrange(12))]
        source.shuffle(own)
    return rows


def _hostile_row(table: str, number: int, hostile: float, source: random.Random) -> Row:
    cells = {name: cell(name, hostile, source) for name in COLUMNS[table] if source.random() < 0.95}
    row = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in cells.items()}
    references = {name: _reference(name, source) for name in _REFERENCES if name in row}
    odd = source.random() < 0.1
    own_id = HOSTILE_IDS + number
    own_name = {"task_id": f"task-{own_id}"} if "task_id" in row and source.random() < 0.5 else {}
    return row | references | own_name | {"id": source.choice(_ODD_IDS) if odd else own_id}


def _reference(name: str, source: random.Random) -> object:
    """Makes one of what is there, of what is not, or of nothing that could be."""
    if name == "account_id" and source.random() < 0.5:
        return 1
    near = HOSTILE_IDS + source.randrange(12)
    if name == "generation_task_id":
        return source.choice((f"task-{near}", near, None, b"task-1"))
    return source.choice((near, near, near, 10**6, -1, str(2**63), 1e300, b"100", None, "x"))


def of_other_types(types: Sequence[str], source: random.Random) -> Columns:
    """Declares half of the columns as one of these, but for the ids."""
    return {
        table: {
            name: source.choice(types) if name != "id" and source.random() < 0.5 else kind
            for name, kind in columns.items()
        }
        for table, columns in COLUMNS.items()
    }


def write_file(
    path: Path, rows: Rows, columns: Columns = COLUMNS, *, before: str = "", after: Iterable[str] = ()
) -> None:
    """Writes a SQLite file; statements come before its tables are made and after all rows are there."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(f"{before}; BEGIN")
        for table, kinds in columns.items():
            database.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in kinds.items())})")
            for row in rows[table]:
                values = [_bound(value) for value in row.values()]
                holes = ", ".join(hole for hole, _ in values)
                insert = f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({holes})"
                database.execute(insert, [value for _, value in values])
        for statement in (*after, "COMMIT"):
            database.execute(statement)


def _bound(value: object) -> tuple[str, object]:
    """Returns where and what the driver can bind: lone surrogates as the bytes of a text."""
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        return "CAST(? AS TEXT)", value.encode("utf-8", "surrogatepass")
    return "?", value


_ON_SERVER = {"INTEGER": "bigint", "INTEGER PRIMARY KEY": "bigint", "DATETIME": "timestamptz", "VARCHAR": "text"}
_FITTING = """
    CREATE FUNCTION pg_temp.fitting(value text, type text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('SELECT CAST($1 AS %s)', type) USING value;
        RETURN value;
    EXCEPTION WHEN OTHERS THEN
        RETURN NULL;
    END $$
"""


def write_to_server(dsn: str, rows: Rows, columns: Columns = COLUMNS, *, after: Iterable[str] = ()) -> None:
    """Writes into an empty PostgreSQL database; what a column can't hold is NULL there."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(_FITTING)
        for table, declared in columns.items():
            kinds = {name: _ON_SERVER.get(kind.partition("(")[0], kind) for name, kind in declared.items()}
            cursor.execute(f"CREATE TABLE {table} ({', '.join(f'{name} text' for name in kinds)})")
            for row in rows[table]:
                insert = f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(kinds))})"
                cursor.execute(insert, [_text(row.get(name)) for name in kinds])
            fitting = "ALTER {0} TYPE {1} USING CAST(pg_temp.fitting({0}, '{1}') AS {1})"
            typed = ", ".join(fitting.format(name, kind) for name, kind in kinds.items())
            cursor.execute(f"ALTER TABLE {table} {typed}")
        for statement in after:
            cursor.execute(statement)


def _text(value: object) -> str | None:
    """Returns the value as a text, where a server takes that."""
    return None if value is None or re.search("[\0\ud800-\udfff]", str(value)) else str(value)
