"""Replicas that share the work, and are restarted or killed under load."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.database.test_upgrades import OLD_SCHEMA, schema
from tests.harness.client import Client, status_name
from tests.harness.database_faults import NEWEST
from tests.harness.load import Load
from tests.harness.process import installed
from tests.harness.stack import EMBEDDED, Previous, Scheduler, Stack, Worker, running_stack
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

LEASE = 30.0
CALLERS = 2
"""Of each kind."""
CALLS = 100
"""That are made at the least, beside the submits."""
RUN = 2.0
"""Seconds that a CLI takes."""
_BACK = 30.0


@pytest.fixture
def replicas(stack: Stack) -> Sequence[Scheduler]:
    """Schedulers on one database."""
    schedulers = [stack.scheduler(name, lease_ttl=LEASE).launch() for name in ("one", "two", "three")]
    for scheduler in schedulers:
        scheduler.wait_for("ready", within=20)
    return schedulers


def _target(replicas: Sequence[Scheduler]) -> str:
    return f"ipv4:{','.join(scheduler.target for scheduler in replicas)}"


def _workers(stack: Stack, target: str) -> Sequence[Worker]:
    workers = [stack.quick_worker(name, target, slots=4).launch() for name in ("a", "b", "c")]
    for worker in workers:
        worker.wait_for("session.opened", within=20)
    return workers


@pytest.mark.costly("services are replaced one by one under load", seconds=8)
def test_a_rolling_restart_fails_no_call_and_stops_no_run(stack: Stack, replicas: Sequence[Scheduler]) -> None:
    """Of the replicas first, then of the workers."""
    target = _target(replicas)
    workers = _workers(stack, target)
    account_id = replicas[0].client.create_account()
    replicas[0].close_client()
    with Load(target, account_id, callers=CALLERS, seconds=RUN) as load:
        for replica in replicas:
            _wait_connected(load, replica)
            replica.stop()  # has to end by itself within 10 s, with status 0
            load.check()
            replica.start()
        client = replicas[0].client
        assert max(task.attempt for task in client.tasks(load.task_ids)) == 1
        _replace_workers(load, client, workers, installed("contentgen-worker"))
        load.finish()
    _assert_each_ran_once(stack, client, load)
    for task in client.tasks(load.task_ids):
        _assert_each_attempt_but_the_last_was_unrun(client, task.task_id, task.attempt)


@pytest.mark.costly("a replica is killed under load, and its workers reconnect", seconds=3)
def test_the_death_of_a_replica_fails_no_call_and_stops_no_run(stack: Stack, replicas: Sequence[Scheduler]) -> None:
    target = _target(replicas)
    _workers(stack, target)
    account_id = replicas[0].client.create_account()
    with Load(target, account_id, callers=CALLERS, seconds=RUN) as load:
        _wait_connected(load, replicas[1])
        wait_until(lambda: len(load.task_ids) >= 2 * CALLERS, within=20, what="each caller has a task")
        replicas[1].kill()  # what it has claimed and not yet handed over comes back as another attempt, unrun
        goal = load.calls + CALLS
        wait_until(lambda: load.calls >= goal, within=30, what="the callers go on")
        load.finish()
    _assert_each_ran_once(stack, replicas[0].client, load)


@pytest.fixture
def empty_stack(empty_db_url: str) -> Iterator[Stack]:
    """A stack on a database that no version has migrated yet."""
    with running_stack(empty_db_url) as stack:
        yield stack


@pytest.mark.release("services of the version before run under load")
def test_all_processes_are_replaced_one_by_one_under_load(
    empty_stack: Stack, empty_db_url: str, previous: Previous
) -> None:
    """Those of the previous version by this one, schedulers first, then workers; and back again, schedulers last."""
    stack = empty_stack
    current = (installed("contentgen-scheduler"), installed("contentgen-worker"))
    former = (previous.scheduler, previous.worker)
    schedulers = [stack.scheduler(name, lease_ttl=LEASE) for name in ("one", "two")]
    target = _target(schedulers)
    workers = [stack.quick_worker(name, target, slots=4) for name in ("a", "b")]
    for service, program in zip((*schedulers, *workers), (former[0],) * 2 + (former[1],) * 2, strict=True):
        service.command = [str(program)]
        service.start()
    account_id = schedulers[0].client.create_account()
    assert schema(empty_db_url) == OLD_SCHEMA
    with Load(target, account_id, callers=CALLERS, seconds=RUN) as load:
        _replace_schedulers(load, schedulers, current[0])
        assert schema(empty_db_url) == NEWEST
        _replace_workers(load, schedulers[0].client, workers, current[1])
        _replace_workers(load, schedulers[0].client, workers, former[1])
        _replace_schedulers(load, schedulers, former[0])
        load.finish()
    _assert_each_ran_once(stack, schedulers[0].client, load)
    for task in schedulers[0].client.tasks(load.task_ids):
        _assert_each_attempt_but_the_last_was_unrun(schedulers[0].client, task.task_id, task.attempt)


def _replace_schedulers(load: Load, schedulers: Sequence[Scheduler], program: Path) -> None:
    """Each once the callers use all of them: no other one is left for them meanwhile."""
    for scheduler in schedulers:
        for other in schedulers:
            _wait_connected(load, other)
        scheduler.stop()
        load.check()
        scheduler.command = [str(program)]
        scheduler.start()


def _replace_workers(load: Load, client: Client, workers: Sequence[Worker], program: Path) -> None:
    """Each while it runs CLIs; the next one once this one runs some again."""
    for worker in workers:
        _wait_busy(client, worker)
        worker.stop()  # has to let them end, and to deliver what they made
        load.check()
        worker.command = [str(program)]
        worker.start()


def _wait_busy(client: Client, worker: Worker) -> None:
    wait_until(lambda: client.workers()[worker.name].busy_slots, within=_BACK, what=f"{worker.name} runs CLIs")


def _assert_each_attempt_but_the_last_was_unrun(client: Client, task_id: str, attempts: int) -> None:
    """A worker that ends releases what has not started: that uses up an attempt, and no retry."""
    moves = client.moves(task_id)
    assert [status for status, _ in moves].count("processing") == 1
    assert [reason for _, reason in moves].count("LEASED") == attempts
    assert {reason for _, reason in moves} <= {"SUBMITTED", "LEASED", "STARTED", "COMPLETED", "DRAINING"}, moves


def _wait_connected(load: Load, replica: Scheduler) -> None:
    """Until the callers use a replica (again): before that, the next one must not go."""
    wait_until(lambda: load.connected(replica.port), within=_BACK, what=f"the callers are connected to {replica.name}")


def _assert_each_ran_once(stack: Stack, client: Client, load: Load) -> None:
    assert len(load.task_ids) >= 2 * CALLERS
    assert load.calls >= CALLS
    runs = stack.journal.creates()
    assert sorted((run.task_id, run.status) for run in runs) == [(task_id, 0) for task_id in sorted(load.task_ids)]
    assert sorted(content.task_id for content in client.contents()) == sorted(load.task_ids)
    assert len(client.publish_pool()) == len(load.task_ids)
    histories = {task_id: client.history(task_id) for task_id in [*load.task_ids, load.waiting_id]}
    assert "WORKER_LOST" not in {event.reason for events in histories.values() for event in events}
    moves = {task_id: [status_name(event.status) for event in events] for task_id, events in histories.items()}
    for copy in load.watched:
        assert copy == moves, "each move was told once"


@pytest.mark.costly("an embedded server, and schedulers one after the other", seconds=3)
def test_the_embedded_server_outlives_the_scheduler_that_started_it(
    stack: Stack, embedded: Callable[..., Scheduler]
) -> None:
    first = embedded(name="first").start()
    second = stack.scheduler("second", database_url=EMBEDDED, CONTENTGEN_DATA_DIR=str(first.data_dir)).start()
    stack.worker("a", second, CREATOR_DEMO_SECONDS="0.1").start()
    soon = Timestamp()
    soon.FromDatetime(datetime.now(UTC) + timedelta(seconds=3))
    task_id = second.client.submit(second.client.create_account(), schedule_time=soon)
    first.kill_with_database()
    second.client.wait_completed_over_outage(task_id, within=30)
