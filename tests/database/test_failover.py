"""Failovers as schedulers see them, and an old primary that comes back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import psycopg2
import pytest
import sqlalchemy as sa
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from scheduler_svc.database.connections import connect
from scheduler_svc.database.lineage import Lineage, LineageFile, WrongServer
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.client import Client, refused
from tests.harness.cluster import server_folder
from tests.harness.load import Callers
from tests.harness.processes import free_port
from tests.harness.stack import Scheduler, Stack, running_stack
from tests.harness.tcp_server import USER, TcpServer, running
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.e2e

OUTAGE = 6.0
"""Seconds; `--outage=60` for what a cluster may take."""
MARGIN = 30.0
"""Seconds of the lease time that are not for the outage: two heartbeat intervals, and the time to stop."""
SLOTS = 4
NO_ANSWER = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.fixture
def outage(request: pytest.FixtureRequest) -> float:
    asked = request.config.getoption("--outage")
    return float(asked) if asked else OUTAGE


@pytest.mark.costly("a standby takes over beside runs", seconds=4)
def test_a_failover_stops_no_run_and_loses_nothing_acknowledged(
    stack: Stack, server: EmbeddedPostgres, outage: float
) -> None:
    lease_ttl = max(outage + MARGIN + 2.0, 2 * outage)  # 2 min for 60 s
    first, second = (stack.scheduler(name, lease_ttl=lease_ttl, database_url=server.url()) for name in ("one", "two"))
    for scheduler in (first.start(), second.launch()):
        scheduler.wait_for("ready", within=20)
    for name, home in (("a", f"{first.target},{second.target}"), ("b", f"{second.target},{first.target}")):
        stack.quick_worker(name, home, slots=SLOTS).start()
    client = first.client
    account_id = client.create_account()
    paid = [client.submit(account_id, options={"seconds": f"{outage / 2:g}"}) for _ in range(SLOTS)]
    paid += [client.submit(account_id, options={"seconds": f"{outage + 2:g}"}) for _ in range(SLOTS)]
    client.wait_processing(*paid)

    with _submitting(first.target, account_id) as submitted:
        wait_until(lambda: len(submitted) >= 20, within=10, what="submits are acknowledged")
        _die(server)
        back_at = time.monotonic() + outage
    with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE") as refusal:
        second.client.submit(account_id)
    assert refusal.retry_after
    wait_until(lambda: time.monotonic() >= back_at, within=outage + 1, what="the outage has lasted")
    ended = [create.task_id for create in stack.journal.creates() if create.status == 0]
    assert set(paid[:SLOTS]) <= set(ended), "these ended within the outage"
    server.restart()

    for task_id in (*paid, *submitted):
        client.wait_completed_over_outage(task_id, within=lease_ttl)
    _assert_ran_once(stack, client, [*paid, *submitted])
    assert {task.attempt for task in client.tasks(paid)} == {1}


@contextmanager
def _submitting(target: str, account_id: int) -> Iterator[list[str]]:
    """Submits one by one, until there is no answer; yields the ids of those that were acknowledged."""
    acknowledged: list[str] = []

    def submit(client: Client) -> None:
        with suppress(grpc.RpcError):
            while True:
                acknowledged.append(client.submit(account_id))

    with Callers(target) as callers:
        callers.go("submits", lambda: closing(Client(target)), submit)
        yield acknowledged


def _die(server: EmbeddedPostgres) -> None:
    """An immediate shutdown: no connection is told, no buffer is written."""
    assert server.pid
    os.kill(server.pid, signal.SIGQUIT)
    wait_until(lambda: not server.alive(), within=10, what="the server is gone")


def _assert_ran_once(stack: Stack, client: Client, task_ids: list[str]) -> None:
    runs = {create.task_id: create.status for create in stack.journal.creates()}
    assert len(runs) == len(stack.journal.creates()), "no task ran twice"
    assert {runs[task_id] for task_id in task_ids} == {0}
    for task_id in task_ids:  # a claim whose commit nobody heard of comes back as another attempt, unrun
        assert "WORKER_LOST" not in {reason for _, reason in client.moves(task_id)}
    contents = [content.task_id for content in client.contents()]
    assert len(contents) == len(set(contents)) == len(client.publish_pool())
    assert set(task_ids) <= set(contents)


# A standby is promoted, and the old primary comes back beside it, writable: no replica goes back to it.


class Pair:
    """A primary and its standby, and what happens to them."""

    def __init__(self, folder: Path) -> None:
        first, second = folder / "first", folder / "second"
        for directory in (first, second):
            directory.mkdir()
            directory.chmod(0o711)
        port = free_port(following=1)
        self.first = TcpServer(first, port).create().start()
        self.second = TcpServer(second, port + 1).follow(self.first).start()

    @property
    def url(self) -> str:
        """Of both, the first one first."""
        hosts = f"host=127.0.0.1:{self.first.port}&host=127.0.0.1:{self.second.port}"
        return f"postgresql+psycopg2://{USER}@/postgres?{hosts}&target_session_attrs=read-write"

    def fail_over(self) -> None:
        """The first dies with all that it has said to the second, which takes its place."""
        wait_until(self.caught_up, within=PATIENCE_S, what="the standby has all")
        self.first.stop("immediate")
        self.second.promote()

    def cut_connections(self) -> None:
        """Those of the schedulers, on the second: their next ones go to the first that lets them in."""
        self.second.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'contentgen'")

    def stop(self) -> None:
        for server in (self.second, self.first):
            server.stop("immediate")

    def caught_up(self) -> bool:
        ((ahead,),) = self.first.sql("SELECT pg_current_wal_lsn() <> replay_lsn FROM pg_stat_replication")
        return not ahead


def tasks(server: TcpServer) -> set[object]:
    return {topic for (topic,) in server.sql("SELECT topic FROM task_payloads")}


def submit(client: Client, account_id: int, topic: str) -> None:
    """The same submit, asked for again as long as there is no answer."""

    def submitted() -> str | None:
        try:
            return client.submit(account_id, topic, request_id=topic)
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() in NO_ANSWER:
                return None
            raise

    wait_until(submitted, within=PATIENCE_S, what=f"{topic} is submitted")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with server_folder() as folder:
        pair = Pair(folder)
        yield pair
        pair.stop()


@pytest.fixture
def old_stack(pair: Pair) -> Iterator[Stack]:
    with running_stack(pair.url) as stack:
        yield stack


def refused_start(scheduler: Scheduler) -> str:
    """What it says where it ends with 78 and was never ready."""
    scheduler.launch().ended(within=PATIENCE_S, status=78)
    assert not scheduler.served, scheduler.tail()
    return scheduler.tail()


def test_a_replica_that_saw_the_new_primary_passes_the_old_one_over(pair: Pair, old_stack: Stack) -> None:
    """If it finds the old one alone it stops serving, and says why."""
    scheduler = old_stack.scheduler().start()
    client = scheduler.client
    account_id = client.create_account()
    client.submit(account_id, "before")
    pair.fail_over()
    wait_until(lambda: scheduler.events("store"), within=PATIENCE_S, what="the replica noticed")
    submit(client, account_id, "between")

    pair.first.start()
    for n in range(3):
        pair.cut_connections()
        submit(client, account_id, f"after {n}")

    assert tasks(pair.first) == {"before"}
    assert tasks(pair.second) == {"before", "between", "after 0", "after 1", "after 2"}
    notices = [event["event"] for event in scheduler.events("store") if "old primary" in event["event"]]
    assert len(notices) == 1, "it says so once"
    old = f"127.0.0.1:{pair.first.port} is timeline 1 of system"
    assert old in notices[0]

    pair.second.stop()
    wait_until(lambda: not serves(scheduler), within=PATIENCE_S, what="it stops serving")
    with pytest.raises(grpc.RpcError, match="it is an old primary, whose standby was promoted"):
        client.submit(account_id, "alone")
    wait_until(lambda: old in str(reasons(scheduler)), within=PATIENCE_S, what="its log says why it is not serving")
    assert tasks(pair.first) == {"before"}
    pair.second.start()
    submit(client, account_id, "at last")
    assert tasks(pair.second) == {"before", "between", "after 0", "after 1", "after 2", "at last"}


def test_a_replica_that_is_restarted_knows_the_old_primary_by_the_new_one_and_by_itself(
    pair: Pair, old_stack: Stack
) -> None:
    scheduler = old_stack.scheduler().start()
    account_id = scheduler.client.create_account()
    pair.fail_over()
    wait_until(lambda: scheduler.events("store"), within=PATIENCE_S, what="the replica noticed")
    submit(scheduler.client, account_id, "between")
    scheduler.stop()
    pair.first.start()

    fresh = old_stack.scheduler("fresh").start()  # a folder that knows nothing
    fresh.client.submit(account_id, "fresh")
    assert tasks(pair.second) == {"between", "fresh"}
    fresh.stop()

    pair.second.stop()  # and so can't be asked
    refusal = refused_start(scheduler)
    assert f"127.0.0.1:{pair.first.port} is timeline 1 of system" in refusal
    assert "it is an old primary, whose standby was promoted" in refusal
    assert pair.first.sql("SELECT count(*) FROM task_payloads") == [(0,)]


@pytest.mark.costly("a frozen primary is given up", seconds=3)
def test_calls_do_not_wait_for_a_frozen_primary_once_its_standby_is_promoted(pair: Pair, old_stack: Stack) -> None:
    scheduler = old_stack.scheduler().start()
    client = scheduler.client
    account_id = client.create_account()
    client.submit(account_id, "before")
    wait_until(pair.caught_up, within=PATIENCE_S, what="the standby has all")
    with pair.first.frozen():
        pair.second.promote()
        submit(client, account_id, "meanwhile")
        wait_until(lambda: serves(scheduler), within=PATIENCE_S, what="it serves")
        assert tasks(pair.second) == {"before", "meanwhile"}


def serves(scheduler: Scheduler) -> bool:
    with grpc.insecure_channel(scheduler.target) as channel:
        stub: Any = HealthStub(channel)
        answer = stub.Check(HealthCheckRequest(), timeout=PATIENCE_S)
    return bool(answer.status == HealthCheckResponse.SERVING)


def reasons(scheduler: Scheduler) -> list[str]:
    """Why its database was away, each time that it said so."""
    return [event["reason"] for event in scheduler.events("store") if "reason" in event]


def test_another_system_is_refused_until_the_operator_says_so(tmp_path: Path) -> None:
    port = free_port()
    with running(port) as server, running_stack(server.url()) as stack:
        scheduler = stack.scheduler().start()
        scheduler.stop()
        server.stop()
        with running(port, anew=True):
            refusal = refused_start(scheduler)
            assert "it is another database; correct DATABASE_URL, or delete " in refusal
            (file,) = scheduler.data_dir.glob("database-*.json")
            assert str(file) in refusal
            file.unlink()
            scheduler.start()
            scheduler.stop()


def test_a_standby_that_is_promoted_unseen_is_found(pair: Pair, tmp_path: Path) -> None:
    """The old primary lives on, and so do the connections to it: nothing breaks that would show it."""
    url = sa.make_url(pair.url)
    file = LineageFile(tmp_path, pair.url)
    lineage = Lineage(file)
    with closing(connect(url, lineage)) as before, before.cursor() as cursor:
        lineage.probe(pair.url)
        assert not lineage.is_stale(before)
        cursor.execute("SELECT")
        pair.second.promote()
        lineage.probe(pair.url)
        assert lineage.is_stale(before)
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT")
    with closing(connect(url, lineage)) as after:
        assert after.info.port == pair.second.port
    assert json.loads(Path(str(file)).read_text())["timeline"] == 2
    for known in (lineage, Lineage(file)):
        with pytest.raises(
            WrongServer, match=r"is timeline 1 of system \d+, and the schedulers' database is timeline 2"
        ):
            connect(sa.make_url(pair.first.url()), known)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"system": "x", "timeline": 1}'])
def test_a_file_that_can_t_be_read_is_told_and_written_anew(tmp_path: Path, text: str) -> None:
    file = LineageFile(tmp_path / "folder", "postgresql+psycopg2://host/name")
    file.write(1, 1)
    Path(str(file)).write_text(text)
    assert file.read() is None
    file.write(7, 2)
    assert file.read() == (7, 2)
