"""What is left on the machine once a campaign's services have stopped: nothing should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg2

from lab.chaos.evidence import Leftover
from tests.harness.processes import belonging_to

_OF_WORKERS = {
    "scratch folder": "workers/*/scratch/*",
    "spool file": "workers/*/spool/*",
    "asset": "workers/*/assets/*",
    "mark of a started CLI": "workers/*/started/*",
}

_CHECKER = "checker"
"""Names its own connections, of which the last one may still be ending."""


def left_by_services(folder: Path, workers: Sequence[Path], dsn: str, spared: frozenset[int]) -> list[Leftover]:
    """Schedulers and workers have stopped, PostgreSQL has not: processes of `folder`, files of `workers`, connections.

    `workers` are their data folders; `spared` the process ids of PostgreSQL and of the campaign itself.
    """
    return [*_processes(folder, spared), *_files(workers), *_connections(dsn)]


def left_by_postgres(folder: Path, sockets: Sequence[Path], spared: frozenset[int]) -> list[Leftover]:
    """PostgreSQL has stopped, too: processes of `folder` again, and the folders of its sockets."""
    folders = [Leftover("socket folder", str(path)) for path in sockets if path.exists()]
    return [*_processes(folder, spared), *folders]


def _processes(folder: Path, spared: frozenset[int]) -> Iterator[Leftover]:
    for process in belonging_to(folder):
        if process.pid not in spared:
            yield Leftover("process", repr(process))


def _files(workers: Sequence[Path]) -> Iterator[Leftover]:
    for worker in workers:
        for kind, pattern in _OF_WORKERS.items():
            yield from (Leftover(kind, str(path)) for path in sorted(worker.glob(pattern)))


def _connections(dsn: str) -> Iterator[Leftover]:
    with closing(psycopg2.connect(dsn, application_name=_CHECKER)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid || ' ' || application_name || ': ' || query FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND application_name <> %s",
            (_CHECKER,),
        )
        yield from (Leftover("connection", description) for (description,) in cursor.fetchall())
