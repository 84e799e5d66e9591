"""Recovery to a point in time, and backups of servers of other versions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from contentgen import ContentGenerationClient
from scheduler_svc.admin.backups.programs import Programs
from scheduler_svc.config import Settings
from scheduler_svc.postgres import PostgresError, find_bindir
from scheduler_svc.schema.migrate import migrate
from tests.backups.test_scenarios import Site, assert_expired, assert_gone, run
from tests.harness.cluster import server_folder
from tests.harness.process import installed, run_to_end
from tests.harness.processes import free_port
from tests.harness.receivers import Receiver, status
from tests.harness.stack import running_stack
from tests.harness.tcp_server import TcpServer, running
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.e2e

LEASE = 90.0
MINUTELY = "* * * * *"
MISSED = 3
PASS_TIME = f"""
    UPDATE schedules SET paused = false, due_time = now(),
        next_tick = date_trunc('minute', now()) - interval '{MISSED} minutes'
    RETURNING 1
"""
"""As if the schedule, which begins paused lest a minute ends within the test, had been looked at so many ticks ago."""
RECORDED = "SELECT count(*) FROM audit_events WHERE method LIKE '%CreateAccount'"
TICKS = "SELECT tick FROM schedule_tasks ORDER BY tick"


class Archived:
    """A server that archives its WAL, and what was recovered from it, on the same port."""

    def __init__(self, folder: Path) -> None:
        self._archive = folder / "archive"
        for directory in (self._archive, folder / "first", folder / "second"):
            directory.mkdir()
            directory.chmod(0o777)
        self.server = TcpServer(folder / "first", free_port())
        self.server._settings |= {"archive_mode": "on", "archive_command": f"cp %p {self._archive}/%f"}
        self._base = TcpServer(folder / "second", self.server.port)

    def back_up(self) -> None:
        self._base.follow(self.server)
        (self._base._data / "standby.signal").unlink()

    def recover(self, at: str) -> None:
        self.server.stop()
        self.server = self._base
        self.server._settings |= {
            "restore_command": f"cp {self._archive}/%f %p",
            "recovery_target_time": at,
            "recovery_target_action": "promote",
        }
        (self.server._data / "recovery.signal").touch()
        self.server.start()
        wait_until(
            lambda: not self.server.sql("SELECT pg_is_in_recovery()")[0][0],
            within=PATIENCE_S,
            what="it is recovered",
        )


@pytest.fixture
def archived() -> Iterator[Archived]:
    with server_folder() as folder:
        archived = Archived(folder)
        archived.server.create().start()
        yield archived
        archived.server.stop("immediate")


@pytest.mark.costly("a server is recovered from its archive", seconds=3)
def test_a_database_that_was_recovered_to_a_time(archived: Archived) -> None:
    with Receiver(status(503)) as receiver, running_stack(archived.server.url()) as stack:
        scheduler = stack.scheduler(lease_ttl=LEASE, CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1").start()
        site = Site(stack, scheduler, scheduler.client.create_account())
        site.start_worker("worker")
        with ContentGenerationClient(scheduler.target) as client:
            client.create_webhook(receiver.url, ["task.ended"])
            ticks = client.create_account("ticks")["account_id"]
            client.create_schedule(ticks, MINUTELY, {"topic": "t"}, catch_up="all", paused=True)
        archived.back_up()
        done = site.complete(2, "done")
        kept = site.submit_held("kept")
        token = site.client.watch(site.account_id).event.resume_token
        wait_until(lambda: len({*receiver.message_ids}) >= len(done), within=PATIENCE_S, what="deliveries are pending")
        ((at,),) = archived.server.sql("SELECT now()::text")

        new = site.complete(3, "new")
        numbers = {content.content_id for content in site.client.contents()}
        new_account = site.client.create_account()
        repeated = site.client.submit(site.account_id, "of after it", request_id="one")
        archived.server.sql(PASS_TIME)
        wait_until(lambda: len(archived.server.sql(TICKS)) >= MISSED, within=PATIENCE_S, what="the ticks have tasks")
        dropped = site.submit_held("dropped")
        assert archived.server.sql(RECORDED) == [(3,)]
        assert run(scheduler, "migrate", "--recovered").returncode == 78, "it is in use"
        scheduler.stop()
        archived.server.sql("SELECT pg_switch_wal()")
        archived.recover(str(at))
        prepared = run(scheduler, "migrate", "--recovered")
        assert prepared.returncode == 0, prepared.stderr
        assert "ready for schedulers: 2 accounts, 3 tasks, 1 running" in prepared.stdout
        assert archived.server.sql(RECORDED) == [(2,)]
        assert not archived.server.sql(TICKS)
        archived.server.sql(PASS_TIME)
        refused = receiver.message_ids
        receiver.answer = status(204)
        scheduler.start()
        assert [event for event in scheduler.events("store") if "standby was promoted" in event["event"]]

        assert {key for key, task in site.tasks().items() if task.account_id == site.account_id} == {*done, kept}
        wait_until(
            lambda: len(archived.server.sql(TICKS)) >= MISSED, within=PATIENCE_S, what="the ticks have tasks again"
        )
        for task_id in (*new, dropped):
            assert_gone(site.client, task_id)
        (cli,) = stack.journal.creates(dropped)
        wait_until_gone(cli.processes, within=PATIENCE_S, what="the CLI of a task that is gone has ended")
        assert_expired(site.client, site.account_id, token)
        site.let_go("kept")
        assert site.client.wait_completed(kept, within=PATIENCE_S).attempt == 1
        assert site.creates(kept) == 1
        again = site.complete(2, "again")
        assert not {site.client.task(new_id).content_id for new_id in (*again, kept)} & numbers
        assert site.client.create_account() > new_account
        assert site.client.submit(site.account_id, "of after it", request_id="one") != repeated
        wait_until(
            lambda: len({*refused} & {*receiver.message_ids[len(refused) :]}) >= len(done),
            within=PATIENCE_S,
            what="they are sent again",
        )


# `backup` and `restore` on servers that the installed package's programs are not made for: an older one, over TLS.


PROGRAM = installed("contentgen-scheduler")
WITHIN = 120.0
WHEEL = find_bindir()
INSTALLED = sorted(path.parent for path in Path("/usr/lib/postgresql").glob("1[5-8]/bin/postgres"))
"""Servers of Debian, each of its own version; its programs can speak TLS."""
needs_server = pytest.mark.skipif(not INSTALLED, reason="no server of Debian's is installed (postgresql-15)")


class OldServer:
    """A server that asks for TLS, and a database of a scheduler on it."""

    def __init__(self, server: TcpServer, folder: Path) -> None:
        self.file = folder / "it.backup"
        self._server = server
        server.sql("CREATE DATABASE contentgen", sslmode="require")
        migrate(self.url("require"))
        self.sql("INSERT INTO accounts (name, max_concurrent_tasks, weight) VALUES (E'a\\t\\n\\\\.', 0, 0.1)")

    def url(self, sslmode: str) -> str:
        return self._server.url("contentgen", sslmode=sslmode, sslrootcert=str(self._server.ca))

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        return self._server.sql(statement, "contentgen", sslmode="require")

    def rows(self) -> int:
        """How many rows all tables have."""
        tables = self.sql("SELECT relname FROM pg_stat_user_tables")
        return sum(cast("int", self.sql(f"SELECT count(*) FROM {table}")[0][0]) for (table,) in tables)

    def run(self, *arguments: object, sslmode: str, bindir: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"DATABASE_URL": self.url(sslmode), "PATH": os.environ["PATH"]}
        environment |= {"CONTENTGEN_PG_BINDIR": str(bindir)} if bindir else {}
        return run_to_end([PROGRAM, *arguments], environment, within=WITHIN)


@pytest.fixture(params=INSTALLED, ids=lambda bindir: bindir.parent.name)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OldServer]:
    with running(free_port(), request.param, tls=True) as server:
        yield OldServer(server, tmp_path)


@needs_server
@pytest.mark.release("backups are restored into servers of old versions")
@pytest.mark.parametrize(("sslmode", "bindir"), [("verify-full", None), ("verify-full", WHEEL), ("disable", WHEEL)])
def test_each_version_is_backed_up_verified_and_restored(site: OldServer, sslmode: str, bindir: Path | None) -> None:
    """By its own programs and by newer ones, over TLS and without: what each writes can be restored into it."""
    backup = site.run("backup", "--verify", site.file, sslmode=sslmode, bindir=bindir)
    assert backup.returncode == 0, backup.stderr
    assert f"verified: restored elsewhere, and all of its {site.rows()} rows are equal" in backup.stdout
    site.sql("UPDATE accounts SET name = 'later'")
    restored = site.run("restore", "--replace", site.file, sslmode=sslmode, bindir=bindir)
    assert restored.returncode == 0, restored.stderr
    assert site.sql("SELECT name FROM accounts") == [("a\t\n\\.",)]


@needs_server
def test_a_backup_never_falls_back_to_plaintext(site: OldServer, tmp_path: Path) -> None:
    """`prefer` would fall back to plaintext by itself, where the program can't do better."""
    deaf = tmp_path / "bin"  # not beside its libraries: the driver's can't take their place
    deaf.mkdir()
    program = deaf / "pg_dump"
    program.write_text(f'#!/bin/sh\nexec {WHEEL}/pg_dump "$@"\n')
    program.chmod(0o755)
    refused = site.run("backup", site.file, sslmode="prefer", bindir=deaf)
    assert refused.returncode == 78
    assert f"over TLS ({program} can't speak TLS): install PostgreSQL's client programs" in refused.stderr
    assert not site.file.exists()


def test_programs_that_are_too_old_are_named() -> None:
    too_old = rf"no pg_dump for PostgreSQL 99 \({WHEEL}/pg_dump is of version \d+\)"
    with pytest.raises(PostgresError, match=too_old), Programs(Settings(pg_bindir=WHEEL)).fitting("pg_dump", 99):
        pass
    with pytest.raises(PostgresError, match=r"no programs of a server of PostgreSQL 99 or newer"):
        Programs(Settings()).server(99)
