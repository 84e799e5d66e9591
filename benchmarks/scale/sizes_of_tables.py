"""How large the tables are that grow for years, and how many dead rows they hold."""

from __future__ import annotations

from benchmarks.scale.rows import Row
from benchmarks.scale.sampled import MIB
from benchmarks.stack import Stack

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


def rows(stack: Stack, table: str, when: str, *names: str) -> list[Row]:
    """A row for each of these tables, or for all that grow; `when` is its first column."""
    named = ", ".join(f"'{name}'" for name in names or GROWING)
    return [
        Row(
            table,
            {
                **({"when": when} if when else {}),
                "table": name,
                "rows": count,
                "MiB": round(heap / MIB),
                "its indexes, MiB": round(indexes / MIB),
                "dead rows": dead,
                "autovacuums": vacuums,
            },
        )
        for name, count, heap, indexes, dead, vacuums in stack.rows(_SIZES.format(named, named))
    ]
