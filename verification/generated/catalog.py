"""What the server's catalogs say of our schema: each thing, and how it is defined. Used by the checks beside it."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

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
