"""Workers that are asked now: long before their next interval, on whichever replica they are, frozen or not."""

from __future__ import annotations

import time

import pytest

from tests.harness.client import Status, request
from tests.harness.stack import Scheduler, Stack, Worker
from tests.harness.waiting import wait_until

LEASE = 60.0
"""Seconds: a frozen worker's leases outlive the test."""
MAX_CALL_TIME = 10.0
"""Seconds that a call may take."""
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


@pytest.mark.costly("two schedulers, a worker and its runs")
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


def test_a_frozen_worker_s_tasks_count_as_errors_within_10_s(stack: Stack, pair: tuple[Scheduler, Scheduler]) -> None:
    first, second = pair
    names = ("awake", "frozen")
    awake, frozen = (stack.worker(name, first, slots=1, **REFERENCE).start() for name in names)
    account_id = second.client.create_account()
    task_ids = second.client.submit_all(request(account_id, options=FOR_EVER) for _ in names)
    second.client.wait_processing(*task_ids)

    frozen.freeze()
    begun = time.monotonic()
    figures = second.client.poll_running()
    assert time.monotonic() - begun < MAX_CALL_TIME
    assert (figures.total, figures.still_running, figures.error) == (2, 1, 1)
    frozen.thaw()
    wait_until(lambda: _all_run(second), within=15, what="the worker answers again")
    assert awake.alive


def _all_run(scheduler: Scheduler) -> bool:
    figures = scheduler.client.poll_running()
    return (figures.total, figures.still_running) == (2, 2)


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
