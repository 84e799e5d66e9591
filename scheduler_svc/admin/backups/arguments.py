"""The arguments of `backup` and `restore`. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler_svc.config import Settings, settings_of, settings_parser

_SETTINGS = ("data_dir", "assets", "pg_bindir")

_BACKUP = """\
Writes the whole database into FILE, as it stood at one moment: tasks, leases, results, accounts. Schedulers and workers
go on meanwhile. FILE appears whole or not at all, and is for its owner alone (mode 0600). Tokens, certificates and the
workers' folders are not in it: they are files of their own. The pictures and other files of contents are copied into
the folder FILE.assets, those that are not there yet; a bucket (CONTENTGEN_ASSETS) is named, since it belongs to FILE.

  contentgen-scheduler backup /srv/backups/monday.backup
  contentgen-scheduler backup --verify /srv/backups/monday.backup       restores it too, and compares every row
  DATABASE_URL=postgresql://user@host/name contentgen-scheduler backup /srv/backups/monday.backup

It needs a pg_dump that is not older than the server (PostgreSQL 15 to 18) and, where the connection is encrypted, can
speak TLS. It is looked for in CONTENTGEN_PG_BINDIR alone where that is set. Else in the installed package, the folder
that pg_config names, /usr/lib/postgresql/*/bin and the PATH: of those that fit that of the server's own version is
taken, or the next newer one. --verify starts a server from these folders, or from the installed package, with its data
in the folder for temporary files (TMPDIR), which must have space for it.

Exit status: 0 done, 1 it failed on the way, 2 wrong usage, 78 it can't be (FILE is there, no database, no pg_dump that
fits, no space to verify), or what was written can't be restored. But for 0 there is no new FILE, and what was there
stays.
"""
_RESTORE = """\
Puts what `backup` wrote in the place of the database. Stop every scheduler on it first; workers may stay. The backup is
read into a new database beside the present one, and takes its name once it is whole: if anything fails before, nothing
has changed. What was acknowledged after the backup is gone. Leases of that time are released by their workers, or
expire a lease time after the first scheduler starts. WatchTasks refuses resume tokens from before. The files in
FILE.assets are copied into the schedulers' folder (CONTENTGEN_ASSETS), where they are missing.

  contentgen-scheduler restore /srv/backups/monday.backup
  contentgen-scheduler restore --replace /srv/backups/monday.backup     what the database holds now is dropped

It needs a pg_restore that can read FILE: the newest in the folders that `backup --help` names is taken. The connection
is the scheduler's own, so TLS and several hosts work as in DATABASE_URL. A backup goes into a server of its own version
or a newer one, PostgreSQL 15 to 18.

On a DATABASE_URL its user has to own the database, and needs the right to make one (CREATEDB).

Exit status: 0 done, 1 it failed on the way, 2 wrong usage, 78 it can't be: FILE is no backup or of a newer version, a
scheduler runs, or the database is not empty and --replace is not given. But for 0, nothing has changed.
"""


@dataclass(frozen=True, slots=True)
class BackupArguments:
    """The arguments of either command. `replace`: the present file, or the present database, may be replaced."""

    file: Path
    replace: bool
    settings: Settings
    verify: bool = False


def read_backup(arguments: Sequence[str]) -> BackupArguments:
    """Raises SettingsError for wrong arguments, and SystemExit after `--help`."""
    parser = _parser("backup", _BACKUP)
    parser.add_argument(
        "--overwrite", dest="over", action="store_true", default=False, help="replace FILE if it exists"
    )
    parser.add_argument(
        "--verify", action="store_true", default=False, help="prove that FILE can be restored, before it gets its name"
    )
    return _read(parser, arguments)


def read_restore(arguments: Sequence[str]) -> BackupArguments:
    """Raises SettingsError for wrong arguments, and SystemExit after `--help`."""
    parser = _parser("restore", _RESTORE)
    parser.add_argument(
        "--replace", dest="over", action="store_true", default=False, help="drop what the database holds now"
    )
    return _read(parser, arguments)


def _parser(command: str, description: str) -> ArgumentParser:
    parser = settings_parser(f"contentgen-scheduler {command}", description, _SETTINGS)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("file", metavar="FILE", help="path of the backup")
    return parser


def _read(parser: ArgumentParser, arguments: Sequence[str]) -> BackupArguments:
    flags = vars(parser.parse_args(arguments))
    file, over, verify = flags.pop("file"), flags.pop("over"), flags.pop("verify", False)
    return BackupArguments(Path(file).expanduser().absolute(), over, settings_of(flags), verify)
