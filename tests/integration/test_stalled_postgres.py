"""A PostgreSQL that refuses all connections for good is distinguished from those that only seem to.

The stalled state is PostgreSQL's own: its restart after a crash fails (`tests/failed_restart`), and it waits forever.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest

from scheduler_svc.postgres import EmbeddedPostgres, orphan, standstill
from scheduler_svc.postgres.processes import is_alive
from scheduler_svc.postgres.standstill import STANDSTILL_TIMEOUT, Standstill
from tests.harness.cluster import server_folder
from tests.harness.failed_restart import checkpointer, children, fail_restart
from tests.harness.waiting import wait_until
from tests.integration.supervisor import supervising

WITHIN = 15.0
STOPS_TIMEOUT = 8.0
"""Seconds that a scheduler's stop may take, without its drain."""
ROWS = 300_000
"""Enough that their recovery takes a moment."""


class Clock:
    """Seconds, as the test sets them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def root() -> Iterator[Path]:
    with server_folder() as folder:
        yield folder


@pytest.fixture
def server(root: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(root, throwaway=True, settings=("synchronous_commit=on",)) as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first check decides."""
    monkeypatch.setattr(standstill, "STANDSTILL_TIMEOUT", 0.0)


def execute(server: EmbeddedPostgres, sql: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(server.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def refusal(server: EmbeddedPostgres) -> str:
    """Its refusal of a connection; empty if it accepts one."""
    try:
        psycopg2.connect(server.dsn(), connect_timeout=2).close()
    except psycopg2.OperationalError as error:
        return str(error)
    return ""


def fill(server: EmbeddedPostgres, held: ExitStack) -> None:
    """Connects until it refuses, which raises psycopg2.OperationalError."""
    while True:
        held.enter_context(closing(psycopg2.connect(server.dsn())))


def pid_of(server: EmbeddedPostgres) -> int:
    assert server.pid is not None
    return server.pid


@pytest.mark.usefixtures("hasty")
def test_a_stalled_server_is_ended_and_comes_back_with_its_data(server: EmbeddedPostgres) -> None:
    execute(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    fail_restart(server.data)
    standing = pid_of(server)
    wait_until(server.stands_still, within=WITHIN, what="it is seen to stand still")
    family = psutil.Process(standing).children()
    assert server.alive(), "that it runs is what made it hard to see"
    server.quit()
    assert not any(is_alive(pid) for pid in (standing, *(child.pid for child in family)))
    server.restart()
    assert pid_of(server) != standing
    assert not server.stands_still()
    assert execute(server, "SELECT answer FROM kept") == [(42,)]


def test_a_server_counts_as_stalled_only_after_some_time_without_progress(server: EmbeddedPostgres) -> None:
    clock = Clock()
    [(name,)] = execute(server, "SELECT current_setting('cluster_name')")
    watch = Standstill(server.data, server.dsn(), str(name), clock)
    assert not watch.is_stuck()
    fail_restart(server.data)
    first = checkpointer(server.data)
    clock.now = 100.0
    wait_until(lambda: refusal(server), within=WITHIN, what="it refuses")
    looks = []
    for clock.now in (100.0, 100.0 + STANDSTILL_TIMEOUT - 0.1, 100.0 + STANDSTILL_TIMEOUT):
        looks.append(watch.is_stuck())
    assert looks == [False, False, True]
    first.kill()
    wait_until(lambda: checkpointer(server.data) != first, within=WITHIN, what="another checkpointer")
    assert not watch.is_stuck()
    clock.now += STANDSTILL_TIMEOUT
    assert watch.is_stuck()


@pytest.mark.usefixtures("hasty")
def test_a_sharing_process_leaves_a_stalled_server_to_its_owner(root: Path, server: EmbeddedPostgres) -> None:
    sharing = EmbeddedPostgres(root).start()
    fail_restart(server.data)
    wait_until(server.stands_still, within=WITHIN, what="the owner sees it")
    assert not sharing.stands_still()
    sharing.quit()
    assert server.alive()


@contextmanager
def recovering(server: EmbeddedPostgres) -> Iterator[None]:
    """The next restart's startup process is held, so that it is in the middle of it for as long as the block runs."""
    [held] = wait_until(lambda: children(server.data, "startup"), within=WITHIN, what="it recovers")
    held.suspend()
    yield
    held.resume()


def write_much(server: EmbeddedPostgres) -> None:
    execute(server, f"CREATE TABLE much AS SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) AS n")


@pytest.mark.usefixtures("hasty")
def test_a_recovering_server_is_left_alone(server: EmbeddedPostgres) -> None:
    write_much(server)
    checkpointer(server.data).kill()
    with recovering(server):
        assert "the database system is" in refusal(server)
        assert not server.stands_still()
    wait_until(lambda: not refusal(server), within=WITHIN, what="it has recovered")
    assert execute(server, "SELECT count(*) FROM much") == [(ROWS,)]


def test_a_long_recovery_is_not_interrupted(server: EmbeddedPostgres) -> None:
    write_much(server)
    psutil.Process(server.pid).kill()
    wait_until(lambda: not server.alive(), within=WITHIN, what="it has ended")
    patience = 1.0
    with ThreadPoolExecutor(1) as thread:
        begin = time.monotonic()
        restarted = thread.submit(server.restart, timeout=patience)
        with recovering(server):
            wait_until(lambda: time.monotonic() > begin + 1.5 * patience, within=WITHIN, what="its time is over")
            assert not restarted.done()
        restarted.result(WITHIN)
    assert execute(server, "SELECT count(*) FROM much") == [(ROWS,)]


@pytest.mark.usefixtures("hasty")
def test_a_frozen_server_is_left_alone(server: EmbeddedPostgres) -> None:
    os.kill(pid_of(server), signal.SIGSTOP)
    assert not server.stands_still()
    os.kill(pid_of(server), signal.SIGCONT)
    assert not refusal(server)


@pytest.mark.usefixtures("hasty")
def test_a_server_without_free_connections_is_left_alone(root: Path) -> None:
    few = ("max_connections=3", "superuser_reserved_connections=0", "max_wal_senders=0")
    with EmbeddedPostgres(root, throwaway=True, settings=few) as server, ExitStack() as held:
        with pytest.raises(psycopg2.OperationalError, match="too many clients"):
            fill(server, held)
        assert not server.stands_still()


@pytest.mark.usefixtures("hasty")
def test_a_server_that_shuts_down_is_left_alone(server: EmbeddedPostgres) -> None:
    with closing(psycopg2.connect(server.dsn())):
        os.kill(pid_of(server), signal.SIGTERM)
        wait_until(lambda: "shutting down" in refusal(server), within=WITHIN, what="it waits for its last client")
        assert not server.stands_still()
    wait_until(lambda: not server.alive(), within=WITHIN, what="it has ended")


def test_a_stalled_server_of_a_killed_owner_bars_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphan, "ORPHAN_TIMEOUT", 0.2)
    with supervising(root) as owner:
        fail_restart(root / "data")
        owner.kill()
        with EmbeddedPostgres(root, throwaway=True).start() as server:
            assert server.owner
            assert not refusal(server)


def test_a_sharing_process_takes_over_a_stalled_server_of_a_killed_owner(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan, "ORPHAN_TIMEOUT", 0.2)
    with supervising(root) as owner, EmbeddedPostgres(root, throwaway=True) as sharing:
        fail_restart(root / "data")
        assert not sharing.stands_still()
        owner.kill()
        wait_until(sharing.stands_still, within=WITHIN, what="it is seen to stand still")
        sharing.quit()
        sharing.restart()
        assert sharing.owner
        assert not refusal(sharing)


@pytest.mark.usefixtures("hasty")
def test_a_stalled_server_is_stopped_at_once(server: EmbeddedPostgres) -> None:
    fail_restart(server.data)
    wait_until(server.stands_still, within=WITHIN, what="it is seen to stand still")
    standing = psutil.Process(pid_of(server))
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < STOPS_TIMEOUT
    assert not standing.is_running()
