"""An old database before it is written: its tables, their columns as they are declared, and rows of anything.

A shape (`shapes.py`) may spoil the draft, or the file that is written from it (`damage.py`).
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
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
    """A whole database."""

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
    if isinstance(value, str) and not _is_unicode(value):
        return value.encode("utf-8", "surrogatepass"), True
    return value, False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def honest() -> Draft:
    """Returns the old application's tables with a few rows, of which each can be taken."""
    result = Draft({name: Table(name, _declared(name)) for name in old_columns()})
    _add_honest(result.tables)
    return result


def draft(source: random.Random) -> Draft:
    """Returns the old application's tables with honest rows, and hostile ones beside them."""
    result = honest()
    hostile = source.choice((0.05, 0.3, 1.0))
    for table in result.tables.values():
        table.rows += [_hostile_row(table, number, hostile, source) for number in range(source.randrange(12))]
        source.shuffle(table.rows)
    return result


def _declared(table: str) -> dict[str, str]:
    """As SQLAlchemy declares them to SQLite, but for NOT NULL, which would keep hostile rows out."""
    types = {column.name: str(column.type.compile()) for column in old_columns()[table]}
    return types | {"id": "INTEGER PRIMARY KEY"}


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
