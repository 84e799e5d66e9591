"""Tasks that fail at once are their account's trouble, and not that of the workers, or of whoever shares them."""

from __future__ import annotations

import pytest

from contentgen.v1 import task_pb2
from tests.harness.client import request
from tests.harness.quick_creator import quick_creator
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until

BAD = 30
SLOTS = 3
WITHIN = 120.0


@pytest.mark.costly("a scheduler, two workers and dozens of runs")
def test_thirty_tasks_that_fail_at_once_leave_the_workers_to_another_account(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    cli, gate = str(quick_creator(stack.folder)), stack.folder / "gate"
    workers = [stack.worker(name, scheduler, slots=SLOTS, CREATOR_CLI_PATH=cli).start() for name in ("one", "other")]
    good, bad = client.create_account(), client.create_account()
    # Each worker runs one of the good account's at least, and all the while: no success between hides the failures.
    long = client.submit_all([request(good, options={"until": str(gate)})] * (SLOTS + 1))
    client.wait_processing(*long)
    fails = request(bad, options={"status": "1"}, max_retries=0)
    failed = client.submit_all([fails] * BAD)

    wait_until(
        lambda: all(task.status == task_pb2.TASK_STATUS_FAILED for task in client.tasks(failed)),
        within=WITHIN,
        what="all of them have failed",
    )
    assert not [event for worker in workers for event in worker.events("worker.unhealthy")]
    client.wait_completed(client.submit(good), within=WITHIN)
    gate.touch()
    for task_id in long:
        client.wait_completed(task_id, within=WITHIN)
