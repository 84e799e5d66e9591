"""WatchTasks on one replica: present states, moves as they are committed, tokens, and how a watch ends."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.errors import ChangesDelayed
from scheduler_svc.replica.replica import Replica
from scheduler_svc.watch import feed as tail
from scheduler_svc.watch import watchers as reading
from scheduler_svc.watch import work as changes
from scheduler_svc.watch.work import Selection
from tests.harness.client import bad_fields, refused
from tests.harness.cluster import Databases
from tests.harness.database_faults import APPLICATION, foreign_lock
from tests.harness.maker import TaskClient, new_account, submitted
from tests.harness.scheduling import sent
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async
from tests.harness.watching import Mover, Watcher, moves_of, watching

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

MISSING = "task-0123456789abcdef"
LIFE = [("unspecified", "pending"), ("pending", "submitted"), ("submitted", "processing"), ("processing", "completed")]


class WatchingClient(TaskClient):
    """A client that watches the tasks of its account, unless it names others."""

    def watch(self, **request: Any) -> AbstractAsyncContextManager[Watcher]:
        own = {} if {"account_id", "task_ids"} & request.keys() else {"account_id": self.account}
        return watching(self.stub, **own, **request)

    async def first(self, **request: Any) -> pb.TaskChange:
        """The first event of a watch, which ends then."""
        async with self.watch(**request) as watcher:
            return await watcher.next()

    async def new(self, account: int = 0, **fields: Any) -> str:
        """The id of a new task, of its account or of another one."""
        return await submitted(self.stub, account or self.account, **fields)

    async def several(self, count: int) -> list[str]:
        """The ids of so many new tasks."""
        return [task.task_id for task in await self.submit_all(count)]

    async def listed(self, task_id: str) -> task_pb2.Task:
        return (await self.stub.BatchGetTasks(pb.BatchGetTasksRequest(task_ids=[task_id]))).tasks[0]


@pytest.fixture
def client(tasks: TaskServiceAsyncStub, account: int) -> WatchingClient:
    return WatchingClient(tasks, account)


@pytest.fixture
async def other(channel: aio.Channel) -> int:
    """Another account."""
    return await new_account(channel)


@pytest.fixture
def mover(db_url: str) -> Iterator[Mover]:
    mover = Mover(db_url)
    yield mover
    mover.close()


async def test_a_task_is_followed_from_its_present_state_to_its_end(
    client: WatchingClient, worker: ScriptedWorker
) -> None:
    task_id = await client.new()
    async with client.watch(task_ids=[task_id]) as watcher:
        first = await watcher.next()
        assert first.task == await client.listed(task_id)
        assert first.previous_status == task_pb2.TASK_STATUS_UNSPECIFIED
        lease = await worker.run()
        await worker.complete(lease)
        leased, started, completed = await watcher.take(3)
    assert moves_of([leased, started, completed]) == [(task_id, before, after) for before, after in LIFE[1:]]
    assert completed.task == await client.listed(task_id)
    assert leased.task.worker_id == "w1"
    assert (leased.task.lease_id, leased.task.attempt) == (lease.lease_id, 1)
    assert leased.task.submit_time == leased.event_time == completed.task.submit_time
    assert not leased.task.HasField("start_time")
    assert started.task.start_time == started.event_time == completed.task.start_time
    assert completed.task.end_time == completed.event_time


async def test_a_failure_and_its_retry_are_two_events(client: WatchingClient, worker: ScriptedWorker) -> None:
    async with client.watch() as watcher:
        await watcher.stands()
        task_id = await client.new(max_retries=1)
        (lease,) = await worker.take()
        await worker.fail(lease)
        _, _, failed, pending = await watcher.take(4)
        assert moves_of([failed, pending]) == [(task_id, "submitted", "failed"), (task_id, "failed", "pending")]
        assert (failed.will_retry, pending.will_retry) == (True, False)
        assert (failed.task.retry_count, pending.task.retry_count) == (0, 1)
        assert not failed.task.HasField("end_time")
        assert failed.event_time == pending.event_time
        assert pending.task.error == (await client.listed(task_id)).error
        await client.retry(task_id)  # ends the wait, and moves nothing
        (lease,) = await worker.take()
        await worker.fail(lease)
        *_, ended = await watcher.take(2)
        assert (ended.will_retry, ended.task.end_time) == (False, ended.event_time)
        assert ended.task == await client.listed(task_id)


async def test_an_account_s_watch_begins_with_open_tasks_and_sees_no_other_account(
    client: WatchingClient, other: int
) -> None:
    ended, *open_ids = await client.several(3)
    await client.cancel(ended)
    await client.new(other)
    async with client.watch() as watcher:
        present = await watcher.take(2)
        await client.new(other)
        new = await client.new()
        moved = await watcher.next()
    assert sorted(moves_of(present)) == sorted((task_id, "unspecified", "pending") for task_id in open_ids)
    assert moves_of([moved]) == [(new, "unspecified", "pending")]


async def test_a_watch_without_a_selection_is_of_all_accounts(
    client: WatchingClient, channel: aio.Channel, other: int
) -> None:
    ended, *open_ids = [await client.new(account_id) for account_id in (0, other, 0)]
    await client.cancel(ended)
    async with client.watch(account_id=0) as watcher:
        present = await watcher.take(2)
        third = await new_account(channel)
        new = [await client.new(account_id) for account_id in (third, other, 0)]
        moved = await watcher.take(3)
    assert sorted(moves_of(present)) == sorted((task_id, "unspecified", "pending") for task_id in open_ids)
    assert moves_of(moved) == [(task_id, "unspecified", "pending") for task_id in new]
    await client.cancel(new[1])
    async with client.watch(account_id=0, resume_token=moved[0].resume_token) as watcher:
        assert moves_of(await watcher.take(3)) == [*moves_of(moved[1:]), (new[1], "pending", "cancelled")]
    with bad_fields("resume_token"):
        await client.first(account_id=third, resume_token=moved[0].resume_token)


async def test_a_watch_may_begin_with_the_next_move(client: WatchingClient) -> None:
    task_id = await client.new()
    for selection in ({"task_ids": [task_id]}, {"account_id": client.account}, {"account_id": 0}):
        async with client.watch(skip_present=True, **selection) as watcher:
            await watcher.stands()
            if "task_ids" in selection:
                await client.cancel(task_id)
                assert moves_of([await watcher.next()]) == [(task_id, "pending", "cancelled")]
            else:
                new = await client.several(2)
                assert moves_of(await watcher.take(2)) == [(task_id, "unspecified", "pending") for task_id in new]


async def test_the_present_states_of_several_pages_are_sent_in_order(client: WatchingClient) -> None:
    task_ids = await client.several(changes.MAX_PAGE + 100)
    async with client.watch() as watcher:
        first = await watcher.take(changes.MAX_PAGE + 50)
    async with client.watch(resume_token=first[-1].resume_token) as watcher:
        rest = await watcher.take(50)
        await client.cancel(task_ids[0])
        assert moves_of([await watcher.next()]) == [(task_ids[0], "pending", "cancelled")]
    assert [event.task.task_id for event in first + rest] == sorted(task_ids)


@pytest.mark.parametrize(
    ("bad_field", "request_"),
    [
        ("task_ids[1]", {"task_ids": [MISSING, ""]}),
        ("resume_token", {"account_id": 1, "resume_token": "x" * 10_000}),
        ("resume_token", {"account_id": 1, "resume_token": base64.urlsafe_b64encode(b"[1,2,3,4,5]").decode()}),
    ],
    ids=["an empty id", "a token of any length", "a token of other parts"],
)
async def test_a_bad_request_is_refused(client: WatchingClient, bad_field: str, request_: dict[str, object]) -> None:
    with bad_fields(bad_field):
        await client.first(**request_)


async def test_a_token_of_another_selection_is_refused(client: WatchingClient) -> None:
    task_ids = [await client.new() for _ in range(2)]
    token = (await client.first(task_ids=task_ids)).resume_token
    assert (await client.first(task_ids=task_ids[::-1], resume_token=token)).task.task_id == task_ids[1]
    for other in ({"task_ids": task_ids[:1]}, {"account_id": client.account}):
        with bad_fields("resume_token"):
            await client.first(resume_token=token, **other)


class TestExpiry:
    async def token_of(self, client: WatchingClient, **selection: int) -> str:
        """The token of a watch after one event."""
        async with client.watch(**selection) as watcher:
            await watcher.stands()
            await client.new()
            return (await watcher.next()).resume_token

    @pytest.fixture
    async def token(self, client: WatchingClient) -> str:
        return await self.token_of(client)

    async def expired(self, client: WatchingClient, token: str, **selection: int) -> None:
        with refused(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"):
            await client.first(resume_token=token, **selection)

    async def clean_up(self, client: WatchingClient, account: int, task_id: str) -> None:
        await client.cancel(task_id)
        answer = await client.stub.CleanupTasks(pb.CleanupTasksRequest(account_id=account, days=0))
        assert answer.deleted_count == 1

    async def test_events_that_were_cleaned_up_expire_the_tokens_of_its_account_and_of_all_before_them(
        self, client: WatchingClient, token: str
    ) -> None:
        of_all = await self.token_of(client, account_id=0)
        await self.clean_up(client, client.account, await client.new())
        await self.expired(client, token)
        await self.expired(client, of_all, account_id=0)

    async def test_cleaned_up_events_of_others_expire_no_token(
        self, client: WatchingClient, other: int, token: str
    ) -> None:
        await self.clean_up(client, other, await client.new(other))
        new = await client.new()
        resumed = await client.first(resume_token=token)
        assert moves_of([resumed]) == [(new, "unspecified", "pending")]

    async def test_the_token_of_the_last_cleaned_up_event_is_valid(self, client: WatchingClient) -> None:
        task_id = await client.new()
        async with client.watch() as watcher:
            await watcher.next()
            await client.cancel(task_id)
            token = (await watcher.next()).resume_token
            await client.stub.CleanupTasks(pb.CleanupTasksRequest(account_id=client.account, days=0))
            new = await client.new()
            assert moves_of([await watcher.next()]) == [(new, "unspecified", "pending")]
        resumed = await client.first(resume_token=token)
        assert moves_of([resumed]) == [(new, "unspecified", "pending")]

    async def test_events_deleted_before_they_were_read_end_the_watch(
        self, client: WatchingClient, mover: Mover
    ) -> None:
        task_id = await client.new()
        async with client.watch() as watcher:
            await watcher.next()
            mover.draw()
            await self.clean_up(client, client.account, task_id)
            mover.commit()
            with refused(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"):
                await watcher.next()

    @pytest.mark.parametrize("what", ["went back", "went another way"])
    async def test_a_token_before_a_restore_expires(
        self, client: WatchingClient, mover: Mover, token: str, what: str
    ) -> None:
        mover.sql("TRUNCATE task_events RESTART IDENTITY")
        mover.sql("ALTER SEQUENCE event_seq RESTART WITH 1")
        mover.commit()
        if what == "went another way":
            for _ in range(3):
                await client.new()
        await self.expired(client, token)

    async def test_a_token_of_another_database_is_expired(self, client: WatchingClient, token: str) -> None:
        parts = json.loads(base64.urlsafe_b64decode(token))
        parts[3] = "1" + parts[3]
        forged = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
        await self.expired(client, forged)


async def test_a_long_transaction_that_moves_tasks_delays_events_and_loses_none(
    client: WatchingClient, mover: Mover, replica: Replica
) -> None:
    task_id = await client.new()
    async with client.watch() as watcher:
        await watcher.next()
        mover.move([task_id], attempt=7)
        later = await client.new()
        events = asyncio.ensure_future(watcher.take(3))
        late = asyncio.ensure_future(client.first())
        rests = 8 * tail.MIN_INTERVAL
        await wait_until_async(
            lambda: replica._feed._interval > rests, within=PATIENCE_S, what="the tail has looked in vain"
        )
        assert not events.done()
        assert not late.done()
        mover.commit()
        moved = [(task_id, "pending", "submitted"), (task_id, "submitted", "pending")]
        assert moves_of(await events) == [*moved, (later, "unspecified", "pending")]
        assert moves_of([await late]) == [(task_id, "unspecified", "pending")]


async def test_transactions_that_move_no_task_delay_nothing(
    client: WatchingClient, db_url: str, databases: Databases
) -> None:
    take_id = "SELECT txid_current()"
    with databases.lent() as elsewhere, foreign_lock(elsewhere, take_id), foreign_lock(db_url, take_id):
        async with client.watch() as watcher:
            await watcher.stands()
            task_id = await client.new()
            assert moves_of([await watcher.next()]) == [(task_id, "unspecified", "pending")]


async def test_watches_whose_changes_wait_too_long_name_the_session_that_they_wait_for(
    client: WatchingClient, other: int, db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "DELAY_TIMEOUT", 0.1)
    async with client.watch() as watcher, client.watch(account_id=other) as unconcerned:
        await watcher.stands()
        await unconcerned.stands()
        await client.new()
        token = (await watcher.next()).resume_token
        with foreign_lock(db_url, "SELECT pg_current_xact_id(), nextval('event_seq')") as pid:
            second = await client.new()
            async with client.watch(resume_token=token) as new:
                for delayed in (watcher, new):
                    with refused(StatusCode.UNAVAILABLE, "CHANGES_DELAYED") as refusal:
                        await delayed.next()
                    assert refusal.metadata == {"pid": str(pid), "database": sa.make_url(db_url).database}
                    assert str(pid) in refusal.message
                    assert APPLICATION not in refusal.message
        third = await client.new(other)
        assert moves_of([await unconcerned.next()]) == [(third, "unspecified", "pending")]
    resumed = await client.first(resume_token=token)
    assert moves_of([resumed]) == [(second, "unspecified", "pending")]


async def test_a_watch_that_joins_late_is_told_of_a_delay_too(
    replica: Replica, client: WatchingClient, db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "DELAY_TIMEOUT", 0.1)
    for module in (tail, changes):
        monkeypatch.setattr(module, "MAX_SCAN", 1)
    feed, scope = replica._feed, Scope.of(client.account)
    with feed.admitted():  # so that the feed goes on when the early watch has ended
        async with client.watch(skip_present=True) as early:
            await early.stands()
            with foreign_lock(db_url, "SELECT pg_current_xact_id(), nextval('event_seq')"):
                await client.new()
                with refused(StatusCode.UNAVAILABLE, "CHANGES_DELAYED"):
                    await early.next()
                assert feed._origin
                async with feed.joined(Selection(scope=scope), scope, feed._origin) as (late, _):
                    with pytest.raises(ChangesDelayed):
                        async with asyncio.timeout(PATIENCE_S):
                            await late.next()


async def test_a_rolled_back_move_sends_no_event(client: WatchingClient, mover: Mover) -> None:
    task_id = await client.new()
    async with client.watch(task_ids=[task_id]) as watcher:
        await watcher.next()
        mover.move([task_id], attempt=7)
        mover.roll_back()
        mover.move([task_id], attempt=8)
        mover.commit()
        await client.cancel(task_id)
        assert [event.task.attempt for event in await watcher.take(3)] == [8, 8, 8]


class TestSlowWatchers:
    MOVES = 4
    TASKS = 200

    @pytest.fixture(autouse=True)
    def small_buffer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "MAX_BUFFER", 3 * self.TASKS)

    @pytest.fixture
    async def slow(self, replica: Replica, account: int) -> AsyncIterator[WatchingClient]:
        """Over a channel with a small receive window, which nobody reads: by default the window grows."""
        options = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16_384)]
        async with aio.insecure_channel(f"127.0.0.1:{replica.port}", options) as channel:
            yield WatchingClient(TaskServiceAsyncStub(channel), account)

    async def test_slow_watchers_are_cut_off_with_a_token_that_misses_nothing(
        self, client: WatchingClient, slow: WatchingClient, mover: Mover, replica: Replica
    ) -> None:
        task_ids = await client.several(self.TASKS)
        async with slow.watch() as watcher:
            await watcher.take(self.TASKS)
            await wait_until_async(lambda: replica._feed.watcher_count, within=PATIENCE_S, what="it is up to date")
            (buffer,) = replica._feed._watchers
            await self.move(mover, task_ids)  # and nobody reads
            await wait_until_async(lambda: buffer.failed, within=PATIENCE_S, what="it is cut off")
            seen, token = await self.until_cut_off(watcher)
        assert 0 < len(seen) < 2 * self.TASKS * self.MOVES
        while len(seen) < 2 * self.TASKS * self.MOVES:
            async with client.watch(resume_token=token) as watcher:
                seen += await watcher.take(2 * self.TASKS * self.MOVES - len(seen))
        assert [(event.task.task_id, event.task.attempt, event.task.status) for event in seen] == [
            (task_id, attempt, status)
            for attempt in range(1, self.MOVES + 1)
            for task_id in task_ids
            for status in (task_pb2.TASK_STATUS_SUBMITTED, task_pb2.TASK_STATUS_PENDING)
        ]

    async def test_slow_watchers_do_not_delay_the_others(
        self, client: WatchingClient, slow: WatchingClient, mover: Mover
    ) -> None:
        task_ids = await client.several(self.TASKS)
        async with slow.watch() as unread, client.watch(task_ids=task_ids[:1]) as quick:
            await unread.take(self.TASKS)
            await quick.next()
            reading = asyncio.ensure_future(quick.take(2 * self.MOVES))
            await self.move(mover, task_ids)
            assert [event.task.attempt for event in await reading] == sorted([*range(1, self.MOVES + 1)] * 2)

    async def move(self, mover: Mover, task_ids: list[str]) -> None:
        for attempt in range(1, self.MOVES + 1):
            await asyncio.to_thread(mover.move, task_ids, attempt)
            mover.commit()

    async def until_cut_off(self, watcher: Watcher) -> tuple[list[pb.TaskChange], str]:
        seen: list[pb.TaskChange] = []
        with refused(StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW") as refusal:
            while True:
                seen.append(await watcher.next())
        assert refusal.metadata == {"resume_token": seen[-1].resume_token}
        return seen, refusal.metadata["resume_token"]


async def test_the_number_of_watchers_of_a_replica_is_bounded(
    client: WatchingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MAX_WATCHERS", 1)
    async with client.watch() as one:
        await one.stands()
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS") as refusal:
            await client.first()
    assert refusal.retry_after


async def test_a_stopping_replica_ends_its_watches_with_unavailable(client: WatchingClient, replica: Replica) -> None:
    async with client.watch() as watcher:
        await watcher.stands()
        going = asyncio.ensure_future(replica.stop(within=5))
        with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
            await watcher.next()
        await going


async def test_many_watchers_need_no_more_statements_than_one(client: WatchingClient, replica: Replica) -> None:
    async with AsyncExitStack() as watches:
        idle = [await watches.enter_async_context(client.watch()) for _ in range(50)]
        for watcher in idle:
            await watcher.stands()
        one = await watches.enter_async_context(client.watch())
        await one.stands()
        with sent(*replica._pools._engines) as statements:
            await client.new()
            await one.next()
        assert len(statements) < 100, statements  # some are of the replica's own rounds
