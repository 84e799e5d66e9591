"""How large the tables are that grow for years, and how many dead rows they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lab.benchmarks.scale.rows import Row
from lab.benchmarks.scale.sampled import MIB
from lab.benchmarks.stack import Stack

GROWING = (
    "tasks",
    "task_payloads",
    "task_labels",
    "task_events",
    "contents",
    "publish_pool",
    "publish_attempts",
    "audit_events",
    "webhook_deliveries",
)
_SIZES = """
    SELECT c.relname, c.reltuples::bigint, pg_relation_size(c.oid), pg_indexes_size(c.oid), s.n_dead_tup,
        s.autovacuum_count
    FROM pg_class AS c JOIN pg_stat_user_tables AS s ON s.relid = c.oid
    WHERE c.relname IN ({}) ORDER BY array_position(ARRAY[{}], CAST(c.relname AS text))
"""


class Size(NamedTuple):
    """Of one table: bytes of it and of its indexes, rows as far as they were counted, and vacuums since it was made."""

    name: str
    rows: int
    table: int
    indexes: int
    dead: int
    vacuums: int


def read(stack: Stack, names: Sequence[str] = GROWING) -> list[Size]:
    """Those of these tables, in their order."""
    quoted = ", ".join(f"'{name}'" for name in names)
    return [Size(*row) for row in stack.rows(_SIZES.format(quoted, quoted))]


def rows(stack: Stack, title: str) -> list[Row]:
    """Returns a row for each table that grows."""
    return [
        Row(
            title,
            {
                "table": size.name,
                "rows": size.rows,
                "MiB": round(size.table / MIB),
                "its indexes, MiB": round(size.indexes / MIB),
                "bytes a row, with indexes": round((size.table + size.indexes) / max(1, size.rows)),
            },
        )
        for size in read(stack)
    ]


def moment(stack: Stack, title: str, when: str, names: Sequence[str]) -> Row:
    """Returns a row of how large these tables are then, with their indexes."""
    sizes = read(stack, names)
    return Row(
        title,
        {
            "when": when,
            **{f"`{size.name}`, MiB": round((size.table + size.indexes) / MIB) for size in sizes},
            "dead rows": sum(size.dead for size in sizes),
            "vacuums": sum(size.vacuums for size in sizes),
        },
    )
