"""Backups and restores, and failed ones: these leave database and file as they were."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.admin.backups import backup_command, restore_command
from scheduler_svc.admin.backups import restore as archive
from scheduler_svc.admin.backups.backup import Proof, back_up, backup_source
from scheduler_svc.admin.backups.command import assets_folder, copy_assets
from scheduler_svc.admin.backups.programs import DumpProgress, ProgramFailed, Programs, RestoreProgress, run, size
from scheduler_svc.admin.backups.restore import CannotRestore, RestoreSummary, check_schema, read_archive, restore
from scheduler_svc.admin.databases import RestoredCounts
from scheduler_svc.config import Bucket, Settings
from scheduler_svc.live_line import LiveLine
from scheduler_svc.postgres import PostgresError
from scheduler_svc.schema.migrate import upgrade
from scheduler_svc.schema.relations import relations
from tests.harness.cluster import Databases
from tests.harness.database_faults import NEWEST, LaterMigrations, execute
from tests.harness.process import installed, run_to_end
from tests.harness.scheduling import sql
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PROGRAM = installed("contentgen-scheduler")
WAITING_DUMPS = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'contentgen-backup' AND datname = current_database() AND wait_event_type = 'Lock'
"""
ACCOUNT = "INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES (:name, 0, 1)"


class Site:
    """A database, and backups of it in a folder."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.file = folder / "it.backup"
        self.programs = Programs(Settings())
        self.progress = LiveLine(io.StringIO())
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def sql(self, statement: str, **parameters: object) -> list[Any]:
        return sql(self._engine, statement, **parameters)

    def server(self, statement: str) -> None:
        """Runs a statement on whole databases, outside of transactions."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement)

    def connect(self) -> sa.Connection:
        return self._engine.connect()

    def names(self) -> list[object]:
        """The names of all accounts, to compare the content of databases."""
        return [row[0] for row in self.sql("SELECT name FROM accounts ORDER BY account_id")]

    def back_up(self, *, overwrite: bool = False) -> None:
        back_up(self.url, self.file, self.programs, self.progress, overwrite=overwrite)

    def restore(self, *, replace: bool = True) -> RestoreSummary:
        backup = read_archive(self.file, self.programs)
        check_schema(backup)
        return restore(self.url, backup, self.programs, self.progress, replace=replace)

    def databases(self) -> set[object]:
        return {row[0] for row in self.sql("SELECT datname FROM pg_database WHERE datname LIKE 'contentgen_%'")}


@pytest.fixture
def db_url(databases: Databases, template: str) -> Iterator[str]:
    """Of a database that nothing keeps a session with: a restore would refuse it."""
    with databases.lent(template) as url:
        yield url


@pytest.fixture
def site(db_url: str, tmp_path: Path) -> Iterator[Site]:
    site = Site(db_url, tmp_path)
    site.sql(ACCOUNT, name="before")
    others = site.databases()
    yield site
    assert site.databases() == others, "a restore has left a database"


@pytest.fixture
def backed_up(site: Site) -> Site:
    """With a backup, and a row that is not in it."""
    site.back_up()
    site.sql(ACCOUNT, name="after")
    return site


def test_a_restored_database_has_the_backup_s_rows_and_serves(backed_up: Site) -> None:
    """It also drops the database that a killed restore had left."""
    backed_up.sql("UPDATE reaper SET stamp = now()")
    backed_up.back_up(overwrite=True)
    ((noted,),) = backed_up.sql("SELECT now() - success_time < interval '1 hour' FROM backups")
    assert noted
    backed_up.sql("DROP TABLE accounts, tasks CASCADE")
    backed_up.server("CREATE DATABASE contentgen_restoring_0 TEMPLATE template0")
    assert backed_up.restore() == (RestoredCounts(accounts=2, tasks=0, running=0, contents=0), None, [])
    assert backed_up.names() == ["before", "after"]
    comments = backed_up.sql("SELECT obj_description(oid) FROM pg_class WHERE relname LIKE 'v\\_%'")
    assert [str(comment).split(";")[0] for (comment,) in comments] == ["For people"] * len(relations().views)
    ((silent,),) = backed_up.sql("SELECT now() - stamp > interval '1 year' FROM reaper")
    assert silent  # so the first tick finds a gap
    assert backed_up.sql("SELECT success_time FROM backups") == [(None,)]  # it has no backup of its own
    backed_up.sql(ACCOUNT, name="new")
    ((schedule_id,),) = backed_up.sql("SELECT nextval(pg_get_serial_sequence('schedules', 'schedule_id'))")
    assert schedule_id > 600 * 100
    ((content_id, account_id),) = backed_up.sql("SELECT nextval('content_seq'), max(account_id) FROM accounts")
    assert content_id > 600 * 10_000
    assert account_id > 600 * 100


def test_a_non_empty_database_is_replaced_only_with_replace(backed_up: Site) -> None:
    with pytest.raises(CannotRestore, match="not empty: use --replace"):
        backed_up.restore(replace=False)
    assert backed_up.names() == ["before", "after"]


def test_a_refused_restore_names_the_connected_sessions(backed_up: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_svc.admin.databases.DISCONNECT_TIMEOUT", 0.0)
    with backed_up.connect() as one, backed_up.connect() as two, backed_up.connect() as other:
        for connection in (one, two):
            connection.execute(sa.text("SET application_name = 'contentgen'"))
        pids = [connection.scalar(sa.text("SELECT pg_backend_pid()")) for connection in (one, two, other)]
        with pytest.raises(CannotRestore, match=r"in use: stop every scheduler") as raised:
            backed_up.restore()
    assert re.search(rf"\nprocesses {pids[0]}, {pids[1]} of the database \(contentgen, from", str(raised.value))
    assert re.search(rf"\nprocess {pids[2]} of the database \(no name, from", str(raised.value))
    assert backed_up.names() == ["before", "after"]


def test_a_session_that_connects_during_a_restore_keeps_the_database(
    backed_up: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with backed_up.connect() as other:
        monkeypatch.setattr("scheduler_svc.admin.databases.Databases.lasting_sessions", lambda _: [])
        pid = other.scalar(sa.text("SELECT pg_backend_pid()"))
        with pytest.raises(CannotRestore, match=rf"meanwhile, and nothing was changed: .*\nprocess {pid} "):
            backed_up.restore()
    assert backed_up.names() == ["before", "after"]


def test_a_restore_names_objects_that_cannot_be_dropped(backed_up: Site) -> None:
    """PostgreSQL drops no database that is marked as a template."""
    backed_up.server(f"ALTER DATABASE {sa.make_url(backed_up.url).database} IS_TEMPLATE true")
    left = backed_up.restore().leftover
    assert backed_up.names() == ["before"]
    backed_up.server(f"ALTER DATABASE {left} IS_TEMPLATE false")
    backed_up.server(f"DROP DATABASE {left}")


def test_a_url_without_a_database_is_refused(backed_up: Site) -> None:
    backup = read_archive(backed_up.file, backed_up.programs)
    with pytest.raises(CannotRestore, match="DATABASE_URL names no database"):
        restore("postgresql+psycopg2://user@host", backup, backed_up.programs, backed_up.progress, replace=True)


def test_a_file_that_was_cut_off_or_damaged_changes_nothing(backed_up: Site, subtests: pytest.Subtests) -> None:
    backed_up.sql("INSERT INTO accounts SELECT n, repeat(md5(n::text), 9), 0, 1 FROM generate_series(100, 20000) AS n")
    backed_up.back_up(overwrite=True)
    backup = backed_up.file.read_bytes()
    middle = len(backup) // 2
    damaged = backup[:middle] + bytes([backup[middle] ^ 0xFF]) + backup[middle + 1 :]
    for damage, data in {"early end": backup[:3_000], "no last byte": backup[:-1], "another byte": damaged}.items():
        with subtests.test(damage):
            backed_up.file.write_bytes(data)
            with pytest.raises((CannotRestore, ProgramFailed)):
                backed_up.restore()
            assert len(backed_up.names()) == 2 + 19_901


def test_a_backup_is_verified_by_a_restore(site: Site) -> None:
    """The restore of every row into a temporary server does not affect the source's server."""
    others = site.databases()
    summary = back_up(site.url, site.file, site.programs, site.progress, overwrite=False, verify=True)
    tables = site.sql("SELECT count(*) FROM accounts UNION ALL SELECT count(*) FROM reaper")
    assert summary.verified is not None
    assert summary.verified >= sum(rows for (rows,) in tables)
    assert site.databases() == others
    assert [path.name for path in site.file.parent.iterdir()] == [site.file.name]


def test_a_backup_that_cannot_be_noted_says_so(site: Site) -> None:
    site.sql("ALTER TABLE backups RENAME TO gone")
    summary = back_up(site.url, site.file, site.programs, site.progress, overwrite=False)
    assert site.file.exists()
    assert 'does not tell of this backup: relation "backups" does not exist' in summary.note


@pytest.mark.costly("a backup is restored, and served by a scheduler of its own", seconds=6)
def test_a_drill_restores_the_newest_backup_and_serves_it_unless_something_is_missing(site: Site) -> None:
    site.sql("INSERT INTO assets (sha256, size, complete) VALUES (repeat('a', 64), 1, true)")
    site.sql("UPDATE deployment SET cell = 7")
    site.back_up()
    drill = [installed("python"), "-m", "lab.restore_drill", "--from", site.file.parent]
    variables = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://not-touched@127.0.0.1:1/name"}
    held = run_to_end(drill, variables, cwd=ROOT, within=3 * PATIENCE_S)
    assert held.returncode == 0, held.stderr
    assert re.search(r"\d s  restored it into an empty server\n +restored .*: 1 accounts, 0 tasks", held.stdout)
    assert re.search(r"rows in \d+ tables, as many as the backup has; ids of contents go on above \d,", held.stdout)
    assert "it serves 0 tasks and takes a new one" in held.stdout
    assets_folder(site.file).mkdir()
    broken = run_to_end(drill, variables, cwd=ROOT, within=3 * PATIENCE_S)
    assert broken.returncode == 1
    assert f"the backup does not hold: the asset {'a' * 64} is missing or damaged" in broken.stderr


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            "INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES ('new', 0, 1)",
            "1 rows after .* had 2, others",
        ),
        ("UPDATE accounts SET name = 'changed'", "1 rows after a restore, and had 1, others"),
        ("CREATE TABLE more ()", "public.more has no rows after a restore, and had 0"),
    ],
)
def test_a_backup_that_differs_from_its_source_is_refused(site: Site, change: str, text: str) -> None:
    site.back_up()
    site.sql("UPDATE backups SET success_time = NULL")
    site.sql(change)
    with (
        backup_source(site.url) as source,
        pytest.raises(CannotRestore, match=rf"what the database held: .*{text}"),
    ):
        Proof(source, site.programs, site.progress).of(read_archive(site.file, site.programs))


def test_an_unverified_backup_does_not_get_its_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.file.write_text("yesterday's")
    monkeypatch.setattr("scheduler_svc.admin.backups.backup._SERVER_BYTES", 1 << 60)
    with pytest.raises(SettingsError, match=r"--verify restores into .* are needed: name a folder .* in TMPDIR"):
        back_up(site.url, site.file, site.programs, site.progress, overwrite=True, verify=True)
    assert site.file.read_text() == "yesterday's"


def test_a_file_that_is_no_backup_is_refused(site: Site) -> None:
    with pytest.raises(CannotRestore, match=r"can't be read: No such file"):
        site.restore()
    site.file.write_text("PostgreSQL database dump")
    with pytest.raises(CannotRestore, match="is not a backup"):
        site.restore()


def test_a_dump_of_another_database_is_refused(site: Site, empty_db_url: str) -> None:
    progress = DumpProgress(site.progress, site.file)
    run(site.programs.newest("pg_dump"), "-Fc", f"--file={site.file}", url=empty_db_url, follower=progress)
    with pytest.raises(CannotRestore, match=r"another database: it has no table alembic_version, tasks, leases"):
        site.restore()


def test_a_backup_of_a_newer_schema_is_restored_only_if_it_supports_this_code(site: Site, tmp_path: Path) -> None:
    later = LaterMigrations(tmp_path)
    later.add("0090", execute("ALTER TABLE accounts ADD COLUMN later TEXT"))
    later.add("0091", execute("SELECT 1"), oldest_code="0090")
    engine = sa.create_engine(site.url, poolclass=sa.NullPool)
    upgrade(engine, migrations=later.folder)
    site.back_up()
    with pytest.raises(CannotRestore, match=rf"schema 0091, made by contentgen .*this one knows schema {NEWEST}"):
        site.restore()
    site.sql("UPDATE schema_compatibility SET oldest_code = :newest", newest=NEWEST)
    site.back_up(overwrite=True)
    assert site.restore().counts.accounts == 1
    assert site.sql("SELECT version_num FROM alembic_version") == [("0091",)]


def test_a_backup_of_an_older_schema_is_migrated(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is restored by a version to come, which has one migration more."""
    later = LaterMigrations(tmp_path)
    later.add("0090", execute("ALTER TABLE accounts ADD COLUMN later TEXT"))
    site.back_up()
    monkeypatch.setattr("scheduler_svc.admin.backups.restore.upgrade", partial(upgrade, migrations=later.folder))
    site.restore()
    assert site.sql("SELECT version_num, later FROM alembic_version, accounts") == [("0090", None)]


def test_a_backup_from_before_the_first_release_is_refused(site: Site) -> None:
    site.sql("ALTER TABLE schema_compatibility RENAME TO compatibility")
    site.sql("UPDATE alembic_version SET version_num = '0020'")
    site.back_up()
    with pytest.raises(CannotRestore, match="schema 0020 without a declaration"):
        site.restore()


def test_a_server_of_an_older_major_version_is_refused(backed_up: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = read_archive(backed_up.file, backed_up.programs)
    newer = archive.Archive(backup.path, backup.made, 99, backup.entries, backup.revision, backup.declaration)
    with pytest.raises(CannotRestore, match=r"was made on PostgreSQL 99, and the server is \d+: restore into"):
        restore(backed_up.url, newer, backed_up.programs, backed_up.progress, replace=True)
    assert backed_up.names() == ["before", "after"]


def test_a_user_who_cannot_create_databases_is_refused(backed_up: Site) -> None:
    backed_up.sql("CREATE ROLE poor LOGIN")
    try:
        poor = sa.make_url(backed_up.url).set(username="poor").render_as_string(hide_password=False)
        backup = read_archive(backed_up.file, backed_up.programs)
        with pytest.raises(CannotRestore, match="may not create databases"):
            restore(poor, backup, backed_up.programs, backed_up.progress, replace=True)
    finally:
        backed_up.sql("DROP ROLE poor")
    assert backed_up.names() == ["before", "after"]


def test_an_empty_database_has_nothing_to_back_up(empty_db_url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nothing to back up"):
        Site(empty_db_url, tmp_path).back_up()
    assert list(tmp_path.iterdir()) == []


def test_a_backup_creates_no_database_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    done = run_to_end([PROGRAM, "backup", "it.backup", f"--data-dir={tmp_path}/typo"], cwd=tmp_path, within=PATIENCE_S)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"{tmp_path}/typo has no database: set CONTENTGEN_DATA_DIR, or DATABASE_URL\n"
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_missing_is_named(site: Site, tmp_path: Path) -> None:
    site.programs = Programs(Settings(pg_bindir=tmp_path))
    with pytest.raises(
        PostgresError, match=rf"no pg_dump .*looked for pg_dump in {tmp_path}\): install .*CONTENTGEN_PG_BINDIR"
    ):
        site.back_up()
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_backup_leaves_no_file_and_bars_a_second_one_while_it_runs(site: Site) -> None:
    """A lock on a table keeps the backup in progress for as long as the test needs."""
    with site.connect() as holder:
        holder.execute(sa.text("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE"))
        process = subprocess.Popen(
            [PROGRAM, "backup", site.file],
            env={"DATABASE_URL": site.url, "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(lambda: site.sql(WAITING_DUMPS), within=PATIENCE_S, what="pg_dump waits for the table")
        with pytest.raises(SettingsError, match="another backup is writing"):
            site.back_up()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (130, "interrupted; nothing was changed\n")
    assert list(site.file.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        ([], 2, "required: FILE"),
        (["a", "b"], 2, "there is an argument too many"),
        (["a", "--pg-bindir=/nowhere"], 78, "--pg-bindir=/nowhere: must be an existing folder"),
    ],
)
def test_a_wrong_command_line_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, text: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        for command in (backup_command, restore_command):
            assert command(arguments) == status
            assert text in capsys.readouterr().err
    finally:
        signal.signal(signal.SIGTERM, before)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STEPS = [f"{n} of 4 steps done: {step}" for n, step in enumerate(["TABLE tasks", "TABLE leases", "INDEX tasks_pkey"])]


@pytest.mark.parametrize(
    ("out", "shown"),
    [
        (io.StringIO(), f"{STEPS[0]}\n{STEPS[2]}\n"),
        (Terminal(), f"\r\033[K{STEPS[0]}\r\033[K{STEPS[1]}\r\033[K{STEPS[2]}\r\033[K"),
    ],
)
def test_the_progress_of_a_backup_is_shown(monkeypatch: pytest.MonkeyPatch, out: io.StringIO, shown: str) -> None:
    clock = [100.0]
    monkeypatch.setattr("scheduler_svc.live_line.time.monotonic", lambda: clock[0])
    progress = LiveLine(out)
    follower = RestoreProgress(progress, 4)
    for clock[0], kind, name in ((110.0, "TABLE", "tasks"), (111.0, "TABLE", "leases"), (121.0, "INDEX", "tasks_pkey")):
        follower.at(kind, name)
        follower.tick()
    progress.clear()
    assert out.getvalue() == shown


def test_a_backup_says_which_bucket_belongs_to_it(tmp_path: Path) -> None:
    belongs = "its assets are in s3://pictures/some: that bucket belongs to this backup, so keep it as long"
    assert copy_assets(Bucket("pictures", "some"), tmp_path / "it.backup") == belongs


@pytest.mark.parametrize(("n", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 40, "5.0 TiB")])
def test_sizes_are_human_readable(n: int, text: str) -> None:
    assert size(n) == text
