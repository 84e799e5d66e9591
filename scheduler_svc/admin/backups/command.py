"""The commands `backup` and `restore`: their arguments, the database by the modules beside this one, and the assets."""

from __future__ import annotations

import shutil
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.backups.backup import back_up, check_target
from scheduler_svc.admin.backups.programs import ProgramFailed, Programs, size
from scheduler_svc.admin.backups.restore import CannotRestore, check_schema, read_archive, restore
from scheduler_svc.admin.commands import exit_status, serving_database
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.config import Bucket, settings_of, settings_parser
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.live_line import LiveLine

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


# The assets of a backup: a folder beside its file, laid out as the schedulers' own. A bucket keeps its own. Objects
# never change, and one that no content names stays for a week: a copy that begins after the database's snapshot has
# all that it names.


def assets_folder(file: Path) -> Path:
    return file.with_name(file.name + ".assets")


def copy_assets(location: Path | Bucket, file: Path) -> str:
    """Copies the assets beside the backup; removes what an earlier backup of that name had and the store has no longer.

    Returns what to tell the operator. Raises OSError.
    """
    if isinstance(location, Bucket):
        return f"its assets are in {location}: that bucket belongs to this backup, so keep it as long"
    names = FolderStore(location).names()
    if not names and not assets_folder(file).exists():
        return ""
    copied = _copy_objects(location, assets_folder(file), names)
    store = FolderStore(assets_folder(file))
    for name in store.names() - names:
        store.delete(name)
    return f"{assets_folder(file)}: {len(names):,} assets, {copied:,} of them new"


def bring_assets_back(file: Path, location: Path | Bucket) -> tuple[str, str | None]:
    """Copies the assets of a backup into the schedulers' folder; those that are there stay.

    Returns what to tell the operator, and the id of the folder (None: it got none). Raises OSError, SettingsError if
    the folder can't be written.
    """
    names = FolderStore(assets_folder(file)).names()
    if not names:
        return "", None
    if isinstance(location, Bucket):
        return f"{assets_folder(file)} is not copied into {location}: do that", None
    store = FolderStore(location)
    try:
        store.prepare()
    except AssetStoreUnavailable as error:
        raise SettingsError([str(error)]) from None
    missing = _copy_objects(assets_folder(file), location, names)
    try:
        store_id = store.identity(create=True)
    except AssetStoreUnavailable as error:
        raise OSError(str(error)) from None
    return f"{location}: {missing:,} of {len(names):,} assets were missing", store_id


def _copy_objects(source: Path, target: Path, names: set[str]) -> int:
    """Copies objects that are not there yet; returns how many. Raises OSError."""
    target_store, source_store = FolderStore(target), FolderStore(source)
    missing = sorted(names - target_store.names())
    try:
        for name in missing:
            with (
                suppress(FileNotFoundError),
                source_store.path(name).open("rb") as file,
                target_store.incoming() as incoming,
            ):
                shutil.copyfileobj(file, incoming.file)  # what is gone meanwhile was named by nothing for a week
                target_store.keep(incoming, name)
    except AssetStoreUnavailable as error:
        raise OSError(str(error)) from None
    return len(missing)


def backup_command(arguments: Sequence[str]) -> int:
    return _status(lambda: _back_up(arguments))


def restore_command(arguments: Sequence[str]) -> int:
    return _status(lambda: _restore(arguments))


def _status(run: Callable[[], None]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as on Ctrl-C
    refusals, failures = (CannotRestore,), (ProgramFailed, OSError)
    return exit_status(run, refusals=refusals, failures=failures, interrupted="nothing was changed")


def _parser(command: str, description: str) -> ArgumentParser:
    parser = settings_parser(f"contentgen-scheduler {command}", description, _SETTINGS)
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("file", metavar="FILE", type=_path, help="path of the backup")
    return parser


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _back_up(arguments: Sequence[str]) -> None:
    """Raises SettingsError for wrong arguments, and SystemExit after `--help`."""
    parser = _parser("backup", _BACKUP)
    parser.add_argument("--overwrite", action="store_true", default=False, help="replace FILE if it exists")
    parser.add_argument(
        "--verify", action="store_true", default=False, help="prove that FILE can be restored, before it gets its name"
    )
    flags = vars(parser.parse_args(arguments))
    file, overwrite, verify = flags.pop("file"), flags.pop("overwrite"), flags.pop("verify")
    settings = settings_of(flags)
    check_target(file, overwrite=overwrite)
    programs, progress = Programs(settings), LiveLine(sys.stderr)
    with serving_database(settings, must_exist=True) as url:
        try:
            assets = partial(copy_assets, settings.asset_location, file)
            summary = back_up(url, file, programs, progress, overwrite=overwrite, verify=verify, then=assets)
        finally:
            progress.clear()
    taken = f"in {summary.seconds:.1f} s"
    print(f"{file}: {size(summary.bytes)} of {summary.time}, schema {summary.revision}, {taken}")
    if summary.verified is not None:
        print(f"verified: restored elsewhere, and all of its {summary.verified:,} rows are equal")
    if summary.note:
        print(summary.note)


def _restore(arguments: Sequence[str]) -> None:
    """Raises SettingsError for wrong arguments, and SystemExit after `--help`."""
    parser = _parser("restore", _RESTORE)
    parser.add_argument("--replace", action="store_true", default=False, help="drop what the database holds now")
    flags = vars(parser.parse_args(arguments))
    file, replace = flags.pop("file"), flags.pop("replace")
    settings = settings_of(flags)
    programs, progress = Programs(settings), LiveLine(sys.stderr)
    archive = read_archive(file, programs)
    check_schema(archive)
    with serving_database(settings, share=False) as url:
        note, store_id = bring_assets_back(file, settings.asset_location)
        try:
            sums, old_database, advice = restore(url, archive, programs, progress, replace=replace, store_id=store_id)
        finally:
            progress.clear()
    print(
        f"restored {archive.path}, made {archive.made}: {sums.accounts:,} accounts, {sums.tasks:,} tasks, "
        f"{sums.running:,} of them with a worker, {sums.contents:,} contents\nStart the schedulers now."
    )
    if note:
        print(note)
    for line in advice:
        print(line)
    if old_database:
        print(f"What the database held before can't be dropped: it is in database {old_database}.")
