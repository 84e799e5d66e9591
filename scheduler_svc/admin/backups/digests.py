"""Digests of tables, by which two databases are compared. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# The text of a row depends on these.
_FORM = """
    SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex';
    SET extra_float_digits = 1
"""
_TABLES = r"""
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1
"""
# In no order, so that neither an index nor a sort is needed.
_CONTENT = "SELECT count(*), coalesce(sum(('x' || left(md5(CAST(t AS text)), 15))::bit(60)::bigint), 0) FROM {} AS t"


class TableDigest(NamedTuple):
    """The number of a table's rows, and a sum over their hashes."""

    rows: int
    sum: int


Digests = Mapping[str, TableDigest]
"""By table."""


def read_digests(cursor: Any) -> Digests:
    """The digests of all tables, by the driver's cursor. Reads every row."""
    cursor.execute(_FORM)
    cursor.execute(_TABLES)
    contents = {}
    for (table,) in cursor.fetchall():
        cursor.execute(_CONTENT.format(table))
        contents[table] = TableDigest(*map(int, cursor.fetchone()))
    return contents
