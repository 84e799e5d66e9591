"""Three replicas behind one target: each may be restarted or killed under load, and neither a call nor a run minds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.e2e.load import Load, loaded
from tests.harness.client import Client, status_name
from tests.harness.quick_creator import quick_creator
from tests.harness.stack import Scheduler, Stack
from tests.harness.waiting import wait_until

LEASE = 30.0
ROUNDS = 2
CALLERS = 3
"""Of each kind."""
CALLS = 100
"""That are made at the least, beside the submits."""
RUN = 2.0
"""Seconds that a CLI takes."""
_BACK = 15.0


@pytest.fixture
def replicas(stack: Stack) -> Sequence[Scheduler]:
    """Three schedulers on one database."""
    schedulers = [stack.scheduler(name, lease_ttl=LEASE).launch() for name in ("one", "two", "three")]
    for scheduler in schedulers:
        scheduler.wait_for("ready", within=20)
    return schedulers


def _target(replicas: Sequence[Scheduler]) -> str:
    return f"ipv4:{','.join(scheduler.target for scheduler in replicas)}"


def _workers(stack: Stack, target: str) -> None:
    cli = str(quick_creator(stack.folder))
    workers = [stack.worker(name, target, slots=4, CREATOR_CLI_PATH=cli).launch() for name in ("a", "b", "c")]
    for worker in workers:
        worker.wait_for("session.opened", within=20)


def test_a_rolling_restart_fails_no_call_and_stops_no_run(stack: Stack, replicas: Sequence[Scheduler]) -> None:
    target = _target(replicas)
    _workers(stack, target)
    account_id = replicas[0].client.create_account()
    replicas[0].close_client()
    with loaded(target, account_id, callers=CALLERS, seconds=RUN) as load:
        for replica in list(replicas) * ROUNDS:
            _wait_connected(load, replica)
            replica.stop()  # has to end by itself within 10 s, with status 0
            load.check()
            replica.start()
        _finish(load)
    _assert_each_ran_once(stack, replicas[0].client, load)
    assert {task.attempt for task in replicas[0].client.tasks(load.task_ids)} == {1}


def test_the_death_of_a_replica_fails_no_call_and_stops_no_run(stack: Stack, replicas: Sequence[Scheduler]) -> None:
    target = _target(replicas)
    _workers(stack, target)
    account_id = replicas[0].client.create_account()
    with loaded(target, account_id, callers=CALLERS, seconds=RUN) as load:
        _wait_connected(load, replicas[1])
        wait_until(lambda: len(load.task_ids) >= 2 * CALLERS, within=20, what="each caller has a task")
        replicas[1].kill()  # what it has claimed and not yet handed over comes back as another attempt, unrun
        goal = load.calls + CALLS
        wait_until(lambda: load.calls >= goal, within=30, what="the callers go on")
        _finish(load)
    _assert_each_ran_once(stack, replicas[0].client, load)


def _wait_connected(load: Load, replica: Scheduler) -> None:
    """Until the callers use a replica (again): before that, the next one must not go."""
    wait_until(lambda: load.connected(replica.port), within=_BACK, what=f"the callers are connected to {replica.name}")


def _finish(load: Load) -> None:
    load.stop()
    load.wait_told(len(load.task_ids), within=10)


def _assert_each_ran_once(stack: Stack, client: Client, load: Load) -> None:
    assert len(load.task_ids) >= 2 * CALLERS
    assert load.calls >= CALLS
    runs = stack.journal.creates()
    assert sorted((run.task_id, run.status) for run in runs) == [(task_id, 0) for task_id in sorted(load.task_ids)]
    histories = {task_id: client.history(task_id) for task_id in [*load.task_ids, load.waiting_id]}
    assert "WORKER_LOST" not in {event.reason for events in histories.values() for event in events}
    moves = {task_id: [status_name(event.status) for event in events] for task_id, events in histories.items()}
    for told in load.told:
        assert told == moves, "each move was told once"
