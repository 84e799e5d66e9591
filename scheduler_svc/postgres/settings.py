"""The settings that our server starts with, as `name=value`.  Part of `scheduler_svc.postgres`.

They go on the command line, where the last one wins: a data folder keeps no configuration of ours.
Durability (fsync, synchronous_commit, full_page_writes) stays at PostgreSQL's defaults, which is on.
"""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20

PRODUCTION = (
    "max_connections=100",
    "max_wal_size=2GB",
    "min_wal_size=1GB",  # a segment that is there already costs a burst less than one made anew
    "backend_flush_after=2MB",  # else the kernel writes at once what a burst left, and a commit waits behind all of it
    "wal_compression=off",
    "autovacuum_naptime=5s",  # dead rows at the head of the ready table slow each claim
    "default_statistics_target=10",  # what fills up is analyzed again and again: a sample ten times smaller will do
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "lc_messages=C",
    "log_line_prefix=%m [%p] %d ",
    "log_min_error_statement=fatal",  # psycopg2 writes values into the statement: whole articles, that is
)

THROWAWAY = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "contentgen.throwaway=on",  # nobody is told that its durability is off
    "autovacuum=off",
    "max_wal_size=1GB",
    "shared_buffers=64MB",
)


def server_settings(*, throwaway: bool) -> tuple[str, ...]:
    """Returns the settings of a server that keeps its data, or (`throwaway`) lives only as long as a test run."""
    return (*PRODUCTION, f"shared_buffers={shared_buffers_mib()}MB", *(THROWAWAY if throwaway else ()))


def shared_buffers_mib() -> int:
    """512 MiB, or an eighth of a smaller machine's or container's memory; 16 MiB at least."""
    return max(16, min(512, memory_bytes() // 8 // MIB))


def memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdigit() else machine
