"""An old database before it is written: its tables, rows of anything, and how a shape spoils them."""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from lab.fuzz.inputs.rows import cell
from tests.harness.importing import LONG_AGO, SECRET, old_columns

HONEST = "honest"
"""What the texts of rows begin with that have to arrive."""
HONEST_TASKS = 3
HOSTILE_IDS = 100
"""Where the ids of hostile rows begin; those of the honest ones are below, and nothing hostile names them."""
ODD_IDS = (0, -1, -(2**63), 2**63 - 1, 10**17, 10**18)
_REFERENCES = ("account_id", "content_id", "generation_task_id")
_INT64 = range(-(2**63), 2**63)

Row = dict[str, Any]


@dataclass
class Table:
    """A table, or what is given out as one: `source` is what a view shows instead of the rows."""

    name: str
    columns: dict[str, str]
    """By name, what each is declared as."""
    rows: list[Row] = field(default_factory=list)
    suffix: str = ""
    """What follows the columns, such as WITHOUT ROWID."""

    def declaration(self) -> str:
        columns = ", ".join(f"{quoted(name)} {type_text}" for name, type_text in self.columns.items())
        return f"CREATE TABLE {quoted(self.name)} ({columns}){self.suffix}"

    def insert(self, database: sqlite3.Connection) -> None:
        """The rows, without the cells of columns that there are none of; what a constraint refuses is not put in."""
        for row in self.rows:
            present = {name: value for name, value in row.items() if name in self.columns}
            values = [_bound(value) for value in present.values()]
            holes = ", ".join("CAST(? AS TEXT)" if is_bytes else "?" for _, is_bytes in values)
            names = ", ".join(map(quoted, present))
            database.execute(
                f"INSERT OR IGNORE INTO {quoted(self.name)} ({names}) VALUES ({holes})", [value for value, _ in values]
            )


@dataclass
class Draft:
    tables: dict[str, Table]
    before: list[str] = field(default_factory=list)
    """Statements before the tables are made, such as the encoding."""
    after: list[str] = field(default_factory=list)
    """Statements when all rows are there: views, triggers."""

    def write(self, path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for statement in (*self.before, "BEGIN"):
                database.execute(statement)
            for table in self.tables.values():
                database.execute(table.declaration())
                table.insert(database)
            database.execute("COMMIT")
            for statement in self.after:
                database.execute(statement)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _bound(value: object) -> tuple[object, bool]:
    """What the driver can bind, and whether it is the bytes of a text: lone surrogates, numbers beyond 64 bits."""
    if isinstance(value, datetime):
        return value.isoformat(), False
    if isinstance(value, int) and value not in _INT64:
        return str(value).encode(), True
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        return value.encode("utf-8", "surrogatepass"), True
    return value, False


def honest() -> Draft:
    """Returns the old application's tables with a few rows, of which each can be taken."""
    tables = {}
    for name, columns in old_columns().items():  # declared as to SQLite, but for NOT NULL, which would keep rows out
        types = {column.name: str(column.type.compile()) for column in columns}
        tables[name] = Table(name, types | {"id": "INTEGER PRIMARY KEY"})
    _add_honest(tables)
    return Draft(tables)


def random_draft(source: random.Random) -> Draft:
    """Returns the old application's tables with honest rows, and hostile ones beside them."""
    result = honest()
    hostile = source.choice((0.05, 0.3, 1.0))
    for table in result.tables.values():
        table.rows += [_hostile_row(table, number, hostile, source) for number in range(source.randrange(12))]
        source.shuffle(table.rows)
    return result


def _add_honest(tables: Mapping[str, Table]) -> None:
    """A pending task, a failed one, and a completed one whose content is in the pool."""
    start = LONG_AGO.isoformat()
    account = {"id": 1, "name": f"{HONEST} account", "is_active": 1, "wechat_app_secret": SECRET}
    tables["accounts"].rows.append(account)
    for number, status in enumerate(("pending", "failed", "completed"), 1):
        row = {"id": number, "task_id": f"{HONEST}-{number}", "account_id": 1, "topic": f"{HONEST} {number}"}
        content_id = number if status == "completed" else None
        tables["content_generation_tasks"].rows.append(
            row | {"status": status, "created_at": start, "completed_at": start, "content_id": content_id}
        )
    content = {"id": 3, "account_id": 1, "title": f"{HONEST} content", "content": "# an article"}
    tables["contents"].rows.append(content | {"generation_task_id": f"{HONEST}-3", "review_status": "approved"})
    tables["publish_pool"].rows.append({"id": 3, "content_id": 3, "priority": 1, "status": "pending"})


def _hostile_row(table: Table, number: int, hostile: float, source: random.Random) -> Row:
    row = {name: cell(name, hostile, source) for name in table.columns if source.random() < 0.95}
    references = {name: _reference(name, source) for name in _REFERENCES if name in row}
    odd = source.random() < 0.1
    own_id = HOSTILE_IDS + number
    own_name = {"task_id": f"task-{own_id}"} if "task_id" in row and source.random() < 0.5 else {}
    return row | references | own_name | {"id": source.choice(ODD_IDS) if odd else own_id}


def _reference(name: str, source: random.Random) -> object:
    """Of what is there, of what is not, or of nothing that could be."""
    if name == "account_id" and source.random() < 0.5:
        return 1
    near = HOSTILE_IDS + source.randrange(12)
    if name == "generation_task_id":
        return source.choice((f"task-{near}", near, None, b"task-1"))
    return source.choice((near, near, near, 10**6, -1, 2**63, 1e300, b"100", None, "x"))


Spoil = Callable[[Draft, random.Random], None]

TASKS, CONTENTS = "content_generation_tasks", "contents"
_REQUIRED = {
    "accounts": ("id", "name"),
    TASKS: ("id", "task_id", "account_id"),
    CONTENTS: ("id", "account_id", "title", "content"),
    "publish_pool": ("id", "content_id"),
}
_TYPES = ("TEXT", "BLOB", "REAL", "NUMERIC", "INT", "VARCHAR(3)", "nonsense (1, 2)", "", '"DATE TIME"(9999999999)')
_NAMES = ("accounts ", "ACCOUNTS2", "\u202econtents", "a\x1b[31mb", "select", "'; DROP TABLE tasks; --", "人" * 200)


def nothing(draft: Draft, source: random.Random) -> None:
    """The values alone are hostile."""


def optional_columns_missing(draft: Draft, source: random.Random) -> None:
    for table, column in _columns(draft):
        if column not in {*_REQUIRED[table.name], "topic", "content_id"} and source.random() < 0.3:
            del table.columns[column]


def required_column_missing(draft: Draft, source: random.Random) -> None:
    table = source.choice(list(draft.tables.values()))
    del table.columns[source.choice(_REQUIRED[table.name])]


def column_renamed(draft: Draft, source: random.Random) -> None:
    table, column = source.choice(list(_columns(draft)))
    type_text = table.columns.pop(column)
    table.columns[source.choice((column + " ", column + "s", "новое", f"{column}\n"))] = type_text


def table_missing(draft: Draft, source: random.Random) -> None:
    del draft.tables[source.choice(list(draft.tables))]


def no_table(draft: Draft, source: random.Random) -> None:
    draft.tables.clear()


def other_types(draft: Draft, source: random.Random) -> None:
    for table, column in _columns(draft):
        if column != "id" and source.random() < 0.5:
            table.columns[column] = source.choice(_TYPES)


def ids_of_other_types(draft: Draft, source: random.Random) -> None:
    for table in draft.tables.values():
        table.columns["id"] = source.choice((*_TYPES, "TEXT PRIMARY KEY", "REAL PRIMARY KEY", "INTEGER"))
        for row in table.rows:
            if source.random() < 0.3:
                row["id"] = source.choice((None, "x", b"1", 1.5, 1e300, "7", " 7", "", 7.0, 2**63))


def ids_twice(draft: Draft, source: random.Random) -> None:
    """Hostile rows only, so that the honest ones stay what they are."""
    for table in draft.tables.values():
        table.columns["id"] = source.choice(("INTEGER", "INT", ""))
        for row in [row for row in table.rows if row["id"] >= HOSTILE_IDS]:
            table.rows += [row | {"id": source.choice((row["id"], None))} for _ in range(source.randrange(4))]


def without_an_id(draft: Draft, source: random.Random) -> None:
    """More rows than a page has, whose id is NULL."""
    table = source.choice(list(draft.tables.values()))
    table.columns["id"] = "INTEGER"
    table.rows += [{"id": None, "account_id": 1, "content_id": 1, "topic": "x", "name": "x"}] * 1_100


def a_view(draft: Draft, source: random.Random) -> None:
    _show(draft, source.choice(list(draft.tables)), {})


def _show(draft: Draft, name: str, computed: Mapping[str, str]) -> None:
    """A view in the table's place, with its rows but for the columns that are computed."""
    table = draft.tables[name]
    table.name = f"{name}_rows"
    columns = ", ".join(f"{computed.get(column, column)} AS {column}" for column in table.columns)
    draft.after.append(f"CREATE VIEW {name} AS SELECT {columns} FROM {table.name}")


def an_endless_view(draft: Draft, source: random.Random) -> None:
    table = draft.tables.pop(source.choice(list(draft.tables)))
    columns = ", ".join(f"n AS {name}" for name in table.columns)
    draft.after.append(
        f"CREATE VIEW {table.name} AS WITH RECURSIVE every(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM every)"
        f" SELECT {columns} FROM every"
    )


def computed_texts(draft: Draft, source: random.Random) -> None:
    """A file of some bytes with a text of up to a gigabyte in each row."""
    table, column = source.choice([(t, c) for t, c in _columns(draft) if c not in _REQUIRED[t.name]])
    size = source.choice((10, 100_000, 1_000_000, 10_000_000, 400_000_000, 2_000_000_000))
    _show(draft, table.name, {column: f"hex(zeroblob({size}))"})


def triggers(draft: Draft, source: random.Random) -> None:
    for name, event in product(draft.tables, ("INSERT", "UPDATE", "DELETE")):
        trigger = f"CREATE TRIGGER {name}_{event} BEFORE {event} ON {name}"
        draft.after.append(f"{trigger} BEGIN SELECT RAISE(FAIL, 'x'); END")


def more_tables(draft: Draft, source: random.Random) -> None:
    for name in _NAMES:
        draft.after.append(f"CREATE TABLE {quoted(name)} (id)")


def without_rowid(draft: Draft, source: random.Random) -> None:
    for table in draft.tables.values():
        table.suffix = " WITHOUT ROWID"


def no_rows(draft: Draft, source: random.Random) -> None:
    for table in draft.tables.values():
        table.rows.clear()


def many_columns(draft: Draft, source: random.Random) -> None:
    table = source.choice(list(draft.tables.values()))
    table.columns |= {f"column {number}": source.choice(_TYPES) for number in range(1_900)}


def many_rows(draft: Draft, source: random.Random) -> None:
    """More than a page of some table, the hostile rows again and again among them."""
    table = source.choice(list(draft.tables.values()))
    rows: list[Row] = [row for row in table.rows if row["id"] >= HOSTILE_IDS][:10] or [{"account_id": 1}]
    table.rows += [source.choice(rows) | {"id": 1_000 + number, "task_id": f"t{number}"} for number in range(1_100)]


def long_texts(draft: Draft, source: random.Random) -> None:
    for table, column in source.choices([(t, c) for t, c in _columns(draft) if c != "id"], k=3):
        for row in [row for row in table.rows if row["id"] >= HOSTILE_IDS][:2]:
            row[column] = source.choice(("a", "人", "\U0001f600", "[", "\0")) * 10_000_000


def cycles(draft: Draft, source: random.Random) -> None:
    """Tasks and contents that name each other crosswise, and several of them the same."""
    ids = range(HOSTILE_IDS + 50, HOSTILE_IDS + 60)
    for number in ids:
        task = {"id": number, "account_id": 1, "topic": "x", "status": "completed", "task_id": f"task-{number}"}
        draft.tables[TASKS].rows.append(task | {"content_id": source.choice((*ids, None))})
        content = {"id": number, "account_id": 1, "title": "x", "content": "x"}
        draft.tables[CONTENTS].rows.append(content | {"generation_task_id": f"task-{source.choice(ids)}"})
        draft.tables["publish_pool"].rows.append({"id": number, "content_id": source.choice(ids)})


def another_encoding(draft: Draft, source: random.Random) -> None:
    draft.before.append(f"PRAGMA encoding = '{source.choice(('UTF-16le', 'UTF-16be'))}'")


def another_layout(draft: Draft, source: random.Random) -> None:
    draft.before += [f"PRAGMA page_size = {source.choice((512, 65_536))}", "PRAGMA auto_vacuum = FULL"]


def in_wal_mode(draft: Draft, source: random.Random) -> None:
    draft.before.append("PRAGMA journal_mode = WAL")


def _columns(draft: Draft) -> Iterable[tuple[Table, str]]:
    return [(table, column) for table in draft.tables.values() for column in table.columns]
