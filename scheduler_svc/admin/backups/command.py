"""The commands `backup` and `restore`: their arguments, the database by the modules beside this one, and the assets."""

from __future__ import annotations

import shutil
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, SettingsError, UsageError
from scheduler_svc.admin.backups.backup import back_up, check_target
from scheduler_svc.admin.backups.programs import ProgramFailed, Programs, size
from scheduler_svc.admin.backups.restore import CannotRestore, check_schema, read_archive, restore
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.config import Bucket, Settings, settings_of, settings_parser
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError

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


# The assets of a backup: a folder beside its file, laid out as the schedulers' own. A bucket keeps its own. Objects
# never change, and one that no content names stays for a week: a copy that begins after the database's snapshot has
# all that it names.


def assets_folder(file: Path) -> Path:
    """Where the assets of this backup are."""
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


def bring_assets_back(file: Path, location: Path | Bucket) -> str:
    """Copies the assets of a backup into the schedulers' folder; those that are there stay.

    Returns what to tell the operator. Raises OSError, SettingsError if the folder can't be written.
    """
    names = FolderStore(assets_folder(file)).names()
    if isinstance(location, Bucket):
        return f"{assets_folder(file)} is not copied into {location}: do that" if names else ""
    if not names:
        return ""
    try:
        FolderStore(location).prepare()
    except AssetStoreUnavailable as error:
        raise SettingsError([str(error)]) from None
    return f"{location}: {_copy_objects(assets_folder(file), location, names):,} of {len(names):,} assets were missing"


def store_id_of(file: Path, location: Path | Bucket) -> str | None:
    """Returns the id of the folder that `bring_assets_back` put the assets of a backup into; None if it put none there.

    Raises OSError.
    """
    if isinstance(location, Bucket) or not FolderStore(assets_folder(file)).names():
        return None
    try:
        return FolderStore(location).identity(create=True)
    except AssetStoreUnavailable as error:
        raise OSError(str(error)) from None


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


# The commands.


DONE = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


def backup_command(arguments: Sequence[str]) -> int:
    return _status(lambda: _back_up(read_backup(arguments)))


def restore_command(arguments: Sequence[str]) -> int:
    return _status(lambda: _restore(read_restore(arguments)))


def _back_up(arguments: BackupArguments) -> None:
    check_target(arguments.file, overwrite=arguments.replace)
    programs, progress = Programs(arguments.settings), LiveLine(sys.stderr)
    location, notes = arguments.settings.asset_location, [""]

    def save_assets() -> None:
        notes[0] = copy_assets(location, arguments.file)

    with _server(arguments.settings, share=True) as url:
        try:
            summary = back_up(
                url,
                arguments.file,
                programs,
                progress,
                overwrite=arguments.replace,
                verify=arguments.verify,
                then=save_assets,
            )
        finally:
            progress.clear()
    print(
        f"{arguments.file}: {size(summary.bytes)} of {summary.time}, schema {summary.revision}, "
        f"in {summary.seconds:.1f} s"
    )
    if summary.verified is not None:
        print(f"verified: restored elsewhere, and all of its {summary.verified:,} rows are equal")
    if notes[0]:
        print(notes[0])


def _restore(arguments: BackupArguments) -> None:
    programs, progress = Programs(arguments.settings), LiveLine(sys.stderr)
    archive = read_archive(arguments.file, programs)
    check_schema(archive)
    with _server(arguments.settings, share=False) as url:
        note = bring_assets_back(arguments.file, arguments.settings.asset_location)
        store_id = store_id_of(arguments.file, arguments.settings.asset_location)
        try:
            sums, old_database, advice = restore(
                url, archive, programs, progress, replace=arguments.replace, store_id=store_id
            )
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


@contextmanager
def _server(settings: Settings, *, share: bool) -> Iterator[str]:
    """The URL of the schedulers' database. Starts an embedded one, which with `share` must exist.

    Raises SettingsError, PostgresError.
    """
    if settings.database_url:
        yield settings.database_url
        return
    postgres = EmbeddedPostgres(settings.data_dir / "postgres", bindir=settings.pg_bindir)
    if share and not postgres.data.exists():
        raise SettingsError([f"{settings.data_dir} has no database: set CONTENTGEN_DATA_DIR, or DATABASE_URL"])
    postgres.start(share=share)
    try:
        yield postgres.url()
    finally:
        postgres.stop()


def _status(run: Callable[[], None]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as on Ctrl-C
    try:
        run()
    except UsageError as error:
        return _fail(error, USAGE)
    except (SettingsError, CannotRestore, PostgresError) as error:
        return _fail(error, EXIT_STATUS)
    except (ProgramFailed, OSError) as error:
        return _fail(error, FAILED)
    except sa.exc.DBAPIError as error:
        return _fail(f"the database of the schedulers can't be used: {str(error.orig).strip()}", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was changed", INTERRUPTED)
    return DONE


def _fail(problem: object, status: int) -> int:
    print(problem, file=sys.stderr)
    return status
