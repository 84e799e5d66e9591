"""What is wrong with an old database, and what must come of its import; a case of it is made of a seed and a number."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from lab.fuzz.case import random_of
from lab.fuzz.old_databases.writing import COLUMNS, of_other_types, random_rows, write_file, write_to_server
from scheduler_svc.postgres.cluster import SUPERUSER
from tests.harness.cluster import Databases
from tests.harness.importing import SECRET

TARGET = "old database"
_REQUIRED = {
    "accounts": ("id", "name"),
    "content_generation_tasks": ("id", "task_id", "account_id"),
    "contents": ("id", "account_id", "title", "content"),
    "publish_pool": ("id", "content_id"),
}
"""Without one of these columns a database is refused; written out, so that the importer's own list is checked."""
_TYPES = ("TEXT", "BLOB", "REAL", "NUMERIC", "INT", "VARCHAR(3)", "nonsense (1, 2)", "", '"DATE TIME"(9999999999)')
_TYPES_OF_SERVERS = (
    "text", "bytea", "double precision", "numeric", "smallint", "json", "jsonb", "text[]", "timestamp", "timestamptz",
    "date", "interval", "uuid", "inet", "char(3)", "tsvector", "money", "int4range", "point", "bit(3)",
)  # fmt: skip
_NAMES = ("accounts ", "ACCOUNTS2", "\u202econtents", "a\x1b[31mb", "select", "'; DROP TABLE tasks; --", "人" * 200)
_CHARACTERS = ("'a'", "'人'", "'\U0001f600'", "'['", "char(0)")
_INTEGER = "integer USING CASE WHEN id BETWEEN -2147483648 AND 2147483647 THEN id END"

Spoil = Callable[[random.Random], Sequence[str]]
"""Statements on a database that is as it should be."""


def on_every_table(*templates: str) -> Spoil:
    """Returns the statements of these templates for each of the tables, one after another."""
    return lambda source: [statement for table in COLUMNS for statement in _filled(templates, table, source)]


def on_a_table(*templates: str) -> Spoil:
    """Returns the statements of these templates for one of the tables, which chance selects."""
    return lambda source: _filled(templates, source.choice(list(COLUMNS)), source)


def _filled(templates: Sequence[str], table: str, source: random.Random) -> list[str]:
    """Returns the statements, with the table and some of its columns, and with values of all kinds."""
    columns = list(COLUMNS[table])
    renamed = source.choice(columns)
    optional = [name for name in columns if name not in {*_REQUIRED[table], "topic", "content_id"}]
    source.shuffle(optional)
    values = {
        "table": table,
        "rest": ", ".join(columns[1:]),  # all but the id
        "renamed": renamed,
        "name": source.choice((f"{renamed} ", f"{renamed}s", "новое", f"{renamed}\n")),
        "required": source.choice(_REQUIRED[table]),
        "optional": optional,
        "others": ", ".join(name for name in columns if name != optional[0]),
        "cells": source.sample(columns[1:], 3),
        "endless": ", ".join(f"n AS {name}" for name in columns),
        "key": source.choice((*_TYPES, "TEXT PRIMARY KEY", "REAL PRIMARY KEY", "INTEGER")),
        "ids": source.sample(("NULL", "'x'", "x'31'", "1.5", "1e300", "'7'", "' 7'", "''", "7.0", str(2**63)), 4),
        "hostile": source.randrange(100, 112),
        "long": f"replace(hex(zeroblob(5000000)), '0', {source.choice(_CHARACTERS)})",
        "size": source.choice((10, 100_000, 1_000_000, 10_000_000, 400_000_000, 2_000_000_000)),
        "number": source.choice(("bigint", "numeric", _INTEGER)),
    }
    return [template.format_map(values) for template in templates]


_ASIDE = "ALTER TABLE {table} RENAME TO {table}_rows"
_BACK = "INSERT OR IGNORE INTO {table} (id, {rest}) SELECT * FROM {table}_rows"
_LOOSE = (_ASIDE, "CREATE TABLE {table} AS SELECT * FROM {table}_rows")
"""A table without a key."""
_NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1100)"
"""More than the rows of a page."""
_WITHOUT_ID = f"INSERT INTO {{table}} ({{rest}}) {_NUMBERS} SELECT {{rest}} FROM numbers, {{table}} LIMIT 1100"
_HOSTILE_ROW = "INSERT INTO {table} (id) SELECT 100 WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE id IN (100, 101))"
"""Where neither of the first two hostile rows is there, one of NULLs alone."""
_MANY_ROWS = (
    _HOSTILE_ROW,
    f"""INSERT INTO {{table}} (id, {{rest}}) {_NUMBERS}
        SELECT 999 + row_number() OVER (ORDER BY n, id), {{rest}} FROM numbers, {{table}} WHERE id BETWEEN 100 AND 120
        LIMIT 1100""",
    "UPDATE content_generation_tasks SET task_id = 't' || id WHERE id BETWEEN 1000 AND 2099",
)
_MANY_COLUMNS = ", ".join(f'"column {number}" {_TYPES[number % len(_TYPES)]}' for number in range(1_900))
_TWICE = (
    "INSERT INTO {table} ({rest}) SELECT {rest} FROM {table} WHERE id = {hostile}",
    "INSERT INTO {table} SELECT * FROM {table} WHERE id > {hostile}",
    "INSERT INTO {table} SELECT * FROM {table} WHERE id NOT BETWEEN 1 AND 99",
)
"""Hostile rows only, so that the honest ones stay what they are."""
_VIEW = (_ASIDE, "CREATE VIEW {table} AS SELECT * FROM {table}_rows")
_EVERY = "WITH RECURSIVE every(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM every)"
_ENDLESS = (_ASIDE, f"CREATE VIEW {{table}} AS {_EVERY} SELECT {{endless}} FROM every")
_COMPUTED = "CREATE VIEW {table} AS SELECT {others}, hex(zeroblob({size})) AS {optional[0]} FROM {table}_rows"
_LONG = (
    _HOSTILE_ROW,
    "UPDATE {table} SET {cells[0]} = {long}, {cells[1]} = {long}, {cells[2]} = {long} WHERE id IN (100, 101)",
)
_RENAMED = 'ALTER TABLE {table} RENAME {renamed} TO "{name}"'
_DROPPED = [f"ALTER TABLE {{table}} DROP COLUMN {{optional[{number}]}}" for number in range(8)]
_TRIGGERS = [
    f"CREATE TRIGGER no_{event}_{{table}} BEFORE {event} ON {{table}} BEGIN SELECT RAISE(FAIL, 'x'); END"
    for event in ("INSERT", "UPDATE", "DELETE")
]
_ODD_IDS = """
    UPDATE OR IGNORE {table}
    SET id = CASE id % 10 WHEN 1 THEN {ids[0]} WHEN 2 THEN {ids[1]} WHEN 3 THEN {ids[2]} ELSE {ids[3]} END
    WHERE id % 10 BETWEEN 1 AND 4
"""
_KEY = "ALTER TABLE {table} ALTER id TYPE {number}"
_READER = (
    "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    "REVOKE SELECT ON {table} FROM reader",
)
_WITHOUT_ROWID = "CREATE TABLE {table} (id INTEGER PRIMARY KEY, {rest}) WITHOUT ROWID"
_WITH_MANY_COLUMNS = f"CREATE TABLE {{table}} (id INTEGER PRIMARY KEY, {{rest}}, {_MANY_COLUMNS})"


def crosswise(source: random.Random) -> list[str]:
    """Returns the tasks and contents that name each other, and several of them the same."""
    ids = range(150, 160)
    tasks = ", ".join(f"({n}, 'task-{n}', 1, 'x', 'completed', {source.choice((*ids, 'NULL'))})" for n in ids)
    contents = ", ".join(f"({n}, 'task-{source.choice(ids)}', 1, 'x', 'x')" for n in ids)
    entries = ", ".join(f"({n}, {source.choice(ids)})" for n in ids)
    return [
        f"INSERT INTO content_generation_tasks (id, task_id, account_id, topic, status, content_id) VALUES {tasks}",
        f"INSERT INTO contents (id, generation_task_id, account_id, title, content) VALUES {contents}",
        f"INSERT INTO publish_pool (id, content_id) VALUES {entries}",
    ]


Damage = Callable[[Path, random.Random], closing[sqlite3.Connection] | None]
"""Changes a file. Returns what has to stay open while it is read."""
_MAGIC = b"SQLite format 3\0"
_HEADER = 100


def cut(path: Path, source: random.Random) -> None:
    os.truncate(path, source.randrange(path.stat().st_size))


def flipped(path: Path, source: random.Random) -> None:
    """Flips some bits of the pages; in one of four, of the header too."""
    data = bytearray(path.read_bytes())
    begin = source.choice((0, _HEADER, _HEADER, _HEADER))
    for _ in range(source.choice((1, 10, 100, 1_000))):
        data[source.randrange(begin, len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)


def pages_swapped(path: Path, source: random.Random) -> None:
    """Puts whole pages where others should be: trees that lead into each other, or into themselves."""
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    for _ in range(source.randint(1, 4)):
        target, other = (size * source.randrange(1, len(data) // size) for _ in range(2))
        data[target : target + size] = data[other : other + size]
    path.write_bytes(data)


def no_database(path: Path, source: random.Random) -> None:
    random_bytes = source.randbytes(source.choice((1, 99, 512, 5_000)))
    path.write_bytes(source.choice((b"", random_bytes, _MAGIC + random_bytes, _MAGIC, b"<!DOCTYPE html>\n" * 99)))


def no_file(path: Path, source: random.Random) -> None:
    """Puts nothing, a directory or a FIFO in its place."""
    path.unlink()
    source.choice((lambda: None, path.mkdir, partial(os.mkfifo, path)))()


def a_link(path: Path, source: random.Random) -> None:
    """Links to itself, to nowhere, or to what is a file, but whose beginning nobody can read, not even root."""
    path.unlink()
    path.symlink_to(source.choice((path, "/nowhere/at all", "/proc/self/mem")))


def a_strange_log(path: Path, source: random.Random) -> None:
    """Puts a write-ahead log, or a journal to roll back, that is none, beside the file."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {source.choice(('WAL', 'DELETE'))}")
    for suffix in source.choice((("-wal",), ("-journal",), ("-wal", "-shm"))):
        log = source.choice((b"", b"\x37\x7f\x06\x82", b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7")) + source.randbytes(40_000)
        path.with_name(path.name + suffix).write_bytes(log)


def locked(path: Path, source: random.Random) -> closing[sqlite3.Connection]:
    """Somebody writes, and does not end."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    return closing(database)


_URLS = (
    "", "nonsense", "sqlite://", "sqlite:///:memory:", "sqlite:///a\0b", "sqlite:////dev/zero", "sqlite:////dev/stdin",
    f"sqlite:///{'x' * 5_000}", f"sqlite:///{{path}}\0?mode=rwc&password={SECRET}",
    f"postgresql://user:{SECRET}@127.0.0.1:1/old", f"postgresql://user@127.0.0.1:1/old?password={SECRET}",
    f"postgresql://user:{SECRET}@127.0.0.1:99999999/old", f"postgresql://user:{SECRET}@[::1:1/old",
    f"postgresql://127.0.0.1:1/old?nonsense={SECRET}", f"postgresql://user:{SECRET}\udc80@127.0.0.1:1/old",
    f"mysql://user:{SECRET}@127.0.0.1/old", f"x+y://user:{SECRET}@127.0.0.1/old",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What is wrong. `honest`: the honest rows have to arrive. `refused`: nothing may be taken."""

    spoil: Spoil = lambda source: ()
    damage: Damage = lambda path, source: None
    honest: bool = False
    refused: bool = False
    types: Sequence[str] = ()
    """Half of the columns are of these."""
    before: Sequence[str] = ("",)
    """One of these statements comes before the tables are made."""
    urls: Sequence[str] = ("sqlite:///{path}",)
    """One of these is imported."""
    arguments: Sequence[str] = ("--renumber",)
    """Without these the ids of the accounts are taken."""
    reader: str | None = None
    """It is on a server instead of in a file, where this role reads it."""


SHAPES: Mapping[str, Shape] = {
    "values alone": Shape(honest=True),
    "optional columns missing": Shape(
        lambda source: on_every_table(*_DROPPED[: source.randint(1, 8)])(source), honest=True
    ),
    "a required column missing": Shape(on_a_table("ALTER TABLE {table} RENAME {required} TO gone"), refused=True),
    "a column renamed": Shape(on_a_table(_RENAMED)),
    "a table missing": Shape(on_a_table("DROP TABLE {table}")),
    "no table": Shape(on_every_table("DROP TABLE {table}"), refused=True),
    "other types": Shape(types=_TYPES, honest=True),
    "ids of other types": Shape(on_every_table(_ASIDE, "CREATE TABLE {table} (id {key}, {rest})", _BACK, _ODD_IDS)),
    "ids twice": Shape(on_every_table(*_LOOSE, *_TWICE), honest=True),
    "rows without an id": Shape(on_a_table(*_LOOSE, _WITHOUT_ID), honest=True),
    "a view": Shape(on_a_table(*_VIEW), honest=True),
    "an endless view": Shape(on_a_table(*_ENDLESS)),
    "computed texts": Shape(on_a_table(_ASIDE, _COMPUTED)),
    "triggers": Shape(on_every_table(*_TRIGGERS), honest=True),
    "more tables": Shape(lambda _: [f'CREATE TABLE "{name}" (id)' for name in _NAMES], honest=True),
    "without rowid": Shape(on_every_table(_ASIDE, _WITHOUT_ROWID, _BACK), honest=True),
    "no rows": Shape(on_every_table("DELETE FROM {table}")),
    "many columns": Shape(on_a_table(_ASIDE, _WITH_MANY_COLUMNS, _BACK), honest=True),
    "many rows": Shape(on_a_table(*_MANY_ROWS), honest=True),
    "long texts": Shape(on_a_table(*_LONG), honest=True),
    "crosswise": Shape(crosswise, honest=True),
    "another encoding": Shape(before=("PRAGMA encoding = 'UTF-16le'", "PRAGMA encoding = 'UTF-16be'"), honest=True),
    "small pages": Shape(before=("PRAGMA page_size = 512; PRAGMA auto_vacuum = FULL",), honest=True),
    "large pages": Shape(before=("PRAGMA page_size = 65536; PRAGMA auto_vacuum = FULL",), honest=True),
    "in WAL mode": Shape(before=("PRAGMA journal_mode = WAL",), honest=True),
    "cut": Shape(damage=cut),
    "bits flipped": Shape(damage=flipped),
    "pages swapped": Shape(damage=pages_swapped),
    "many rows, bits flipped": Shape(on_a_table(*_MANY_ROWS), flipped),
    "a strange log": Shape(damage=a_strange_log),
    "no database": Shape(damage=no_database, refused=True),
    "no file": Shape(damage=no_file, refused=True),
    "a link": Shape(damage=a_link, refused=True),
    "locked": Shape(damage=locked, refused=True),
    "an odd URL": Shape(urls=_URLS, refused=True),
    "an odd driver": Shape(urls=("sqlite+nothing:///{path}",), honest=True),
    "taken ids": Shape(arguments=(), refused=True),
    "on a server": Shape(reader=SUPERUSER, honest=True),
    "on a server, other types": Shape(on_every_table(_KEY), types=_TYPES_OF_SERVERS, reader=SUPERUSER),
    "on a server, ids twice": Shape(on_every_table(*_TWICE), reader=SUPERUSER, honest=True),
    "on a server, many rows": Shape(on_a_table(*_MANY_ROWS), reader=SUPERUSER, honest=True),
    "on a server, a view": Shape(on_a_table(*_VIEW), reader=SUPERUSER, honest=True),
    "on a server, an endless view": Shape(on_a_table(*_ENDLESS), reader=SUPERUSER),
    "on a server, a column renamed": Shape(on_a_table(_RENAMED), reader=SUPERUSER),
    "on a server, no right to read": Shape(on_a_table(*_READER), reader="reader", refused=True),
}


def shape_of(number: int) -> str:
    return list(SHAPES)[number % len(SHAPES)]


@contextmanager
def laid_out(seed: int, number: int, folder: Path, databases: Databases) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields URL and arguments of a case, whose database is in the folder, which has to be empty, or on the server."""
    shape, source = SHAPES[shape_of(number)], random_of(TARGET, seed, number)
    rows = random_rows(source)
    columns = of_other_types(shape.types, source) if shape.types else COLUMNS
    statements = shape.spoil(source)
    extras = source.choice(((), ("--map-account", "1=1"), ("--source", "the old one"))) if shape.arguments else ()
    arguments = ("--source-timeout", "2", *shape.arguments, *extras)  # what never ends is given up then
    if shape.reader is not None:
        with databases.lent() as url:
            write_to_server(url.replace("+psycopg2", ""), rows, columns, after=statements)
            yield sa.make_url(url).set(username=shape.reader).render_as_string(hide_password=False), arguments
        return
    path = folder / "old.db"
    write_file(path, rows, columns, before=source.choice(shape.before), after=statements)
    with shape.damage(path, source) or nullcontext():
        yield source.choice(shape.urls).format(path=path), arguments
