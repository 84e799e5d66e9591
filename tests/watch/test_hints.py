"""Many watches of one caller, and the hints between replicas that watches live on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_pb2 import TASK_STATUS_CANCELLED
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.domain.webhook import EventType
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.signals import CommitSignals
from scheduler_svc.tasks import messages as convert
from scheduler_svc.tasks import waits as waiting
from scheduler_svc.tasks.change import cancel_task
from scheduler_svc.transactions import Database, make_engine
from scheduler_svc.watch import watchers as sending
from scheduler_svc.webhooks.work import create_webhook
from tests.harness.client import refused
from tests.harness.waiting import wait_until_async
from tests.harness.watching import PATIENCE_S, first_event, submitted, told, watching

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = pytest.mark.contract


# Many watches of one caller: what they share, and how they end where a replica can't keep up with them.


WATCHES = 20


async def test_a_change_is_encoded_once_for_all_watches_of_a_selection(
    tasks: TaskServiceAsyncStub, account: int, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = convert.task_change

    def counted(change: TaskChange, token: str) -> pb.TaskChange:
        encoded.append(token)
        return encode(change, token)

    monkeypatch.setattr(convert, "task_change", counted)
    async with AsyncExitStack() as stack:
        same = [await stack.enter_async_context(watching(tasks, account_id=account)) for _ in range(WATCHES)]
        other = await stack.enter_async_context(watching(tasks))
        feed = replica._feed
        await wait_until_async(lambda: feed.watcher_count > WATCHES, within=PATIENCE_S, what="all read from the feed")
        task_id = await submitted(tasks, account)
        events = [await watcher.next() for watcher in same]
        event = await other.next()
    assert told(events) == [(task_id, "unspecified", "pending")] * WATCHES
    assert len({change.resume_token for change in events} - {event.resume_token}) == 1
    assert len(encoded) == 2, "once for each selection"


async def test_watches_that_a_replica_can_t_keep_up_with_end_and_go_on_with_their_tokens(
    tasks: TaskServiceAsyncStub, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching(tasks, account_id=account) as one, watching(tasks, account_id=account) as another:
        await asyncio.gather(one.stands(), another.stands())
        first = await submitted(tasks, account)
        assert {change.task.task_id for change in [await one.next(), await another.next()]} == {first}
        for name, value in (("MAX_LATENESS", -1), ("LATENESS_TIMEOUT", 0), ("MIN_OVERRUN", 1), ("MAX_SENDS", 0)):
            monkeypatch.setattr(sending, name, value)
        second = await submitted(tasks, account)
        tokens = []
        for watcher in (one, another):
            with refused(StatusCode.RESOURCE_EXHAUSTED, "WATCH_OVERRUN") as refusal:
                await watcher.next()
            tokens.append(refusal.metadata["resume_token"])
    monkeypatch.undo()
    for token in tokens:
        resumed = await first_event(tasks, account_id=account, resume_token=token)
        assert told([resumed]) == [(second, "unspecified", "pending")]


# Hints between replicas: a replica that gets a request to reread finds all changes at once, whatever it missed.


LESS_THAN_REREAD_S = waiting.REREAD_INTERVAL / 2
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
    task_id = await submitted(tasks, account)
    wait = asyncio.ensure_future(tasks.WaitTask(pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=60))))
    await wait_until_async(lambda: replica._waiters._events, within=LESS_THAN_REREAD_S, what="the call waits")
    key = parse_task_id(task_id)
    assert key is not None
    silent.database.run(lambda tx: cancel_task(tx, key, force=False))
    silent.notifier.send(CommitSignals.reread_all().payloads("a replica"))
    async with asyncio.timeout(LESS_THAN_REREAD_S):
        assert (await wait).task.status == TASK_STATUS_CANCELLED


@pytest.mark.parametrize("hint", [CommitSignals(webhooks=True), CommitSignals.reread_all()])
async def test_a_replica_learns_of_a_webhook_that_another_one_created(
    replica: Replica, silent: Silent, hint: CommitSignals
) -> None:
    silent.database.run(lambda tx: create_webhook(tx, 0, "https://news.example/", (EventType.TASK_ENDED,)))
    assert not replica._webhook_interest
    silent.notifier.send(hint.payloads("a replica"))
    await wait_until_async(
        lambda: replica._webhook_interest.wants(EventType.TASK_ENDED, 7), within=LESS_THAN_REREAD_S, what="it is known"
    )
    assert not replica._webhook_interest.wants(EventType.PUBLISH_FAILED, 7)
