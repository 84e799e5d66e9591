"""A failover of PostgreSQL as the schedulers see it: connections die, none is taken, and the address comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.client import Client
from tests.harness.quick_creator import quick_creator
from tests.harness.stack import Scheduler, Stack
from tests.harness.waiting import wait_until

OUTAGE = 6.0
"""Seconds; `--outage=60` for what a cluster may take."""
MARGIN = 30.0
"""Seconds of the lease time that are not for the outage: two heartbeat intervals, and the time to stop."""
SLOTS = 4


@pytest.fixture
def outage(request: pytest.FixtureRequest) -> float:
    asked = request.config.getoption("--outage")
    return float(asked) if asked else OUTAGE


@pytest.mark.costly("a standby takes over beside runs")
def test_a_failover_stops_no_run_and_loses_nothing_acknowledged(
    stack: Stack, server: EmbeddedPostgres, outage: float
) -> None:
    lease_ttl = max(outage + MARGIN + 2.0, 2 * outage)  # 2 min for 60 s
    first, second = (stack.scheduler(name, lease_ttl=lease_ttl, database_url=server.url()) for name in ("one", "two"))
    for scheduler in (first.start(), second.launch()):
        scheduler.wait_for("ready", within=20)
    cli = str(quick_creator(stack.folder))
    for name, home in (("a", f"{first.target},{second.target}"), ("b", f"{second.target},{first.target}")):
        stack.worker(name, home, slots=SLOTS, CREATOR_CLI_PATH=cli).start()
    client = first.client
    account_id = client.create_account()
    paid = [client.submit(account_id, options={"seconds": f"{outage / 2:g}"}) for _ in range(SLOTS)]
    paid += [client.submit(account_id, options={"seconds": f"{outage + 2:g}"}) for _ in range(SLOTS)]
    client.wait_processing(*paid)

    with _submitting(client, account_id) as submitted:
        wait_until(lambda: len(submitted) >= 20, within=10, what="submits are acknowledged")
        _die(server)
        back_at = time.monotonic() + outage
    _assert_unavailable(second, account_id)
    wait_until(lambda: time.monotonic() >= back_at, within=outage + 1, what="the outage has lasted")
    ended = [create.task_id for create in stack.journal.creates() if create.status == 0]
    assert set(paid[:SLOTS]) <= set(ended), "these ended within the outage"
    server.restart()

    for task_id in (*paid, *submitted):
        client.wait_completed_over_outage(task_id, within=lease_ttl)
    _assert_ran_once(stack, client, [*paid, *submitted])
    assert {task.attempt for task in client.tasks(paid)} == {1}


@contextmanager
def _submitting(client: Client, account_id: int) -> Iterator[list[str]]:
    """Submits one by one, until there is no answer; yields the ids of those that were acknowledged."""
    acknowledged: list[str] = []

    def submit() -> None:
        with suppress(grpc.RpcError):
            while True:
                acknowledged.append(client.submit(account_id))

    thread = threading.Thread(target=submit, name="submits")
    thread.start()
    try:
        yield acknowledged
    finally:
        thread.join()


def _die(server: EmbeddedPostgres) -> None:
    """An immediate shutdown: no connection is told, no buffer is written."""
    assert server.pid
    os.kill(server.pid, signal.SIGQUIT)
    wait_until(lambda: not server.alive(), within=10, what="the server is gone")


def _assert_unavailable(scheduler: Scheduler, account_id: int) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        scheduler.client.submit(account_id)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    status = rpc_status.from_call(raised.value)
    assert status
    info, retry = ErrorInfo(), RetryInfo()
    assert [detail.Unpack(info) or detail.Unpack(retry) for detail in status.details] == [True, True]
    assert info.reason == "STORE_UNAVAILABLE"
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


def _assert_ran_once(stack: Stack, client: Client, task_ids: list[str]) -> None:
    runs = {create.task_id: create.status for create in stack.journal.creates()}
    assert len(runs) == len(stack.journal.creates()), "no task ran twice"
    assert {runs[task_id] for task_id in task_ids} == {0}
    for task_id in task_ids:  # a claim whose commit nobody heard of comes back as another attempt, unrun
        assert "WORKER_LOST" not in {reason for _, reason in client.moves(task_id)}
    contents = [content.task_id for content in client.contents()]
    assert len(contents) == len(set(contents)) == len(client.publish_pool())
    assert set(task_ids) <= set(contents)
