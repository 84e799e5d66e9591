"""The commands `backup` and `restore`. The top of `scheduler_svc.admin.backups`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, SettingsError, UsageError
from scheduler_svc.admin.backups import assets
from scheduler_svc.admin.backups.archive import CannotRestore, read_archive
from scheduler_svc.admin.backups.arguments import BackupArguments, read_backup, read_restore
from scheduler_svc.admin.backups.backup import back_up, check_target
from scheduler_svc.admin.backups.programs import ProgramFailed, Programs
from scheduler_svc.admin.backups.progress import size
from scheduler_svc.admin.backups.restore import check_schema, restore
from scheduler_svc.config import Settings
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError

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
        notes[0] = assets.save(location, arguments.file)

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
        note = assets.bring_back(arguments.file, arguments.settings.asset_location)
        store_id = assets.store_id_of(arguments.file, arguments.settings.asset_location)
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
