"""Many watches of one caller: what they share, and how they end where a replica can't keep up with them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.change import TaskChange
from scheduler_svc.replica.replica import Replica
from scheduler_svc.tasks import messages as convert
from scheduler_svc.watch import watchers as sending
from tests.contract.watching import PATIENCE_S, told, watching
from tests.harness.rpc_errors import refused
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

WATCHES = 20


async def submitted(tasks: TaskServiceAsyncStub, account: int) -> str:
    return (await tasks.SubmitTask(pb.SubmitTaskRequest(account_id=account, topic="a topic"))).task.task_id


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
        async with watching(tasks, account_id=account, resume_token=token) as watcher:
            assert told([await watcher.next()]) == [(second, "unspecified", "pending")]
