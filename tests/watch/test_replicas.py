"""WatchTasks across replicas: each move arrives once and in order, by hints; and a caller with many watches."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio

from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.task_pb2 import TASK_STATUS_CANCELLED
from scheduler_svc.database.notifications import PgNotifier
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.domain.ids import format_task_id, parse_task_id
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
from tests.harness.maker import batch, new_account, submitted
from tests.harness.replicas import channel_to, serving_all
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async
from tests.harness.watching import Mover, first_event, moves_of, watching

pytestmark = pytest.mark.contract

TASKS = 100
MOVERS = 8
TRANSACTIONS = 16
TASKS_PER_TRANSACTION = 10
EVENTS = 2 * TRANSACTIONS * TASKS_PER_TRANSACTION


@pytest.fixture
async def replicas(db_url: str) -> AsyncIterator[list[Replica]]:
    async with serving_all(db_url, 2) as replicas:
        yield replicas


@pytest.fixture
async def channels(replicas: list[Replica]) -> AsyncIterator[list[aio.Channel]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(channel_to(replica)) for replica in replicas]


@pytest.fixture
def stubs(channels: list[aio.Channel]) -> list[TaskServiceAsyncStub]:
    return [TaskServiceAsyncStub(channel) for channel in channels]


@pytest.fixture
async def owner(channels: list[aio.Channel]) -> int:
    return await new_account(channels[0])


@pytest.fixture
async def task_ids(stubs: list[TaskServiceAsyncStub], owner: int) -> list[str]:
    return await batch(stubs[0], owner, TASKS)


@pytest.fixture
def movers(db_url: str) -> Iterator[list[Mover]]:
    movers = [Mover(db_url) for _ in range(MOVERS)]
    yield movers
    for mover in movers:
        mover.close()


def move_all(movers: list[Mover], task_ids: list[str], dice: random.Random) -> None:
    """Overlapping transactions, which are committed in random order."""
    held: dict[Mover, list[str]] = {}
    free = set(task_ids)
    for attempt in range(1, TRANSACTIONS + 1):
        if len(held) == MOVERS:
            committed = dice.choice(movers)
            committed.commit()
            free.update(held.pop(committed))
        mover = dice.choice([mover for mover in movers if mover not in held])
        held[mover] = dice.sample(sorted(free), TASKS_PER_TRANSACTION)
        free.difference_update(held[mover])
        mover.move(held[mover], attempt)
    for mover in held:
        mover.commit()


@pytest.mark.parametrize("of", ["owner", "tasks"])
async def test_a_watcher_that_changes_replicas_sees_all_moves_once_and_in_order(
    stubs: list[TaskServiceAsyncStub], owner: int, task_ids: list[str], movers: list[Mover], of: str
) -> None:
    dice = random.Random(of)
    selection: dict[str, object] = {"account_id": owner} if of == "owner" else {"task_ids": task_ids}
    async with watching(stubs[0], **selection) as watcher:
        token = (await watcher.take(TASKS))[-1].resume_token
    moving = asyncio.ensure_future(asyncio.to_thread(move_all, movers, task_ids, random.Random(of)))
    seen: list[pb.TaskChange] = []
    while len(seen) < EVENTS:
        stubs.reverse()
        async with watching(stubs[0], resume_token=token, **selection) as watcher:
            seen += await watcher.take(min(dice.randint(1, 60), EVENTS - len(seen)))
        token = seen[-1].resume_token
    await moving
    paths = defaultdict(list)
    for event in seen:
        paths[event.task.task_id].append((event.task.attempt, int(event.previous_status), int(event.task.status)))
    assert paths == histories(movers[0])


def histories(mover: Mover) -> dict[str, list[tuple[int, int, int]]]:
    """The movers' moves by task, in their order."""
    paths = defaultdict(list)
    for key, *move in mover.sql(
        "SELECT task_key, attempt, previous_status, status FROM task_events WHERE attempt > 0 ORDER BY task_key, seq"
    ):
        paths[format_task_id(key)].append(tuple(move))
    assert sum(map(len, paths.values())) == EVENTS
    return paths


async def test_moves_of_a_task_keep_their_order_whichever_transaction_began_first(
    stubs: list[TaskServiceAsyncStub], owner: int, task_ids: list[str], movers: list[Mover]
) -> None:
    early, late, *_ = movers
    async with watching(stubs[0], task_ids=task_ids[:1]) as watcher:
        await watcher.next()
        early.sql("SELECT pg_current_xact_id()")
        late.move(task_ids[:1], attempt=1)
        late.commit()
        early.move(task_ids[:1], attempt=2)
        early.commit()
        assert [event.task.attempt for event in await watcher.take(4)] == [1, 1, 2, 2]


async def test_a_claim_of_another_replica_is_seen_at_once(
    replicas: list[Replica], stubs: list[TaskServiceAsyncStub], channels: list[aio.Channel], owner: int
) -> None:
    async with watching(stubs[1], account_id=owner) as watcher, ScriptedWorker(channels[0]) as worker:
        await watcher.stands()
        audience = replicas[0]._interest
        await wait_until_async(lambda: audience.elsewhere, within=PATIENCE_S, what="the other replica is heard")
        task_id = await submitted(stubs[0], owner)
        await watcher.next()
        await worker.take()
        async with asyncio.timeout(PATIENCE_S / 2):  # below the interval at which a replica reads without a hint
            event = await watcher.next()
    assert moves_of([event]) == [(task_id, "pending", "submitted")]


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
    assert moves_of(events) == [(task_id, "unspecified", "pending")] * WATCHES
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
        assert moves_of([resumed]) == [(second, "unspecified", "pending")]


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
async def test_a_replica_learns_of_a_webhook_of_another(replica: Replica, silent: Silent, hint: CommitSignals) -> None:
    silent.database.run(lambda tx: create_webhook(tx, 0, "https://news.example/", (EventType.TASK_ENDED,)))
    assert not replica._webhook_interest
    silent.notifier.send(hint.payloads("a replica"))
    await wait_until_async(
        lambda: replica._webhook_interest.wants(EventType.TASK_ENDED, 7), within=LESS_THAN_REREAD_S, what="it is known"
    )
    assert not replica._webhook_interest.wants(EventType.PUBLISH_FAILED, 7)
