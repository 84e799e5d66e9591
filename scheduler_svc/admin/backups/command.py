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


def _back_up(given: BackupArguments) -> None:
    check_target(given.file, overwrite=given.replace)
    programs, progress = Programs(given.settings), LiveLine(sys.stderr)
    location, told = given.settings.asset_location, [""]

    def save_assets() -> None:
        told[0] = assets.save(location, given.file)

    with _server(given.settings, share=True) as url:
        try:
            made = back_up(
                url, given.file, programs, progress, overwrite=given.replace, verify=given.verify, then=save_assets
            )
        finally:
            progress.clear()
    print(f"{given.file}: {size(made.bytes)} of {made.time}, schema {made.revision}, in {made.seconds:.1f} s")
    if made.verified is not None:
        print(f"verified: restored elsewhere, and all of its {made.verified:,} rows are equal")
    if told[0]:
        print(told[0])


def _restore(given: BackupArguments) -> None:
    programs, progress = Programs(given.settings), LiveLine(sys.stderr)
    archive = read_archive(given.file, programs)
    check_schema(archive)
    with _server(given.settings, share=False) as url:
        told = assets.bring_back(given.file, given.settings.asset_location)
        store_id = assets.store_id_of(given.file, given.settings.asset_location)
        try:
            sums, left, advice = restore(url, archive, programs, progress, replace=given.replace, store_id=store_id)
        finally:
            progress.clear()
    print(
        f"restored {archive.path}, made {archive.made}: {sums.accounts:,} accounts, {sums.tasks:,} tasks, "
        f"{sums.running:,} of them with a worker, {sums.contents:,} contents\nStart the schedulers now."
    )
    if told:
        print(told)
    for line in advice:
        print(line)
    if left:
        print(f"What the database held before can't be dropped: it is in database {left}.")


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


def _fail(what: object, status: int) -> int:
    print(what, file=sys.stderr)
    return status
