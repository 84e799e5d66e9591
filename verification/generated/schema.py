"""Checks what `schema/relations.py` reads in the migrations' SQL by what they make. Run by `make verify`.

The server's catalogs say what that is. Before the first release, which all databases that are in use come from, the
previous version, beside which this one is tested, has to make the same.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from scheduler_svc.schema.migrate import MIGRATIONS, upgrade
from scheduler_svc.schema.relations import Relations, relations
from tests.harness.cluster import throwaway_server

_OURS = "c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'alembic_version%'"

_QUERIES = {
    "column": f"""
        SELECT c.relname, a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull
            THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity, ''), l.collname)
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
        WHERE {_OURS} AND c.relkind = 'r' ORDER BY c.relname, a.attnum
    """,
    "constraint": f"""
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid)
        FROM pg_class AS c JOIN pg_constraint AS k ON k.conrelid = c.oid WHERE {_OURS} ORDER BY 1, 2
    """,
    "index": f"""
        SELECT t.relname, c.relname, pg_get_indexdef(c.oid)
        FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid JOIN pg_class AS t ON t.oid = i.indrelid
        WHERE {_OURS} ORDER BY 1, 2
    """,
    "comment": f"""
        SELECT c.relname, coalesce(a.attname, ''), d.description
        FROM pg_class AS c JOIN pg_description AS d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND a.attnum > 0
        WHERE {_OURS} AND c.relkind = 'r' ORDER BY c.relname, d.objsubid
    """,
    "options": f"""
        SELECT c.relname, c.relkind, coalesce(array_to_string(c.reloptions, ', '), '')
        FROM pg_class AS c WHERE {_OURS} AND c.relkind <> 'v' ORDER BY 1
    """,
    "sequence": f"""
        SELECT c.relname, format_type(s.seqtypid, NULL), concat_ws(' ', s.seqstart, s.seqmin, s.seqmax,
            'INCREMENT', s.seqincrement, 'CACHE', s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' END)
        FROM pg_class AS c JOIN pg_sequence AS s ON s.seqrelid = c.oid WHERE {_OURS} ORDER BY 1
    """,
    "view": f"""
        SELECT c.relname, c.relkind, concat_ws(' ', pg_get_viewdef(c.oid), obj_description(c.oid), c.reloptions)
        FROM pg_class AS c WHERE {_OURS} AND c.relkind = 'v' ORDER BY 1
    """,
    "other": f"""
        SELECT c.relname, c.relkind, '' FROM pg_class AS c
        WHERE {_OURS} AND c.relkind NOT IN ('r', 'i', 'S', 'v') ORDER BY 1
    """,
}


class Thing(NamedTuple):
    """A column, constraint, index, … by its name; `table` is what it is of, or itself."""

    kind: str
    table: str
    name: str

    def __str__(self) -> str:
        return " ".join(self)


def catalog(connection: sa.Connection) -> dict[Thing, str]:
    """Returns all things, tables in the order of their names, columns in that of their numbers."""
    return {
        Thing(kind, table, str(name)): str(definition)
        for kind, query in _QUERIES.items()
        for table, name, definition in connection.execute(sa.text(query))
    }


FIRST = MIGRATIONS / "versions" / "0001_initial.sql"
ROOT = Path(__file__).parents[2]
_COMMENTS = re.compile(r"^(COMMENT ON|--).*\n", re.MULTILINE)


def main() -> int:
    """Returns the exit status: 0 if the two are the same, else 1 with what differs on the standard output."""
    with throwaway_server() as server:
        engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
        upgrade(engine)
        with engine.connect() as connection:
            differences = [*_compare(relations(), _made(catalog(connection))), *_compare_previous()]
        engine.dispose()
    print("\n".join(differences) or "the migrations make what their SQL is read to make")
    return 1 if differences else 0


def _made(things: dict[Thing, str]) -> Relations:
    columns: dict[str, list[str]] = {}
    for thing in things:
        if thing.kind == "column":
            columns.setdefault(thing.table, []).append(thing.name)
    numbered = {f"{table}_{column}_seq" for table, names in columns.items() for column in names}
    views, sequences = ([thing.table for thing in things if thing.kind == kind] for kind in ("view", "sequence"))
    return Relations(columns, views, [name for name in sequences if name not in numbered])


def _compare(read: Relations, made: Relations) -> Iterator[str]:
    for table in sorted(read.columns.keys() | made.columns.keys()):
        if read.columns.get(table) != made.columns.get(table):
            yield f"{table} is read as {read.columns.get(table)}, and is {made.columns.get(table)}"
    for names, made_names in ((read.views, made.views), (read.sequences, made.sequences)):
        if sorted(names) != sorted(made_names):
            yield f"{names} are read, and {made_names} are there"


def _compare_previous() -> Iterator[str]:
    (wheel,) = (ROOT / "tests" / "previous").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(f"/{FIRST.name}"))
        previous = files.read(name).decode()
    before, present = (_COMMENTS.sub("", text).split() for text in (previous, FIRST.read_text()))
    if before != present:
        yield f"{wheel.relative_to(ROOT)} makes another schema: commit this one, then `make previous COMMIT=HEAD`"


if __name__ == "__main__":
    sys.exit(main())
