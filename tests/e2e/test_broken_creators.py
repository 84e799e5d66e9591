"""A worker whose CLI is broken fails its tasks quicker than any other ends one: it must not draw them all in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from contentgen.v1 import task_pb2
from tests.harness.client import Client, request
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until
from worker_svc.health import MAX_QUICK_FAILURES

TASKS = 30
_CREATOR = """#!/bin/sh
[ "$1" = create ] || exit 0
[ -e {works} ] || {{ echo 'no model answers' >&2; exit 3; }}
sleep 0.1
echo '{{"content": "an article"}}'
"""
ERROR = "CREATOR_ERROR: the CLI exited with status 3: no model answers"


class Creator:
    """A CLI that fails at once until it is mended, and is quick then."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}-creator"
        self._works = folder / f"{name}-works"
        self.path.write_text(_CREATOR.format(works=self._works))
        self.path.chmod(0o755)

    def mend(self) -> None:
        self._works.touch()


def _submit(client: Client, number: int) -> list[str]:
    account_id = client.create_account()
    return client.submit_all(request(account_id, max_retries=3) for _ in range(number))


def _all_completed(client: Client, task_ids: Sequence[str]) -> bool:
    """Whether they are; those that wait for a retry are tried again at once, as they would be by themselves later."""
    open_ones = [
        candidate for candidate in client.tasks(task_ids) if candidate.status != task_pb2.TASK_STATUS_COMPLETED
    ]
    for task in open_ones:
        assert not task.HasField("end_time"), task
        if client.task(task.task_id).pending_reason == task_pb2.PENDING_REASON_BACKOFF:
            client.retry(task.task_id)
    return not open_ones


@pytest.mark.costly("two workers and many runs")
def test_a_broken_worker_takes_few_tasks_beside_a_healthy_one(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    slots = 2
    broken, working = Creator(stack.folder, "ill"), Creator(stack.folder, "well")
    working.mend()
    ill = stack.worker("ill", scheduler, slots=slots, CREATOR_CLI_PATH=str(broken.path)).start()
    stack.worker("well", scheduler, slots=slots, CREATOR_CLI_PATH=str(working.path)).start()
    task_ids = _submit(client, TASKS)
    wait_until(lambda: _all_completed(client, task_ids), within=60, what="all tasks are completed")

    failed = [event for task_id in task_ids for event in client.history(task_id) if event.reason == "CREATOR_ERROR"]
    assert {event.worker_id for event in failed} == {"ill"}
    tries = len(ill.events("worker.probing"))
    assert MAX_QUICK_FAILURES <= len(failed) <= MAX_QUICK_FAILURES + slots - 1 + tries
    assert len(failed) < TASKS / 2
    workers = client.workers()
    assert (workers["ill"].unhealthy, workers["ill"].last_error) == (True, ERROR)
    assert not workers["well"].unhealthy


def test_tasks_wait_while_all_workers_are_broken_and_run_once_the_cli_is_repaired(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    creator = Creator(stack.folder, "ill")
    settings = {"CREATOR_CLI_PATH": str(creator.path), "CONTENTGEN_QUEUE_SIZE": "8"}
    ill = stack.worker("ill", scheduler, slots=1, **settings).start()
    task_ids = _submit(client, 12)
    ill.wait_for("worker.unhealthy", within=15)
    wait_until(
        lambda: any(
            client.task(task_id).pending_reason == task_pb2.PENDING_REASON_ALL_SLOTS_BUSY for task_id in task_ids
        ),
        within=10,
        what="tasks wait, and what for is told",
    )
    creator.mend()
    ill.wait_for("worker.healthy", within=20)
    wait_until(lambda: _all_completed(client, task_ids), within=30, what="all tasks are completed")
    given_back = [move for task_id in task_ids for move in client.moves(task_id) if move[1] == "DRAINING"]
    assert {status for status, _ in given_back} == {"pending"}, "what waited ahead of the slot, uncounted"
    assert not client.workers()["ill"].unhealthy
