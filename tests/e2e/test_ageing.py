"""A scheduler whose priorities rise with the wait."""

from __future__ import annotations

import sqlalchemy as sa

from contentgen.v1 import task_pb2
from tests.harness.client import Client
from tests.harness.quick_creator import quick_creator
from tests.harness.stack import Stack

WITHIN = 60.0
FIRST = 4
"""Tasks of the stream that are served before the other one is old."""


def grow_old(db_url: str, seconds: float) -> None:
    """What is ready has been so for that much longer."""
    engine = sa.create_engine(db_url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ready SET ready_time = ready_time - make_interval(secs => :s)"), {"s": seconds}
        )


class Stream:
    """Tasks of priority 8, of which some wait at any time: where one has ended another comes."""

    def __init__(self, client: Client, account_id: int) -> None:
        self._client = client
        self._account_id = account_id
        self._open = [self._submit() for _ in range(4)]

    def _submit(self) -> str:
        return self._client.submit(self._account_id, priority=8, options={"seconds": "0.1"})

    def serve_one(self) -> None:
        self._open.append(self._submit())
        self._client.wait_completed(self._open.pop(0), within=WITHIN)

    def waits(self) -> bool:
        return any(task.status == task_pb2.TASK_STATUS_PENDING for task in self._client.tasks(self._open))


def test_a_stream_of_a_higher_priority_does_not_starve_a_task(stack: Stack, db_url: str) -> None:
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_PRIORITY_AGING="15m").start()
    client = scheduler.client
    account_id = client.create_account()
    stream = Stream(client, account_id)
    low = client.submit(account_id, priority=1, options={"seconds": "0.1"})
    stack.worker("worker", scheduler, slots=1, CREATOR_CLI_PATH=str(quick_creator(stack.folder))).start()
    for _ in range(FIRST):
        stream.serve_one()
    assert client.task(low).status == task_pb2.TASK_STATUS_PENDING
    grow_old(db_url, 9 * 15 * 60)
    for _ in range(FIRST + 2):
        stream.serve_one()
    assert client.task(low).status == task_pb2.TASK_STATUS_COMPLETED
    assert client.task(low).priority == 1
    assert stream.waits()
