"""What the operator's commands on the database share: the database, and exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from contentgen.service.settings import EXIT_STATUS, EXIT_USAGE, SettingsError, UsageError
from scheduler_svc.config import Settings
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError

DONE = 0
FAILED = 1
INTERRUPTED = 130


@contextmanager
def serving_database(settings: Settings, *, share: bool = True, must_exist: bool = False) -> Iterator[str]:
    """Yields the URL of the schedulers' database. An embedded one is started, or with `share` the running one is used.

    Raises PostgresError, and SettingsError if an embedded one `must_exist` and does not.
    """
    if settings.database_url:
        yield settings.database_url
        return
    postgres = EmbeddedPostgres(settings.data_dir / "postgres", bindir=settings.pg_bindir)
    if must_exist and not postgres.data.exists():
        raise SettingsError([f"{settings.data_dir} has no database: set CONTENTGEN_DATA_DIR, or DATABASE_URL"])
    postgres.start(share=share)
    try:
        yield postgres.url()
    finally:
        postgres.stop()


def exit_status(
    run: Callable[[], None],
    *,
    refusals: tuple[type[Exception], ...],
    failures: tuple[type[Exception], ...],
    interrupted: str,
) -> int:
    """Runs a command; prints the problem if it ends with one of these errors. `interrupted`: what a Ctrl-C leaves."""
    refused: tuple[type[Exception], ...] = (SettingsError, PostgresError, *refusals)
    try:
        run()
    except UsageError as error:
        return fail(error, EXIT_USAGE)
    except refused as error:
        return fail(error, EXIT_STATUS)
    except failures as error:
        return fail(error, FAILED)
    except sa.exc.DBAPIError as error:
        return fail(f"the database of the schedulers can't be used: {str(error.orig).strip()}", FAILED)
    except KeyboardInterrupt:
        return fail(f"interrupted; {interrupted}", INTERRUPTED)
    return DONE


def fail(problem: object, status: int) -> int:
    print(problem, file=sys.stderr)
    return status
