"""What a stack holds and what it has used, at one moment and between two."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from lab.benchmarks.scale.followed import Followed
from lab.benchmarks.scale.rows import Value
from lab.benchmarks.stack import Cpu, Stack

MIB = 2**20
_TABLES = """
    SELECT relname, pg_total_relation_size(oid) - pg_indexes_size(oid), pg_indexes_size(oid)
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
_DEAD = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables"
_OLDEST_S = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
    FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """At one moment; bytes of the tables and of their indexes."""

    at: float
    completed: int
    cpu: Cpu
    wal: float
    rss: int
    dead: int
    oldest_s: float
    tables: dict[str, int]
    indexes: dict[str, int]

    @classmethod
    def of(cls, stack: Stack, told: Followed) -> Self:
        sizes = stack.rows(_TABLES)
        return cls(
            at=time.monotonic(),
            completed=told.completed,
            cpu=stack.cpu(),
            wal=stack.wal(),
            rss=stack.rss(),
            dead=stack.query(_DEAD),
            oldest_s=stack.query(_OLDEST_S),
            tables={name: table for name, table, _ in sizes},
            indexes={name: index for name, _, index in sizes},
        )

    @property
    def total(self) -> int:
        return sum(self.tables.values()) + sum(self.indexes.values())

    def values(self, before: Self, waits_ms: Sequence[float]) -> dict[str, Value]:
        """Returns a row: what is, and what a task has used since the sample before."""
        tasks = max(1, self.completed - before.completed)
        cpu = self.cpu - before.cpu
        return {
            "tasks/s": round(tasks / (self.at - before.at)),
            "p50, ms": percentile(waits_ms, 50),
            "p99, ms": percentile(waits_ms, 99),
            "database, MiB": round(self.total / MIB, 1),
            "dead rows": self.dead,
            "WAL, KiB a task": round((self.wal - before.wal) / tasks / 1024, 2),
            "scheduler, MiB": round(self.rss / MIB, 1),
            "scheduler, µs a task": round(cpu.scheduler / tasks * 1e6),
            "PostgreSQL, µs a task": round(cpu.postgres / tasks * 1e6),
            "oldest transaction, s": round(self.oldest_s, 2),
        }


def percentile(ordered: Sequence[float], of: int) -> float:
    """Returns a percentile of sorted values. Returns 0 if there are none."""
    return round(ordered[len(ordered) * of // 100], 1) if ordered else 0.0
