"""Brings a database to this version's schema, while replicas of this version and of the one before serve.

Migrations are forward-only and run one replica at a time, each in a transaction of its own. They wait for no lock for
long, since whoever comes after a statement that waits for its table waits too; they are tried again instead.
`docs/upgrades.md` has the rules for what a migration may do.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from psycopg2 import errors as pg_errors

from scheduler_svc.store.engine.connecting import defaults
from scheduler_svc.store.engine.lineage import Lineage
from scheduler_svc.store.schema import compatibility
from scheduler_svc.store.schema.migrations.online import limit_waits
from scheduler_svc.store.schema.privileges import FORBIDDEN, check_may_serve, may_not_migrate

MIGRATIONS = Path(__file__).with_name("migrations")
PATIENCE = 600.0
"""Seconds that a migration is tried again for, and that another replica's migrations are waited for."""

_LOCK = 0x636F6E74656E7467  # "contentg"
_TURN_POLL = 0.1
_PAUSES = (0.5, 10.0)
_PASSING = (pg_errors.LockNotAvailable, pg_errors.QueryCanceled, pg_errors.DeadlockDetected)

# Asked in turns, never waited for within a statement: an index that is built concurrently by the replica whose turn it
# is waits for every statement that runs.
_TAKE_TURN = sa.text("SELECT pg_try_advisory_lock(:lock)")
_END_TURN = sa.text("SELECT pg_advisory_unlock(:lock)")
_OLDEST_TRANSACTION = sa.text("""
    SELECT pid, application_name, extract(epoch FROM clock_timestamp() - xact_start)::integer FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    ORDER BY xact_start LIMIT 1
""")

_log = structlog.get_logger(__name__)


class SchemaTooNew(Exception):
    """A newer version made this database's schema, and it is not one that this version may run on."""


class MigrationStuck(Exception):
    """A migration did not get through within its time; what was applied before it stays, and the next start goes on."""


def migrate(url: str, lineage: Lineage | None = None) -> list[str]:
    """Brings the database of this URL to this version's schema; the revisions that it applied.

    Raises SchemaTooNew, MigrationStuck, and SettingsError where the role may not.
    """
    with _engine(url, lineage) as engine:
        applied = upgrade(engine)
    for revision in applied:
        _log.info("migrated", action="migrate", schema=revision)
    return applied


def check_rights(url: str, lineage: Lineage | None = None) -> None:
    """Raises SettingsError where the role may not serve a database whose schema is there."""
    with _engine(url, lineage) as engine, engine.connect() as connection:
        check_may_serve(connection)


@contextmanager
def _engine(url: str, lineage: Lineage | None) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=defaults(sa.make_url(url)))
    if lineage:
        lineage.guard(engine)
    try:
        yield engine
    finally:
        engine.dispose()


def upgrade(engine: sa.Engine, *, migrations: Path = MIGRATIONS, patience: float = PATIENCE) -> list[str]:
    """Runs the missing migrations; the revisions that it applied.

    Replicas that start together wait for one another. A newer schema is left as it is where it says that this version
    may run on it. Raises SchemaTooNew, MigrationStuck, and SettingsError where the role may not.
    """
    known = [script.revision for script in scripts(migrations)]
    with engine.connect() as connection:
        try:
            return _upgrade(connection, migrations, known, patience)
        except sa.exc.ProgrammingError as error:
            if not isinstance(error.orig, FORBIDDEN):
                raise
            connection.rollback()
            raise may_not_migrate(connection, known[-1], error.orig) from None


def _upgrade(connection: sa.Connection, migrations: Path, known: list[str], patience: float) -> list[str]:
    config = _config(migrations)
    if _is_there(connection, known):
        return []
    with _turn(connection, patience):
        if _is_there(connection, known):
            return []
        config.attributes["connection"] = connection
        missing = known[_applied(connection, known) :]
        for revision in missing:
            _migrate(connection, config, revision, patience)
        return missing


def scripts(migrations: Path = MIGRATIONS) -> list[Script]:
    """The migrations of a folder, oldest first."""
    return list(ScriptDirectory.from_config(_config(migrations)).walk_revisions())[::-1]


def _config(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    return config


def check_compatible(revision: str, declared: compatibility.Declared | None, newest: str) -> None:
    """Whether code whose newest revision is `newest` may run on a schema that it does not know.

    Revisions are of four digits, so they compare as text. Raises SchemaTooNew.
    """
    if declared is not None and declared.oldest_code <= newest:
        return
    by = f"contentgen {declared.migrated_by}" if declared else "another version of contentgen"
    needs = f"runs versions that know schema {declared.oldest_code} or newer" if declared else "names no other version"
    raise SchemaTooNew(
        f"the database has schema {revision}, made by {by}; it {needs}, and this version knows schema {newest}: "
        "start a version that knows it, or restore a backup from before the upgrade (docs/upgrades.md)"
    )


def _is_there(connection: sa.Connection, known: list[str]) -> bool:
    """Whether nothing is missing. Raises SchemaTooNew."""
    revision = compatibility.revision(connection)
    if revision is not None and revision not in known:
        check_compatible(revision, compatibility.declared(connection), known[-1])
        _log.warning("the schema is of a newer version, and runs this one too", action="migrate", schema=revision)
        revision = known[-1]
    connection.commit()
    return revision == known[-1]


def _applied(connection: sa.Connection, known: list[str]) -> int:
    revision = compatibility.revision(connection)
    connection.commit()
    return known.index(revision) + 1 if revision else 0


@contextmanager
def _turn(connection: sa.Connection, patience: float) -> Iterator[None]:
    """While no other replica migrates. Raises MigrationStuck."""
    deadline = time.monotonic() + patience
    waits = False
    while not connection.scalar(_TAKE_TURN, {"lock": _LOCK}):
        connection.commit()
        if not waits:
            _log.info("another process migrates; this one waits for it", action="migrate")
            waits = True
        if time.monotonic() > deadline:
            raise MigrationStuck(f"another process has migrated this database for {patience:g} s: see its log")
        time.sleep(_TURN_POLL)
    connection.commit()
    try:
        yield
    finally:
        with suppress(sa.exc.DBAPIError):
            connection.rollback()
            connection.exec_driver_sql("RESET lock_timeout; RESET statement_timeout")
            connection.execute(_END_TURN, {"lock": _LOCK})
            connection.commit()


def _migrate(connection: sa.Connection, config: Config, revision: str, patience: float) -> None:
    """Applies one migration, again and again while it has to wait for too long. Raises MigrationStuck."""
    begun = time.monotonic()
    pause, longest = _PAUSES
    while True:
        try:
            limit_waits(connection)
            connection.commit()
            command.upgrade(config, revision)
        except sa.exc.DBAPIError as error:
            connection.rollback()
            if not isinstance(error.orig, _PASSING):
                raise
            _give_up_or_go_on(connection, revision, error.orig, begun + patience)
        else:
            return
        time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(pause * 2, longest)


def _give_up_or_go_on(connection: sa.Connection, revision: str, error: Exception, deadline: float) -> None:
    said = str(error).strip().partition("\n")[0]
    oldest = connection.execute(_OLDEST_TRANSACTION).one_or_none()
    connection.commit()
    oldest_text = f"process {oldest[0]} ({oldest[1] or 'no name'}), for {oldest[2]} s" if oldest else "none"
    if time.monotonic() > deadline:
        raise MigrationStuck(
            f"schema {revision} could not be reached ({said}); the longest other transaction: {oldest_text}. "
            "Start again: it goes on from where it is"
        ) from None
    _log.warning(
        "the migration waits too long; it is tried again",
        action="migrate",
        schema=revision,
        error=said,
        oldest_transaction=oldest_text,
    )
