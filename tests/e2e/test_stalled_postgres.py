"""An embedded PostgreSQL that lets nobody in after a failed restart: the scheduler ends it and starts another."""

from __future__ import annotations

from collections.abc import Callable

from tests.harness.failed_restart import fail_restart
from tests.harness.stack import Scheduler, Stack
from tests.harness.waiting import wait_until

BACK_TIMEOUT = 60.0
"""Seconds: ten of looks, the restart, and those of a busy machine."""


def test_a_scheduler_survives_a_database_that_stands_still(stack: Stack, embedded: Callable[..., Scheduler]) -> None:
    scheduler = embedded().start()
    client = scheduler.client
    task_id = client.submit(client.create_account(), options={"demo-seconds": "0.1"})
    begun = len(scheduler.events("postgres"))
    fail_restart(scheduler.data_dir / "postgres" / "data")

    wait_until(
        lambda: len(scheduler.events("postgres")) == begun + 2, within=BACK_TIMEOUT, what="it has started another"
    )
    refused, back = scheduler.events("postgres")[begun:]
    assert "refuses connections" in refused["event"]
    assert "is there" in back["event"]
    assert refused["pid"] != back["pid"]
    stack.worker("worker", scheduler).start()
    assert client.wait_completed_over_outage(task_id, within=BACK_TIMEOUT).attempt == 1
