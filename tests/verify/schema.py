"""Checks that the migrations make what `store/schema.py` says. Run by `make verify`.

Two databases of a throw-away server, one migrated, one made from the table definitions, are compared by what the
server's catalogs say of them; alembic's own comparison must find nothing either.
"""

from __future__ import annotations

import difflib
import sys

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.store.migrate import upgrade
from scheduler_svc.store.schema import metadata
from tests.cluster import throwaway_server

_OURS = "c.relnamespace = 'public'::regnamespace AND c.relname NOT LIKE 'alembic_version%'"

_CATALOG = {
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
    "options": f"""
        SELECT c.relname, c.relkind, coalesce(array_to_string(c.reloptions, ', '), '')
        FROM pg_class AS c WHERE {_OURS} ORDER BY 1
    """,
    "sequence": f"""
        SELECT c.relname, format_type(s.seqtypid, NULL), concat_ws(' ', s.seqstart, s.seqmin, s.seqmax,
            'INCREMENT', s.seqincrement, 'CACHE', s.seqcache, CASE WHEN s.seqcycle THEN 'CYCLE' END)
        FROM pg_class AS c JOIN pg_sequence AS s ON s.seqrelid = c.oid WHERE {_OURS} ORDER BY 1
    """,
    "other": f"""
        SELECT c.relname, c.relkind, '' FROM pg_class AS c
        WHERE {_OURS} AND c.relkind NOT IN ('r', 'i', 'S') ORDER BY 1
    """,
}


def main() -> int:
    """The exit status: 0 where the two are the same, else 1 with what differs on the standard output."""
    with throwaway_server() as server:
        migrated, defined = (_engine(server, name) for name in ("migrated", "defined"))
        upgrade(migrated)
        metadata.create_all(defined)
        differences = _compare(migrated, defined)
        migrated.dispose()
        defined.dispose()
    print("\n".join(differences) or "the migrated schema is what store/schema.py defines")
    return 1 if differences else 0


def _engine(server: EmbeddedPostgres, name: str) -> sa.Engine:
    admin = sa.create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
    return sa.create_engine(server.url(name), poolclass=sa.NullPool)


def _compare(migrated: sa.Engine, defined: sa.Engine) -> list[str]:
    by_catalog = difflib.unified_diff(
        _catalog(migrated),
        _catalog(defined),
        "what the migrations make",
        "what store/schema.py defines",
        n=0,
        lineterm="",
    )
    with migrated.connect() as connection:
        # Without defaults: alembic calls both and compares what they give, which for a number drawn is never the same.
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        by_alembic = [f"alembic: {difference}" for difference in compare_metadata(context, metadata)]
    return [*by_catalog, *by_alembic]


def _catalog(engine: sa.Engine) -> list[str]:
    """A line for each thing that the catalogs hold."""
    with engine.connect() as connection:
        return [
            f"{kind} {' '.join(map(str, row))}"
            for kind, query in _CATALOG.items()
            for row in connection.execute(sa.text(query))
        ]


if __name__ == "__main__":
    sys.exit(main())
