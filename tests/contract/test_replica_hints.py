"""Hints between replicas: a replica that gets a request to reread finds all changes at once, whatever it missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_pb2 import TASK_STATUS_CANCELLED
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.domain.webhook import EventType
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.tasks import waits as waiting
from scheduler_svc.tasks.change import cancel_task
from scheduler_svc.transactions import Database, make_engine
from scheduler_svc.webhooks.work import create_webhook
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

PATIENCE_S = waiting.REREAD_INTERVAL / 2
"""Seconds, less than the interval at which a waiter rereads by itself."""


class Silent:
    """A replica that commits, and whose hints are lost."""

    def __init__(self, db_url: str) -> None:
        self._engine = make_engine(db_url, 1)
        self.database = Database(self._engine, lambda _: None, lambda _: None)
        self.notifier = PgNotifier(self._engine)

    def close(self) -> None:
        self.notifier.close()
        self._engine.dispose()


@pytest.fixture
def silent(db_url: str) -> Iterator[Silent]:
    silent = Silent(db_url)
    yield silent
    silent.close()


async def test_a_replica_that_rereads_finds_changes_without_a_hint(
    tasks: TaskServiceAsyncStub, replica: Replica, account: int, silent: Silent
) -> None:
    submitted = await tasks.SubmitTask(pb.SubmitTaskRequest(account_id=account, topic="a topic"))
    task_id = submitted.task.task_id
    wait = asyncio.ensure_future(tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=60))))
    await wait_until_async(lambda: replica._waiters._events, within=PATIENCE_S, what="the call waits")
    key = parse_task_id(task_id)
    assert key is not None
    silent.database.run(lambda tx: cancel_task(tx, key, force=False))
    silent.notifier.send(CommitSignals.reread_all().payloads("a replica"))
    async with asyncio.timeout(PATIENCE_S):
        assert (await wait).task.status == TASK_STATUS_CANCELLED


@pytest.mark.parametrize("hint", [CommitSignals(webhooks=True), CommitSignals.reread_all()])
async def test_a_replica_learns_of_a_webhook_that_another_one_created(
    replica: Replica, silent: Silent, hint: CommitSignals
) -> None:
    silent.database.run(lambda tx: create_webhook(tx, 0, "https://news.example/", (EventType.TASK_ENDED,)))
    assert not replica._webhook_interest
    silent.notifier.send(hint.payloads("a replica"))
    await wait_until_async(
        lambda: replica._webhook_interest.wants(EventType.TASK_ENDED, 7), within=PATIENCE_S, what="it is known"
    )
    assert not replica._webhook_interest.wants(EventType.PUBLISH_FAILED, 7)
