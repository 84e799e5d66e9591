"""Pauses, limits, quotas and ageing over real servers: they hold on every replica, and what waits goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import aio

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import worker_pool_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.dispatch import loop as admission
from scheduler_svc.domain import dispatch
from scheduler_svc.replica.replica import Replica
from tests.api.cases import NOTHING, Good, missing, of
from tests.harness.maker import TaskClient, new_account
from tests.harness.replicas import channel_to, serving_all, serving_beside
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stubs import AccountServiceAsyncStub, TaskServiceAsyncStub, WorkerPoolServiceAsyncStub
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

WAIT_S = 5  # less than the interval at which a replica checks without a hint


async def submitted(client: TaskClient, count: int = 1) -> list[str]:
    return [task.task_id for task in await client.submit_all(count)]


async def reason(client: TaskClient, task_id: str) -> task_pb2.PendingReason.ValueType:
    return (await client.get(task_id)).pending_reason


async def limit(
    accounts: AccountServiceAsyncStub, account: int, most: int, field: str = "max_concurrent_tasks"
) -> None:
    wanted = account_pb.Account(account_id=account)
    setattr(wanted, field, most)
    mask = FieldMask(paths=[field])
    await accounts.UpdateAccount(account_pb.UpdateAccountRequest(account=wanted, update_mask=mask))


@pytest.fixture(params=["one account", "everything"])
def paused(request: pytest.FixtureRequest, account: int) -> int:
    """The account of a pause."""
    return account if request.param == "one account" else 0


async def test_a_paused_task_waits_with_its_reason_until_dispatch_resumes(
    client: TaskClient, pool: WorkerPoolServiceAsyncStub, worker: ScriptedWorker, paused: int
) -> None:
    assert await pool.PauseDispatch(pb.PauseDispatchRequest(account_id=paused)) == pb.PauseDispatchResponse()
    await worker.heartbeat(2)
    (task_id,) = await submitted(client)
    assert await reason(client, task_id) == task_pb2.PENDING_REASON_PAUSED
    assert await pool.ResumeDispatch(pb.ResumeDispatchRequest(account_id=paused)) == pb.ResumeDispatchResponse()
    async with asyncio.timeout(WAIT_S):
        (lease,) = await worker.assigned()
    assert lease.task.task_id == task_id


async def test_a_task_waits_for_its_account_s_limit_until_another_ends(
    client: TaskClient, accounts: AccountServiceAsyncStub, worker: ScriptedWorker
) -> None:
    await limit(accounts, client.account, 1)
    first, second = await submitted(client, 2)
    (lease,) = await worker.take(3)
    assert lease.task.task_id == first
    await worker.heartbeat(2)
    assert await reason(client, second) == task_pb2.PENDING_REASON_ACCOUNT_LIMIT
    await worker.start(lease)
    await worker.send_report(completed(lease))
    async with asyncio.timeout(WAIT_S):
        (lease,) = await worker.assigned()  # which may come before the report's acknowledgement
    assert lease.task.task_id == second


@pytest.mark.parametrize(("bound", "raised"), [("max_concurrent_tasks", 0), ("max_starts_per_minute", 4)])
async def test_a_raised_bound_applies_at_once_to_waiting_tasks(
    client: TaskClient, accounts: AccountServiceAsyncStub, worker: ScriptedWorker, bound: str, raised: int
) -> None:
    await limit(accounts, client.account, 1, bound)
    await submitted(client, 4)
    await worker.take(4)
    await worker.heartbeat(3)
    await limit(accounts, client.account, raised, bound)
    async with asyncio.timeout(WAIT_S):
        assert len(await worker.assigned()) == 3


async def test_a_task_over_its_account_s_start_quota_starts_after_the_minute(
    client: TaskClient, accounts: AccountServiceAsyncStub, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MINUTE", timedelta(seconds=2))
    await limit(accounts, client.account, 1, "max_starts_per_minute")
    first, second = await submitted(client, 2)
    (lease,) = await worker.take(3)
    assert lease.task.task_id == first
    await worker.heartbeat(2)
    assert await reason(client, second) == task_pb2.PENDING_REASON_RATE_LIMIT
    async with asyncio.timeout(WAIT_S):
        (lease,) = await worker.assigned()
    assert lease.task.task_id == second


@pytest.mark.usefixtures("replica")
async def test_an_old_task_comes_before_a_higher_priority_if_the_setting_says_so(
    client: TaskClient, db_url: str, engine: sa.Engine
) -> None:
    """Another replica has the setting, and the only worker."""
    old = await client.submit(priority=1)
    sql(engine, "UPDATE ready SET ready_time = ready_time - interval '10 minutes'")
    await client.submit(priority=8)
    async with (
        serving_beside(db_url, priority_aging=60.0) as ageing,
        channel_to(ageing) as channel,
        ScriptedWorker(channel) as worker,
    ):
        (lease,) = await worker.take()
    assert lease.task.task_id == old.task_id


class Pair:
    """Two replicas, each with its own worker, which complete all tasks."""

    def __init__(self, replicas: list[Replica], channels: list[aio.Channel]) -> None:
        self.replicas = replicas
        self.tasks = [TaskServiceAsyncStub(channel) for channel in channels]
        self.accounts = [AccountServiceAsyncStub(channel) for channel in channels]
        self._channels = channels
        self.running = self.most = self.done = 0

    async def account(self, **limits: int) -> int:
        return await new_account(self._channels[0], **limits)

    async def serve(self, account: int, count: int, slots: int) -> None:
        """Submits that many tasks, half of them at each replica, and works until all are done."""
        for tasks in self.tasks:
            await submitted(TaskClient(tasks, account), count // 2)
        # without hints, a few at each periodic check of a replica
        async with asyncio.timeout(3 * admission.SCAN_INTERVAL):
            workers = [asyncio.create_task(self.work(n, slots, until=count)) for n in (0, 1)]
            await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.cancel()  # one may wait for an assignment that does not come

    async def work(self, n: int, slots: int, until: int) -> None:
        async with ScriptedWorker(self._channels[n], hello(worker_id=f"w{n}", folder_id=f"f{n}")) as worker:
            while self.done < until:
                await worker.send_heartbeat(slots)
                leases = await worker.assigned()
                self.running += len(leases)
                self.most = max(self.most, self.running)
                await asyncio.sleep(0)
                self.running -= len(leases)  # before the report reaches the scheduler
                self.done += len(leases)
                await worker.send_report(*(completed(worker.held.pop(lease.lease_id)) for lease in leases))


def completed(lease: worker_pb.AssignedLease) -> worker_pb.LeaseUpdate:
    result = worker_pb.Result(body="an article")
    return worker_pb.LeaseUpdate(
        lease_id=lease.lease_id, attempt=lease.attempt, completed=worker_pb.Completed(result=result)
    )


@pytest.fixture
async def pair(db_url: str) -> AsyncIterator[Pair]:
    async with serving_all(db_url, 2) as replicas:
        channels = [channel_to(replica) for replica in replicas]
        yield Pair(replicas, channels)
        for channel in channels:
            await channel.close()


async def test_a_limit_holds_across_replicas_and_freed_seats_are_used_at_once(pair: Pair) -> None:
    await pair.serve(await pair.account(max_concurrent_tasks=3), 200, slots=4)
    assert (pair.done, pair.most) == (200, 3)


async def test_a_start_quota_holds_across_replicas(
    pair: Pair, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each replica counts the starts of its claims, and one of them admits more after the minute."""
    minute, quota, count = timedelta(seconds=1), 20, 80
    monkeypatch.setattr(dispatch, "MINUTE", minute)
    await pair.serve(await pair.account(max_starts_per_minute=quota), count, slots=7)
    with engine.connect() as connection:
        leased = "SELECT event_time FROM task_events WHERE reason = 'LEASED' ORDER BY event_time"
        times = list(connection.execute(sa.text(leased)).scalars())
    assert len(times) == count
    assert all(later - time >= minute for time, later in zip(times, times[quota:], strict=False))


async def test_a_limit_set_on_another_replica_is_applied_here(pair: Pair) -> None:
    account = await pair.account()
    await limit(pair.accounts[0], account, 1)
    here = pair.replicas[1]
    await wait_until_async(lambda: account in here._admission._limited, within=WAIT_S, what="it was told")


# What tests/api calls: requests that are answered, and those that are refused.
GOOD = [
    Good("PauseDispatch", of(account="account"), {}),
    Good("ResumeDispatch", of(account="account"), {}),
    Good("ResumeDispatch", {}, {}),
    Good("GetDispatchStatus", {}, {"all_paused": bool, "paused_account_ids": list}),
]
BAD = [
    missing("PauseDispatch", {"account_id": NOTHING}, "account"),
    missing("ResumeDispatch", {"account_id": NOTHING}, "account"),
]
