"""Checks that the migrations make what `schema/tables.py` and `views.py` say. Run by `make verify`.

Two databases of a throw-away server, one migrated, one made from the definitions, are compared by what the
server's catalogs say of them; alembic's own comparison must find nothing either.

`--write` makes the first migration anew from the definitions: only before the first release, which all databases that
are in use come from. The previous version, beside which this one is tested, has to make the same then.
"""

from __future__ import annotations

import difflib
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from scheduler_svc.schema import views
from scheduler_svc.schema.migrate import MIGRATIONS, upgrade
from scheduler_svc.schema.tables import FIRST_ROWS, metadata
from tests.harness.cluster import Databases, throwaway_server

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
_COMMENTS = re.compile(r"^COMMENT ON .*\n", re.MULTILINE)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if the two are the same, else 1 with what differs on the standard output."""
    if "--write" in arguments:
        FIRST.write_text("".join(f"{statement};\n" for statement in _definitions()))
        return 0
    with throwaway_server() as server, closing(Databases(server)) as databases:
        urls = [databases.url(databases.create()) for _ in range(2)]
        migrated, defined = (sa.create_engine(url, poolclass=sa.NullPool) for url in urls)
        upgrade(migrated)
        with defined.begin() as connection:
            for statement in _definitions():
                connection.exec_driver_sql(statement)
        differences = [*_compare(migrated, defined), *_compare_previous()]
        migrated.dispose()
        defined.dispose()
    print("\n".join(differences) or "the migrated schema is what scheduler_svc/schema defines")
    return 1 if differences else 0


def _definitions() -> Iterator[str]:
    """Yields the statements that make a database from the definitions."""
    elements: list[sa.schema.ExecutableDDLElement] = []
    engine = sa.create_mock_engine("postgresql://", lambda element, *_, **__: elements.append(element))
    metadata.create_all(engine, checkfirst=False)
    definitions = [str(element.compile(dialect=engine.dialect)) for element in _in_order(elements)]
    for statement in (*definitions, *FIRST_ROWS, *views.definitions()):
        yield "\n".join(line.replace("\t", "    ").rstrip() for line in dedent(statement).strip().splitlines())


def _in_order(elements: Iterable[sa.schema.ExecutableDDLElement]) -> Iterator[sa.schema.ExecutableDDLElement]:
    """With the indexes of each table as they are defined: SQLAlchemy has them in a set."""
    indexes: list[sa.schema.CreateIndex] = []
    for element in elements:
        if isinstance(element, sa.schema.CreateIndex):
            indexes.append(element)
            continue
        yield from sorted(indexes, key=lambda create: int(create.element.info["position"]))
        indexes.clear()
        yield element  # a table, or its comment, which follows its indexes


def _compare(migrated: sa.Engine, defined: sa.Engine) -> list[str]:
    by_catalog = difflib.unified_diff(
        _lines(migrated),
        _lines(defined),
        "what the migrations make",
        "what scheduler_svc/schema defines",
        n=0,
        lineterm="",
    )
    with migrated.connect() as connection:
        # Without defaults: alembic calls both and compares what they give, which for a number drawn is never the same.
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        by_alembic = [f"alembic: {difference}" for difference in compare_metadata(context, metadata)]
    return [*by_catalog, *by_alembic]


def _compare_previous() -> Iterator[str]:
    (wheel,) = (ROOT / "tests" / "previous").glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(f"/{FIRST.name}"))
        previous = files.read(name).decode()
    if _COMMENTS.sub("", previous) != _COMMENTS.sub("", FIRST.read_text()):
        yield f"{wheel.relative_to(ROOT)} makes another schema: commit this one, then `make previous COMMIT=HEAD`"


def _lines(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return [f"{thing} {definition}" for thing, definition in catalog(connection).items()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
