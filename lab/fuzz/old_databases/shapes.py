"""What is wrong with the tables of an old database: how a draft is spoilt before it is written."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from lab.fuzz.old_databases.draft import HOSTILE_IDS, Draft, Row, Table, quoted

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
        hostile = [row for row in table.rows if row["id"] >= HOSTILE_IDS]
        repetitions = [
            row | {"id": source.choice((row["id"], None))} for row in hostile for _ in range(source.randrange(4))
        ]
        table.rows += repetitions


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
    for name in draft.tables:
        for event in ("INSERT", "UPDATE", "DELETE"):
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
