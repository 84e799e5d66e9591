"""Workers that are polled, and results that are large, with real processes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contentgen.v1 import task_pb2
from tests.harness.client import Client, Status, request
from tests.harness.proxies import NGINX_SETTINGS, nginx
from tests.harness.stack import Previous, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until, wait_until_gone
from tests.harness.wires import cable_to

pytestmark = pytest.mark.e2e

LEASE = 60.0
"""Seconds: a frozen worker's leases outlive the test."""
NO_WAIT = {"CONTENTGEN_DRAIN_TIMEOUT": "1"}
REFERENCE = {"CREATOR_PROFILE": "reference", "CREATOR_POLL_INTERVAL": "600", **NO_WAIT}
RUNS = {"demo-seconds": "2"}
FOR_EVER = {"demo-seconds": "600"}
COMPLETED = Status.TASK_STATUS_COMPLETED


@pytest.fixture
def pair(stack: Stack) -> tuple[Scheduler, Scheduler]:
    """Two schedulers on one database."""
    first, second = (stack.scheduler(name, lease_ttl=LEASE).start() for name in ("first", "second"))
    return first, second


@pytest.mark.costly("two schedulers, a worker and its runs", seconds=3)
def test_a_poll_brings_now_what_the_interval_would_bring_later(stack: Stack, pair: tuple[Scheduler, Scheduler]) -> None:
    first, second = pair
    stack.worker("worker", first, slots=4, **REFERENCE).start()
    client = second.client  # not the worker's
    account_id = client.create_account()
    one, other = client.submit_all(request(account_id, options=RUNS) for _ in range(2))
    lasting = client.submit(account_id, options=FOR_EVER)
    client.wait_processing(one, other, lasting)

    wait_until(lambda: client.poll(one) == COMPLETED, within=15, what="a poll finds the task completed")
    assert client.task(one).content_id > 0
    wait_until(lambda: client.poll_running().total == 1, within=15, what="polls find all that was to end ended")
    assert client.task(other).status == COMPLETED
    figures = client.poll_running()
    assert (figures.total, figures.still_running) == (1, 1)
    assert client.poll(lasting) == Status.TASK_STATUS_PROCESSING


def test_a_worker_follows_its_number_of_slots(stack: Stack, pair: tuple[Scheduler, Scheduler]) -> None:
    first, second = pair
    worker: Worker = stack.worker("worker", first, slots=2, **NO_WAIT).start()
    client = second.client
    account_id = client.create_account()
    running = client.submit_all(request(account_id, options=FOR_EVER) for _ in range(2))
    client.wait_processing(*running)
    (waiting,) = client.submit_all([request(account_id, options=FOR_EVER)])

    assert client.resize("worker", 1).slots == 1
    worker.wait_for("worker.resized", within=5)
    client.cancel(running[0], force=True)
    wait_until(lambda: client.workers()["worker"].busy_slots == 1, within=10, what="one slot is free of its run")
    assert client.resize("worker", 2).slots == 2
    client.wait_processing(waiting)
    assert client.task(running[1]).attempt == 1, "what ran above the smaller number ran on"


# Large results over what stands between a worker and its scheduler: a slow link, a proxy that limits requests.


SLOW = 40_000
"""Bytes a second: 320 kbit/s."""
LIMITED = NGINX_SETTINGS.replace("client_max_body_size 0;", "")
"""nginx's own limit then: 1 MiB, of all that a stream sends."""
WITHIN = 60


def submit(client: Client, account: int, characters: int, **options: str) -> str:
    creator_options = {"characters": str(characters), **options}
    return client.submit_all([request(account, options=creator_options)])[0]


def completed(client: Client, task_id: str) -> bool:
    return client.task(task_id).status == task_pb2.TASK_STATUS_COMPLETED


@pytest.mark.costly("megabytes pass a slow proxy", seconds=3)
def test_a_large_result_gets_through_a_slow_link_and_its_lease_and_others_live(stack: Stack) -> None:
    """It takes 16 s, and a lease without a heartbeat 5 s."""
    scheduler = stack.scheduler().start()
    client, account = scheduler.client, scheduler.client.create_account()
    with cable_to(scheduler.port, rate=SLOW) as slow:
        worker = stack.quick_worker("far", slow.target, slots=2).start()
        large = submit(client, account, 640_000)
        beside = submit(client, account, 16, seconds="8")
        wait_until(lambda: completed(client, beside), within=WITHIN, what="the task beside it is completed")
        assert not completed(client, large), "its result was no obstacle"
        wait_until(lambda: completed(client, large), within=WITHIN, what="the large result is there")
        wait_until_gone(worker.spooled, within=WITHIN, what="it is acknowledged")
        assert [client.task(task_id).attempt for task_id in (large, beside)] == [1, 1]
        assert len(worker.events("session.opened")) == 1, "on its first stream"
        worker.stop()


def test_a_result_that_a_proxy_does_not_let_through_holds_up_no_other_and_is_shown(
    stack: Stack, tmp_path: Path
) -> None:
    scheduler = stack.scheduler().start()
    client, account = scheduler.client, scheduler.client.create_account()
    with nginx(tmp_path, [scheduler.port], LIMITED) as limited:
        worker = stack.quick_worker("behind", limited).start()
        large = submit(client, account, 2_000_000)
        stuck = worker.wait_for("result.stuck", within=WITHIN)
        others = [submit(client, account, characters) for characters in (600_000, 200_000, 16)]
        wait_until(
            lambda: all(completed(client, task_id) for task_id in others),
            within=WITHIN,
            what="the others are completed",
        )
        behind = client.workers()["behind"]
        assert (behind.running, behind.unhealthy) == (True, False)
        assert re.match(r"a result of 2,0\d\d,\d{3} bytes", behind.last_error), "with the end of what the CLI printed"
        assert "3 streams ended" in behind.last_error
        assert (stuck["size"] // 10_000, stuck["task_id"]) == (200, large)
        assert client.task(large).status == task_pb2.TASK_STATUS_PROCESSING, "its lease is held"
        assert len(worker.spooled()) == 1
        worker.kill()
    with nginx(tmp_path, [scheduler.port]) as server:
        worker.start(CONTENTGEN_SCHEDULER=server)
        wait_until(lambda: completed(client, large), within=WITHIN, what="without the limit it is there")
        wait_until_gone(worker.spooled, within=WITHIN, what="it is acknowledged")
        wait_until(lambda: not client.workers()["behind"].last_error, within=WITHIN, what="nothing is wrong any more")
        assert client.task(large).attempt == 1
        worker.stop()


@pytest.mark.costly("services of two versions", seconds=4)
def test_a_large_result_passes_between_the_version_before_and_this_one(
    empty_db_url: str, stack: Stack, previous: Previous
) -> None:
    old = stack.scheduler("old", database_url=empty_db_url)
    old.command = [str(previous.scheduler)]
    stack.quick_worker("new-on-old", old.start()).start()
    new = stack.scheduler("new").start()
    worker = stack.quick_worker("old-on-new", new)
    worker.command = [str(previous.worker)]
    worker.start()
    for client in (old.client, new.client):
        task_id = submit(client, client.create_account(), 1_500_000)
        assert client.wait_completed(task_id, within=WITHIN).attempt == 1
