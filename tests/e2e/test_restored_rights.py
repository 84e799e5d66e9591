"""A restore for the two roles that the documentation recommends, over TLS: the schedulers' role serves afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from scheduler_svc.schema.migrate import upgrade
from tests.e2e.test_privileges import OWNER, SERVING, SQL
from tests.harness.later_migrations import NEWEST
from tests.harness.ports import free_port
from tests.harness.process import installed, run_to_end
from tests.harness.stack import running_stack
from tests.harness.tcp_server import USER, TcpServer, running

PROGRAM = installed("contentgen-scheduler")
DEBIAN = Path("/usr/lib/postgresql/15/bin")
WITHIN = 120.0

pytestmark = pytest.mark.skipif(not DEBIAN.exists(), reason="no server with TLS is installed")


class Site:
    """A server with TLS, and the two roles; its database `contentgen` is the owner's."""

    def __init__(self, server: TcpServer, folder: Path) -> None:
        self._server = server
        self.file = folder / "backup"

    def url(self, role: str, database: str = "contentgen") -> str:
        url = sa.make_url(self._server.url(database, sslmode="verify-full", sslrootcert=str(self._server.ca)))
        return url.set(username=role).render_as_string(hide_password=False)

    def sql(self, *statements: str, database: str = "contentgen") -> None:
        engine = sa.create_engine(self.url(USER, database), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def owner_of_tables(self) -> str:
        engine = sa.create_engine(self.url(USER), poolclass=sa.NullPool)
        with engine.connect() as connection:
            owner: str = connection.scalar(sa.text("SELECT tableowner FROM pg_tables WHERE tablename = 'tasks'"))
        return owner

    def run(self, *arguments: str, url: str) -> subprocess.CompletedProcess[str]:
        environment = {"DATABASE_URL": url, "PATH": os.environ["PATH"], "CONTENTGEN_LISTEN": "127.0.0.1:0"}
        return run_to_end([PROGRAM, *arguments], environment, within=WITHIN)

    def restore(self, *arguments: str, url: str) -> str:
        done = self.run("restore", *arguments, str(self.file), url=url)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with running(free_port(), DEBIAN, tls=True) as server:
        site = Site(server, tmp_path)
        site.sql("CREATE DATABASE contentgen", database="postgres")
        site.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC", SQL)
        upgrade(sa.create_engine(site.url(OWNER), poolclass=sa.NullPool))
        done = site.run("backup", str(site.file), url=site.url(SERVING))
        assert done.returncode == 0, done.stderr
        yield site


def serves(url: str) -> None:
    with running_stack(url) as stack:
        stack.scheduler().start().client.create_account()


def test_the_schedulers_role_serves_what_was_restored(site: Site) -> None:
    assert "GRANT" not in site.restore("--replace", url=site.url(USER))
    assert site.owner_of_tables() == OWNER
    serves(site.url(SERVING))
    site.sql(f"ALTER ROLE {OWNER} CREATEDB", f"ALTER DATABASE contentgen OWNER TO {OWNER}")
    assert "GRANT" not in site.restore("--replace", url=site.url(OWNER))
    serves(site.url(SERVING))


def test_for_a_new_server_the_grants_are_printed(site: Site) -> None:
    """Its roles may be there, as here, and have no rights."""
    printed = site.restore(url=site.url(USER, "elsewhere"))
    assert f"Role {SERVING} served the backed-up database, and may not serve this one." in printed
    refused = site.run(url=site.url(SERVING, "elsewhere"))
    assert refused.returncode == 78
    assert f"the schema is current ({NEWEST}), and role {SERVING} may not read it" in refused.stderr
    assert "Run `contentgen-scheduler migrate`" not in refused.stderr
    site.sql(*(line for line in printed.splitlines() if line.startswith("  ")), database="elsewhere")
    serves(site.url(SERVING, "elsewhere"))
