"""WatchTasks across replicas: each move of any replica arrives once and in order at watchers of any replica."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from grpc import aio

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.replica.replica import Replica
from tests.harness.replicas import serving_all
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import wait_until_async
from tests.harness.watching import PATIENCE_S, Mover, batch, submitted, told, watching

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = pytest.mark.contract

TASKS = 100
MOVERS = 8
TRANSACTIONS = 24
TASKS_PER_TRANSACTION = 10
EVENTS = 2 * TRANSACTIONS * TASKS_PER_TRANSACTION


@pytest.fixture
async def replicas(db_url: str) -> AsyncIterator[list[Replica]]:
    async with serving_all(db_url, 2) as replicas:
        yield replicas


@pytest.fixture
async def channels(replicas: list[Replica]) -> AsyncIterator[list[aio.Channel]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{replica.port}")) for replica in replicas
        ]


@pytest.fixture
def stubs(channels: list[aio.Channel]) -> list[TaskServiceAsyncStub]:
    return [TaskServiceStub(channel) for channel in channels]


@pytest.fixture
async def account(channels: list[aio.Channel]) -> int:
    answer = await AccountServiceStub(channels[0]).CreateAccount(account_pb.CreateAccountRequest(name="an account"))
    return answer.account.account_id


@pytest.fixture
async def task_ids(stubs: list[TaskServiceAsyncStub], account: int) -> list[str]:
    return await batch(stubs[0], account, TASKS)


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


@pytest.mark.parametrize("of", ["account", "tasks"])
async def test_a_watcher_that_changes_replicas_sees_all_moves_once_and_in_order(
    stubs: list[TaskServiceAsyncStub], account: int, task_ids: list[str], movers: list[Mover], of: str
) -> None:
    dice = random.Random(of)
    selection: dict[str, object] = {"account_id": account} if of == "account" else {"task_ids": task_ids}
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
    for key, *move in mover.rows(
        "SELECT task_key, attempt, previous_status, status FROM task_events WHERE attempt > 0 ORDER BY task_key, seq"
    ):
        paths[format_task_id(key)].append(tuple(move))
    assert sum(map(len, paths.values())) == EVENTS
    return paths


async def test_moves_of_a_task_keep_their_order_whichever_transaction_began_first(
    stubs: list[TaskServiceAsyncStub], account: int, task_ids: list[str], movers: list[Mover]
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
    replicas: list[Replica], stubs: list[TaskServiceAsyncStub], channels: list[aio.Channel], account: int
) -> None:
    async with watching(stubs[1], account_id=account) as watcher, ScriptedWorker(channels[0]) as worker:
        await watcher.stands()
        audience = replicas[0]._interest
        await wait_until_async(lambda: audience.elsewhere, within=PATIENCE_S, what="the other replica is heard")
        task_id = await submitted(stubs[0], account)
        await watcher.next()
        await worker.take()
        async with asyncio.timeout(PATIENCE_S / 2):  # below the interval at which a replica reads without a hint
            event = await watcher.next()
    assert told([event]) == [(task_id, "pending", "submitted")]
