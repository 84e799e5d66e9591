"""Roles that lack a right, and a restore for the two roles of the documentation."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import sqlalchemy as sa

from contentgen.service.settings import SettingsError
from scheduler_svc.database import connections as server
from scheduler_svc.schema.migrate import migrate, revisions, upgrade
from tests.harness.database_faults import NEWEST, LaterMigrations, execute
from tests.harness.documents import DOCS, snippets
from tests.harness.importing import old_application
from tests.harness.process import installed, run_to_end
from tests.harness.processes import free_port
from tests.harness.stack import running_stack
from tests.harness.tcp_server import USER, TcpServer, running

pytestmark = pytest.mark.e2e

PROGRAM = installed("contentgen-scheduler")
WITHIN = 60.0
SQL, *_ = (snippet.text for snippet in snippets(DOCS / "how-to" / "database-rights.md") if snippet.language == "sql")
"""What the documentation has an operator run."""
OWNER, SERVING = "contentgen_owner", "contentgen_app"


def run_on(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program until it ends, in a folder of its own: a scheduler that begins to serve does not."""
    environment = {"DATABASE_URL": url, "PATH": os.environ["PATH"], "CONTENTGEN_LISTEN": "127.0.0.1:0"}
    with TemporaryDirectory() as folder:
        return run_to_end([PROGRAM, *arguments], environment, cwd=Path(folder), within=WITHIN)


class Place:
    """A database without tables, and roles that come and go with the test."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def sql(self, *statements: str) -> None:
        with self._engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def url(self, role: str | None = None) -> str:
        url = self._url.set(username=role) if role else self._url
        return url.render_as_string(hide_password=False)

    def run(self, *arguments: str, role: str) -> subprocess.CompletedProcess[str]:
        return run_on(self.url(role), *arguments)

    def refused(self, *arguments: str, role: str) -> str:
        """What it says where it ends with 78 and was never ready."""
        done = self.run(*arguments, role=role)
        assert done.returncode == 78, done.stderr
        assert '"ready"' not in done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def drop_roles(self) -> None:
        for role in (OWNER, SERVING):
            with self._engine.connect() as connection:
                exists = connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
            if exists:
                self.sql(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


@pytest.fixture
def place(empty_db_url: str) -> Iterator[Place]:
    place = Place(empty_db_url)
    yield place
    place.drop_roles()


@pytest.fixture
def documented(place: Place) -> Place:
    """With the two roles that the documentation makes."""
    place.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC", SQL)
    return place


def test_the_documented_roles_migrate_and_serve(documented: Place) -> None:
    migration = documented.run("migrate", role=OWNER)
    assert (migration.returncode, migration.stdout) == (0, f"schema {NEWEST}: applied {', '.join(revisions())}\n"), (
        migration.stderr
    )
    assert documented.run("migrate", role=OWNER).stdout == f"schema {NEWEST}: nothing to do\n"
    assert documented.run("migrate", role=SERVING).stdout == f"schema {NEWEST}: nothing to do\n"
    with running_stack(documented.url(SERVING)) as stack:
        scheduler = stack.scheduler().start()
        account_id = scheduler.client.create_account()
        task_id = scheduler.client.submit(account_id, options={"demo-seconds": "0.1"})
        assert scheduler.client.watch(account_id).event.resume_token
        stack.worker("worker", scheduler).start()
        scheduler.client.wait_completed(task_id, within=WITHIN)


def test_an_empty_database_without_create_is_refused_with_what_to_run(documented: Place) -> None:
    for command in ((), ("migrate",)):
        refusal = documented.refused(*command, role=SERVING)
        assert f"role {SERVING} may not bring the database to schema {NEWEST}: permission denied" in refusal
        assert "`contentgen-scheduler migrate`" in refusal
        assert f"GRANT USAGE, CREATE ON SCHEMA public TO {SERVING}" in refusal


def test_an_old_schema_of_another_owner_is_refused_with_what_to_run(documented: Place, tmp_path: Path) -> None:
    later = LaterMigrations(tmp_path)
    later.add("0090", execute("ALTER TABLE workers ADD COLUMN later TEXT"))
    owner, serving = (sa.create_engine(documented.url(role), poolclass=sa.NullPool) for role in (OWNER, SERVING))
    upgrade(owner)
    with pytest.raises(SettingsError) as refused:
        upgrade(serving, migrations=later.folder)
    message = str(refused.value)
    assert "may not bring the database to schema 0090" in message
    assert f"`contentgen-scheduler migrate` with the DATABASE_URL of role {OWNER}, which owns the tables" in message


LACKS = {
    "INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public": "it lacks DELETE on account_assets, accounts, ",
    "UPDATE ON leases": "it lacks UPDATE on leases\n",
    "SELECT ON v_running": "it lacks SELECT on v_running\n",
    "SELECT ON event_seq": "it lacks SELECT on event_seq\n",
    "SELECT ON alembic_version": "and role contentgen_app may not read it: SELECT on",
    "USAGE ON SCHEMA public": "  GRANT USAGE ON SCHEMA public TO contentgen_app;",
}
"""What a role without a right is told."""


def test_a_role_that_lacks_a_right_never_serves(documented: Place) -> None:
    upgrade(sa.create_engine(documented.url(OWNER), poolclass=sa.NullPool))
    for right, lacking in LACKS.items():
        documented.sql(f"REVOKE {right} FROM {SERVING}")
        with pytest.raises(SettingsError) as refused:
            migrate(documented.url(SERVING), then_serves=True)
        assert lacking in f"{refused.value}\n"
        documented.sql(f"GRANT {right} TO {SERVING}")


def test_the_grants_that_are_told_help(documented: Place) -> None:
    upgrade(sa.create_engine(documented.url(OWNER), poolclass=sa.NullPool))
    documented.sql("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM contentgen_app")
    documented.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO contentgen_app")
    refusal = documented.refused(role=SERVING)
    documented.sql(*(event["event"] for event in map(json.loads, refusal.splitlines()) if "  GRANT " in event["event"]))
    with running_stack(documented.url(SERVING)) as stack:
        stack.scheduler().start()


def test_an_import_without_its_right_is_refused_with_what_to_grant(documented: Place, tmp_path: Path) -> None:
    upgrade(sa.create_engine(documented.url(OWNER), poolclass=sa.NullPool))
    source = f"sqlite:///{tmp_path}/old.db"
    with old_application(source) as old:
        old.account(7, "an account")
    refusal = documented.refused("import", source, role=SERVING)
    assert (
        f"role {SERVING} may not import into this database, for it lacks UPDATE on accounts_account_id_seq" in refusal
    )
    documented.sql(*(line.strip() for line in refusal.splitlines() if line.startswith("  GRANT ")))
    assert documented.run("import", source, role=SERVING).returncode == 0


def test_a_backup_needs_to_read_tables_and_sequences(documented: Place, tmp_path: Path) -> None:
    upgrade(sa.create_engine(documented.url(OWNER), poolclass=sa.NullPool))
    documented.sql("REVOKE SELECT ON SEQUENCE accounts_account_id_seq FROM contentgen_app")
    lacking = documented.run("backup", str(tmp_path / "lacking"), role=SERVING)
    assert lacking.returncode == 1
    assert "accounts_account_id_seq" in lacking.stderr
    documented.sql("GRANT SELECT ON SEQUENCE accounts_account_id_seq TO contentgen_app")
    assert documented.run("backup", str(tmp_path / "whole"), role=SERVING).returncode == 0


def test_a_role_that_only_reads_is_refused(documented: Place) -> None:
    documented.sql("ALTER ROLE contentgen_app SET default_transaction_read_only = on")
    with pytest.raises(SettingsError, match=r"role contentgen_app may only read.* SET default_transaction_read_only"):
        server.check_sessions(documented.url(SERVING))


def test_a_schema_that_is_missing_is_refused(documented: Place) -> None:
    documented.sql("ALTER ROLE contentgen_owner SET search_path = nowhere")
    with pytest.raises(SettingsError) as refused:
        migrate(documented.url(OWNER))
    assert "No schema of its search_path (nowhere) is there for it" in str(refused.value)
    assert "CREATE SCHEMA contentgen AUTHORIZATION contentgen_owner" in str(refused.value)


def test_a_server_that_is_too_old_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "OLDEST", 99)
    with pytest.raises(SettingsError, match=r"leads to PostgreSQL \d+: versions 99 to \d+ are supported"):
        server.check_sessions(place.url())


# A restore for the two roles that the documentation recommends, over TLS: the schedulers' role serves afterwards.


DEBIAN = Path("/usr/lib/postgresql/15/bin")


class Site:
    """A server with TLS, and the two roles; its database `contentgen` is the owner's."""

    def __init__(self, server: TcpServer, folder: Path) -> None:
        self._server = server
        self.file = folder / "backup"

    def url(self, role: str, database: str = "contentgen") -> str:
        url = sa.make_url(self._server.url(database, sslmode="verify-full", sslrootcert=str(self._server.ca)))
        return url.set(username=role).render_as_string(hide_password=False)

    def sql(self, *statements: str, database: str = "contentgen") -> None:
        for statement in statements:
            self._server.sql(statement, database, sslmode="require")

    def owner_of_tables(self) -> object:
        [(owner,)] = self._server.sql("SELECT tableowner FROM pg_tables WHERE tablename = 'tasks'", "contentgen")
        return owner

    def restore(self, *arguments: str, url: str) -> str:
        done = run_on(url, "restore", *arguments, str(self.file))
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running(free_port(), DEBIAN, tls=True) as server:
        site = Site(server, tmp_path)
        site.sql("CREATE DATABASE contentgen", database="postgres")
        site.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC", SQL)
        upgrade(sa.create_engine(site.url(OWNER), poolclass=sa.NullPool))
        done = run_on(site.url(SERVING), "backup", str(site.file))
        assert done.returncode == 0, done.stderr
        yield site


def serves(url: str) -> None:
    with running_stack(url) as stack:
        stack.scheduler().start().client.create_account()


@pytest.mark.skipif(not DEBIAN.exists(), reason="no server with TLS is installed")
def test_the_schedulers_role_serves_what_was_restored(site: Site) -> None:
    assert "GRANT" not in site.restore("--replace", url=site.url(USER))
    assert site.owner_of_tables() == OWNER
    serves(site.url(SERVING))
    site.sql(f"ALTER ROLE {OWNER} CREATEDB", f"ALTER DATABASE contentgen OWNER TO {OWNER}")
    assert "GRANT" not in site.restore("--replace", url=site.url(OWNER))
    serves(site.url(SERVING))


@pytest.mark.skipif(not DEBIAN.exists(), reason="no server with TLS is installed")
def test_for_a_new_server_the_grants_are_printed(site: Site) -> None:
    """Its roles may be there, as here, and have no rights."""
    printed = site.restore(url=site.url(USER, "elsewhere"))
    assert f"Role {SERVING} served the backed-up database, and may not serve this one." in printed
    refused = run_on(site.url(SERVING, "elsewhere"))
    assert refused.returncode == 78
    assert f"the schema is current ({NEWEST}), and role {SERVING} may not read it" in refused.stderr
    assert "Run `contentgen-scheduler migrate`" not in refused.stderr
    site.sql(*(line for line in printed.splitlines() if line.startswith("  ")), database="elsewhere")
    serves(site.url(SERVING, "elsewhere"))
