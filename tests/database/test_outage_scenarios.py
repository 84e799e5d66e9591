"""No paid run is lost while scheduler or database are away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.harness.client import Client, request
from tests.harness.database_faults import fail_restart
from tests.harness.stack import SHORT_LEASE, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until
from tests.harness.wires import Cable, cable_to

pytestmark = pytest.mark.e2e

OUTAGE = 20.0
PATIENT_LEASE = 15.0
"""Seconds: a lease time that short outages do not use up, with a heartbeat interval of 5 s."""
RECONNECTED = 15.0
"""Seconds: a heartbeat interval, 10 s at most, until a worker dials again, and a little."""


@pytest.mark.costly("ten runs, and a database that starts again", seconds=1)
def test_ten_runs_survive_the_death_of_scheduler_and_database(stack: Stack, embedded: Callable[..., Scheduler]) -> None:
    scheduler = embedded(lease_ttl=60).start()
    client = scheduler.client
    account_id = client.create_account()
    for name in ("a", "b"):
        stack.worker(name, scheduler, slots=5).start()
    ends_meanwhile = [request(account_id, f"brief {n}", options={"demo-seconds": "10"}) for n in range(5)]
    ends_afterwards = [request(account_id, f"long {n}", options={"demo-seconds": "26"}) for n in range(5)]
    task_ids = client.submit_all([*ends_meanwhile, *ends_afterwards])
    client.wait_processing(*task_ids)

    scheduler.kill_with_database()
    back_at = time.monotonic() + OUTAGE
    wait_until(lambda: time.monotonic() >= back_at, within=OUTAGE + 1, what="the outage has lasted 20 s")
    assert len([create for create in stack.journal.creates() if create.status == 0]) == 5
    client = scheduler.start().client
    tasks = [client.wait_completed(task_id, within=RECONNECTED + 10) for task_id in task_ids]

    assert [(task.attempt, task.retry_count) for task in tasks] == [(1, 0)] * 10
    assert sorted(create.task_id for create in stack.journal.creates()) == sorted(task_ids)
    assert sorted(content.task_id for content in client.contents()) == sorted(task_ids)
    assert len(client.publish_pool()) == 10


def test_a_result_waits_in_the_spool_over_the_death_of_scheduler_and_worker(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=PATIENT_LEASE).start()
    worker = stack.worker("worker", scheduler).start()
    client = scheduler.client
    task_id = client.submit(client.create_account(), options={"demo-seconds": "1.5"})
    client.wait_processing(task_id)
    scheduler.kill()
    assert not stack.journal.ended(task_id), "the CLI outlives the scheduler"
    wait_until(lambda: stack.journal.ended(task_id), within=10, what="the CLI has ended")
    wait_until(worker.spooled, within=5, what="the result is in the spool")
    worker.kill()
    worker.launch()
    worker.wait_for("spool.recovered", within=15)
    _assert_ran_once(stack, scheduler.start().client, task_id)
    assert not worker.spooled()


def test_a_result_completes_a_task_whose_processing_was_never_committed(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=PATIENT_LEASE).start()
    client = scheduler.client
    # The first `status`, which shows that the run has started, comes a second after `create`: by then nobody hears it.
    worker = stack.worker("worker", scheduler, CREATOR_PROFILE="reference", CREATOR_POLL_INTERVAL="1").start()
    task_id = client.submit(client.create_account(), options={"demo-seconds": "2.5"})
    wait_until(lambda: stack.journal.creates(task_id), within=10, what="the CLI has started")
    scheduler.kill()
    wait_until(worker.spooled, within=15, what="the result is in the spool")

    back_at = time.time()
    client = scheduler.start().client
    _assert_ran_once(stack, client, task_id)
    history = client.history(task_id)
    assert client.moves(task_id)[1:] == [("submitted", "LEASED"), ("processing", "STARTED"), ("completed", "COMPLETED")]
    assert history[1].event_time.ToNanoseconds() / 1e9 < back_at < history[2].event_time.ToNanoseconds() / 1e9


def test_the_late_result_of_a_worker_that_was_cut_off_is_taken(stack: Stack) -> None:
    """A large one, which is sent in parts."""
    scheduler = stack.scheduler().start()
    with cable_to(scheduler.port) as cable:
        worker = stack.quick_worker("worker", cable.target).start()
        options = {"seconds": "1", "characters": "1000000"}
        task_id = _finish_cut_off(stack, scheduler.client, worker, cable, options)
        cable.mend()
        _assert_ran_once(stack, scheduler.client, task_id)
        assert scheduler.client.moves(task_id)[-3:] == [
            ("failed", "WORKER_LOST"),
            ("pending", "REQUEUED"),
            ("completed", "COMPLETED_LATE"),
        ]
        worker.stop()


def test_the_late_result_is_refused_once_another_worker_has_finished(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    with cable_to(scheduler.port) as cable:
        worker = stack.worker("worker", cable.target).start()
        task_id = _finish_cut_off(stack, client, worker, cable, {"demo-seconds": "1"})
        stack.worker("other", scheduler).start()
        done = client.wait_completed(task_id, within=15)
        assert (done.worker_id, done.attempt) == ("other", 2)
        contents, history = client.contents(), client.history(task_id)

        cable.mend()
        answer = worker.wait_for("lease.answered", within=RECONNECTED)
        assert answer["outcome"] == "lease_lost"
        assert not worker.spooled()
        assert (client.task(task_id), client.contents(), client.history(task_id)) == (done, contents, history)
        assert len(contents) == len(client.publish_pool()) == 1
        worker.stop()


def _finish_cut_off(stack: Stack, client: Client, worker: Worker, cable: Cable, options: Mapping[str, str]) -> str:
    """A task whose CLI ended while its worker was cut off until the lease expired; the result is in the spool."""
    task_id = client.submit(client.create_account(), options=options)
    client.wait_processing(task_id)
    cable.cut()
    assert not stack.journal.ended(task_id), "the CLI goes on without the network"
    wait_until(lambda: ("failed", "WORKER_LOST") in client.moves(task_id), within=SHORT_LEASE + 5, what="it is lost")
    assert stack.journal.ended(task_id)
    assert worker.spooled()
    return task_id


def _assert_ran_once(stack: Stack, client: Client, task_id: str) -> None:
    task = client.wait_completed(task_id, within=RECONNECTED)
    assert (task.attempt, task.retry_count) == (1, 0)
    assert len(stack.journal.creates(task_id)) == 1
    assert len(client.contents()) == len(client.publish_pool()) == 1


# An embedded PostgreSQL that dies, or lets nobody in after a failed restart: the scheduler starts another.


BACK_TIMEOUT = 60.0
"""Seconds: ten of looks, the restart, and those of a busy machine."""


def test_a_run_survives_a_database_that_dies_and_then_stands_still(
    stack: Stack, embedded: Callable[..., Scheduler]
) -> None:
    scheduler = embedded(lease_ttl=PATIENT_LEASE).start()
    client = scheduler.client
    stack.worker("worker", scheduler).start()
    task_id = client.submit(client.create_account(), options={"demo-seconds": "3"})
    client.wait_processing(task_id)

    begun = len(scheduler.events("postgres"))
    scheduler.kill_database()
    ended, first = _restart(scheduler, begun)
    assert "ended" in ended["event"]
    fail_restart(scheduler.data_dir / "postgres" / "data")
    refused, second = _restart(scheduler, begun + 2)
    assert "refuses connections" in refused["event"]
    assert first["pid"] == refused["pid"] != second["pid"]

    task = client.wait_completed_over_outage(task_id, within=BACK_TIMEOUT)
    assert (task.attempt, task.retry_count) == (1, 0)
    assert len(stack.journal.creates(task_id)) == 1


def _restart(scheduler: Scheduler, begun: int) -> list[dict[str, Any]]:
    """The events of a restart after these: why, and that the server is there."""
    wait_until(lambda: len(scheduler.events("postgres")) == begun + 2, within=BACK_TIMEOUT, what="it has started one")
    why, restarted = scheduler.events("postgres")[begun:]
    assert "is there" in restarted["event"]
    return [why, restarted]
