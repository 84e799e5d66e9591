"""The real PgBouncer: by session a scheduler works behind it; by transaction what needs no session of its own does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
import pytest

from scheduler_svc.postgres.programs import server_user_for
from tests.harness.cluster import server_folder
from tests.harness.process import Process, inherited, program
from tests.harness.processes import free_port
from tests.harness.stack import running_stack
from tests.harness.tcp_server import USER, TcpServer, running
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.e2e

_CONFIG = """\
[databases]
* = host=127.0.0.1 port={server} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 400
query_wait_timeout = 20
client_idle_timeout = 0
"""


@pytest.fixture
def server() -> Iterator[TcpServer]:
    with running(free_port()) as server:
        yield server


@contextmanager
def pgbouncer(server: TcpServer, mode: str, size: int = 80) -> Iterator[str]:
    """The URL of the server's database through a PgBouncer that pools in this mode."""
    executable, port = program("pgbouncer"), free_port()
    with server_folder() as folder:
        config = folder / "pgbouncer.ini"
        config.write_text(_CONFIG.format(server=server.port, user=USER, port=port, mode=mode, size=size))
        command = [executable, str(config)]
        if os.geteuid() == 0:  # it refuses to be root
            command[1:1] = ["-u", str(server_user_for(folder).name)]
        url = f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        with Process("pgbouncer", command, folder / "pgbouncer.log", inherited()) as pooler:
            wait_until(lambda: _connects(url), within=PATIENCE_S, what="PgBouncer lets in")
            yield url
            pooler.stop()


def _connects(url: str) -> bool:
    try:
        psycopg2.connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


def test_by_session_two_schedulers_and_a_worker_do_a_task(server: TcpServer) -> None:
    with pgbouncer(server, "session") as url, running_stack(url) as stack:
        one, two = (stack.scheduler(name).start() for name in ("one", "two"))
        stack.worker("worker", two, CREATOR_DEMO_SECONDS="0.1").start()
        account_id = one.client.create_account()
        task_id = one.client.submit(account_id)
        assert one.client.wait_completed(task_id, within=PATIENCE_S).attempt == 1
        assert [content.task_id for content in two.client.contents()] == [task_id]


def test_by_transaction_it_takes_all_that_needs_no_session(server: TcpServer) -> None:
    """Two sessions behind it serve the calls, watches and loops of two schedulers, which keep eight each besides."""
    with pgbouncer(server, "transaction", size=2) as pool_url, running_stack(server.url()) as stack:
        one, two = (stack.scheduler(name, CONTENTGEN_POOL_URL=pool_url).start() for name in ("one", "two"))
        stack.worker("worker", two, CREATOR_DEMO_SECONDS="0.1").start()
        account_id = one.client.create_account()
        task_ids = [one.client.submit(account_id) for _ in range(20)]
        for task_id in task_ids:
            assert two.client.wait_completed(task_id, within=PATIENCE_S).attempt == 1
        assert {content.task_id for content in two.client.contents()} == {*task_ids}
        sessions = server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'contentgen'")
        assert sessions <= [(2 * 8 + 2,)]
        left = server.sql("SELECT 1 FROM pg_stat_activity WHERE state = 'idle in transaction'")
        assert not left


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_by_transaction_or_statement_a_scheduler_says_what_to_do_and_does_not_start(
    server: TcpServer, mode: str
) -> None:
    with pgbouncer(server, mode) as url, running_stack(url) as stack:
        scheduler = stack.scheduler().launch()
        scheduler.ended(within=PATIENCE_S, status=78)
        assert "PgBouncer: pool_mode=session" in scheduler.tail()
        assert not scheduler.served
