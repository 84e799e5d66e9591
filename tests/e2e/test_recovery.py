"""Point-in-time recovery by PostgreSQL's archive of WAL, as docs/upgrades.md has it, and what is true after it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg2
import pytest

from contentgen import ContentGenerationClient
from tests.e2e.test_backups import Site, assert_expired, assert_gone, run
from tests.harness.cluster import server_folder
from tests.harness.ports import free_port
from tests.harness.stack import running_stack
from tests.harness.tcp_server import USER, TcpServer
from tests.harness.waiting import wait_until, wait_until_gone

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
WITHIN = 60.0


class Receiver(ThreadingHTTPServer):
    """Takes deliveries once it is told to, and refuses them before."""

    takes = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refused: list[str] = []
        self.taken: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        (self.server.taken if self.server.takes else self.server.refused).append(self.headers["webhook-id"])
        self.send_response(204 if self.server.takes else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


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
        wait_until(lambda: not self.sql("SELECT pg_is_in_recovery()")[0][0], within=WITHIN, what="it is recovered")

    def sql(self, query: str) -> list[tuple[object, ...]]:
        with closing(
            psycopg2.connect(host="127.0.0.1", port=self.server.port, user=USER, dbname="postgres")
        ) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()


@pytest.fixture
def archived() -> Iterator[Archived]:
    with server_folder() as folder:
        archived = Archived(folder)
        archived.server.create().start()
        yield archived
        archived.server.stop("immediate")


@pytest.mark.costly("a server is recovered from its archive")
def test_a_database_that_was_recovered_to_a_time(archived: Archived) -> None:
    with receiving() as receiver, running_stack(archived.server.url()) as stack:
        scheduler = stack.scheduler(lease_ttl=LEASE, CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1").start()
        site = Site(stack, scheduler, scheduler.client.create_account())
        site.start_worker("worker")
        with ContentGenerationClient(scheduler.target) as client:
            client.create_webhook(f"http://127.0.0.1:{receiver.server_port}/", ["task.ended"])
            ticks = client.create_account("ticks")["account_id"]
            client.create_schedule(ticks, MINUTELY, {"topic": "t"}, catch_up="all", paused=True)
        archived.back_up()
        done = site.complete(2, "done")
        kept = site.submit_held("kept")
        token = site.client.watch(site.account_id).event.resume_token
        wait_until(lambda: len({*receiver.refused}) >= len(done), within=WITHIN, what="deliveries are pending")
        ((at,),) = archived.sql("SELECT now()::text")

        new = site.complete(3, "new")
        numbers = {content.content_id for content in site.client.contents()}
        new_account = site.client.create_account()
        repeated = site.client.submit(site.account_id, "of after it", request_id="one")
        archived.sql(PASS_TIME)
        wait_until(lambda: len(archived.sql(TICKS)) >= MISSED, within=WITHIN, what="the ticks have tasks")
        dropped = site.submit_held("dropped")
        assert archived.sql(RECORDED) == [(3,)]
        assert run(scheduler, "migrate", "--recovered").returncode == 78, "it is in use"
        scheduler.stop()
        archived.sql("SELECT pg_switch_wal()")
        archived.recover(str(at))
        prepared = run(scheduler, "migrate", "--recovered")
        assert prepared.returncode == 0, prepared.stderr
        assert "ready for schedulers: 2 accounts, 3 tasks, 1 running" in prepared.stdout
        assert archived.sql(RECORDED) == [(2,)]
        assert not archived.sql(TICKS)
        archived.sql(PASS_TIME)
        receiver.takes = True
        scheduler.start()
        assert [event for event in scheduler.events("store") if "standby was promoted" in event["event"]]

        assert {key for key, task in site.tasks().items() if task.account_id == site.account_id} == {*done, kept}
        wait_until(lambda: len(archived.sql(TICKS)) >= MISSED, within=WITHIN, what="the ticks have tasks again")
        for task_id in (*new, dropped):
            assert_gone(site.client, task_id)
        (cli,) = stack.journal.creates(dropped)
        wait_until_gone(cli.processes, within=WITHIN, what="the CLI of a task that is gone has ended")
        assert_expired(site.client, site.account_id, token)
        site.let_go("kept")
        assert site.client.wait_completed(kept, within=WITHIN).attempt == 1
        assert site.creates(kept) == 1
        again = site.complete(2, "again")
        assert not {site.client.task(new_id).content_id for new_id in (*again, kept)} & numbers
        assert site.client.create_account() > new_account
        assert site.client.submit(site.account_id, "of after it", request_id="one") != repeated
        before = {*receiver.refused}
        wait_until(lambda: len(before & {*receiver.taken}) >= len(done), within=WITHIN, what="they are sent again")
