"""Proves that a backup can be restored: restores it into a temporary server.

The database's own server would need space, rights and time for that. Part of `scheduler_svc.admin.backups`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.backups.archive import Archive, CannotRestore
from scheduler_svc.admin.backups.digests import Digests, read_digests
from scheduler_svc.admin.backups.programs import ProgramFailed, Programs
from scheduler_svc.admin.backups.progress import RestoreProgress, size
from scheduler_svc.admin.backups.restore import make_usable
from scheduler_svc.admin.backups.script import fill
from scheduler_svc.admin.backups.source import BackupSource
from scheduler_svc.database.connections import connect
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import EmbeddedPostgres

_SERVER_BYTES = 256 << 20
"""What an empty server takes, with some margin."""


class Proof:
    def __init__(self, source: BackupSource, programs: Programs, progress: LiveLine) -> None:
        """Raises SettingsError if there is no space for it, PostgresError if there are no programs of a server."""
        self._source = source
        self._programs = programs
        self._progress = progress
        self._server = programs.server(source.major)
        self.rows = 0
        _check_space(source.bytes + _SERVER_BYTES)

    def of(self, archive: Archive) -> None:
        """Restores the archive, compares every row with its source, and prepares it as a restore does.

        Raises CannotRestore, PostgresError.
        """
        with _running(self._server.path.parent) as url:
            self._fill(url, archive)
            self._progress.show("comparing what was restored")
            expected = self._source.digests()
            with closing(connect(sa.make_url(url))) as connection, connection.cursor() as cursor:
                _compare(expected, read_digests(cursor))
            make_usable(url)
        self.rows = sum(content.rows for content in expected.values())

    def _fill(self, url: str, archive: Archive) -> None:
        try:
            fill(url, archive.path, self._programs, RestoreProgress(self._progress, archive.entries))
        except ProgramFailed as error:
            server = f"PostgreSQL {self._server.major} ({self._server.path})"
            raise CannotRestore(
                f"the backup can't be restored into {server}: {error}\nIt is of PostgreSQL {self._source.major}:"
                " programs of that version may do better, in CONTENTGEN_PG_BINDIR"
            ) from None


def _check_space(needed: int) -> None:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < needed:
        problem = f"--verify restores into {folder}, where {size(free)} are free and {size(needed)} are needed"
        raise SettingsError([f"{problem}: name a folder with more space in TMPDIR"])


def _compare(expected: Digests, restored: Digests) -> None:
    for table in sorted(expected.keys() | restored.keys()):
        original, copy = expected.get(table), restored.get(table)
        if original != copy:
            raise CannotRestore(
                f"the backup is not what the database held: {table} has {copy.rows if copy else 'no'} rows after a"
                f" restore, and had {original.rows if original else 'no'}{', others' if original and copy else ''}"
            )


@contextmanager
def _running(bindir: Path) -> Iterator[str]:
    """Yields the URL of an empty database."""
    with tempfile.TemporaryDirectory(prefix="contentgen-verify-") as folder:
        Path(folder).chmod(0o711)  # where root runs this, another user runs the server
        with EmbeddedPostgres(Path(folder), bindir=bindir, throwaway=True) as server:
            yield server.url()
