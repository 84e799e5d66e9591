"""WorkerService.Lease over a real server on a real database."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode, aio

from contentgen.submit_fields import BRIEF
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.worker_service_pb2_grpc import WorkerServiceStub
from scheduler_svc.leases import service as idle_heartbeats
from scheduler_svc.leases import service as worker_service
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.group_committer import GroupCommitter
from tests.harness.client import refused
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


# WorkerService.Lease over a real server on a real database, message by message.


COMMITTED = worker_pb.UPDATE_OUTCOME_COMMITTED
ALREADY_COMMITTED = worker_pb.UPDATE_OUTCOME_ALREADY_COMMITTED
LEASE_LOST = worker_pb.UPDATE_OUTCOME_LEASE_LOST


async def submitted(tasks: TaskServiceAsyncStub, account: int, count: int = 1, **fields: Any) -> list[task_pb2.Task]:
    request = task_pb.SubmitTaskRequest(account_id=account, topic="a topic", **fields)
    batch = task_pb.BatchSubmitTasksRequest(requests=[request] * count)
    return list((await tasks.BatchSubmitTasks(batch)).tasks)


async def get(tasks: TaskServiceAsyncStub, task_id: str) -> task_pb2.Task:
    return (await tasks.GetTask(task_pb.GetTaskRequest(task_id=task_id))).task


async def test_a_welcome_has_the_lease_times(worker: ScriptedWorker, replica: Replica) -> None:
    assert worker.welcome.lease_ttl == Duration(seconds=120)
    assert worker.welcome.heartbeat_interval == Duration(seconds=10)
    assert worker.welcome.scheduler_id == replica.scheduler_id
    assert not worker.welcome.desired_state.drain
    assert worker.welcome.accepts_deferrals


@pytest.mark.parametrize(
    ("deferred", "waits"),
    [
        (worker_pb.Deferred(message="m" * 2_000), range(30, 34)),
        (worker_pb.Deferred(retry_after=Duration(seconds=90)), range(90, 100)),
        (worker_pb.Deferred(retry_after=Duration(seconds=-(2**63), nanos=-1)), range(1, 3)),
        (worker_pb.Deferred(retry_after=Duration(seconds=2**63 - 1)), range(86_400, 95_041)),
    ],
    ids=["unset", "set", "negative", "for ever"],
)
async def test_the_wait_of_a_deferral_is_bounded(
    tasks: TaskServiceAsyncStub, account: int, worker: ScriptedWorker, deferred: worker_pb.Deferred, waits: range
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    assert await worker.report(lease, deferred=deferred) == COMMITTED
    assert (await get(tasks, task.task_id)).pending_reason == task_pb2.PENDING_REASON_BACKOFF
    history = (await tasks.ListTaskEvents(task_pb.ListTaskEventsRequest(task_id=task.task_id))).events
    wait, _, rest = history[-1].message.partition(" s")
    assert int(wait.removeprefix("offered again in ")) in waits
    assert rest.count("m") == min(1_000, len(deferred.message))
    assert await worker.report(lease, deferred=deferred) == ALREADY_COMMITTED


async def test_a_bad_hello_is_refused_with_every_bad_field(channel: aio.Channel) -> None:
    bad = worker_pb.Hello(worker_id=" ", session_number=0, hostname="h" * 201, slots=-1, labels={"": ""})
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        async with ScriptedWorker(channel, bad):
            pass
    assert set(refusal.fields) == {
        "hello.worker_id",
        "hello.folder_id",
        "hello.session_number",
        "hello.hostname",
        "hello.slots",
        'hello.labels[""]',
    }


async def test_a_stream_is_rotated_after_its_maximum_age(channel: aio.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_service, "ROTATION_INTERVAL", (0.1, 0.2))
    async with ScriptedWorker(channel) as worker:
        await worker.read("reconnect")
        assert (await worker.heartbeat(free_slots=0)).heartbeat_number == 1


async def test_a_stream_is_rotated_after_the_last_part_of_a_report(
    tasks: TaskServiceAsyncStub, channel: aio.Channel, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another stream the parts would have to be sent again."""
    monkeypatch.setattr(worker_service, "ROTATION_INTERVAL", (1.0, 1.0))
    monkeypatch.setattr(worker_service, "ROTATION_RETRY_INTERVAL", 0.2)
    looks: list[None] = []
    rotate = worker_service._StreamHandler._rotate

    def looked(handler: worker_service._StreamHandler) -> None:
        looks.append(None)
        rotate(handler)

    monkeypatch.setattr(worker_service._StreamHandler, "_rotate", looked)
    await submitted(tasks, account)
    async with ScriptedWorker(channel) as worker:
        (lease,) = await worker.take()
        first, last = in_parts(result_of(lease, 1, "x" * 900), 500)
        await worker.write(worker_pb.LeaseRequest(report_part=first))
        await worker.read("part_received")
        await wait_until_async(lambda: len(looks) > 1, within=10, what="it is looked again and again")
        await worker.write(worker_pb.LeaseRequest(report_part=last))
        answer = (await worker.read("acknowledgement")).acknowledgement
        assert answer.report_number == 1
        await worker.read("reconnect")


@pytest.mark.parametrize(
    "first",
    [
        worker_pb.LeaseRequest(),
        worker_pb.LeaseRequest(heartbeat=worker_pb.Heartbeat(number=1)),
        worker_pb.LeaseRequest(report=worker_pb.Report(number=1)),
    ],
)
async def test_a_stream_without_a_hello_is_refused(channel: aio.Channel, first: worker_pb.LeaseRequest) -> None:
    call = WorkerServiceStub(channel).Lease()
    await call.write(first)
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await call.read()


async def test_heartbeats_that_change_nothing_share_transactions(
    channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_heartbeats, "GATHER_TIME", 1.0)  # more than the second heartbeats take to arrive
    groups: list[int] = []
    process = GroupCommitter._process

    def counted(lane: GroupCommitter[Any, Any], group: list[Any]) -> None:
        groups.append(len(group))
        process(lane, group)

    monkeypatch.setattr(GroupCommitter, "_process", counted)
    async with AsyncExitStack() as exits:
        workers = [
            await exits.enter_async_context(ScriptedWorker(channel, hello(worker_id=f"w{n}", folder_id=f"f{n}")))
            for n in range(6)
        ]
        for worker in workers:
            await worker.heartbeat(0)
        groups.clear()
        acknowledgements = await asyncio.gather(*(worker.heartbeat(0) for worker in workers))
    assert [acknowledgement.heartbeat_number for acknowledgement in acknowledgements] == [2] * 6
    assert sum(groups) == 6
    assert len(groups) < 6


async def test_a_report_comes_after_a_heartbeat_that_waits_for_others(
    worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle_heartbeats, "GATHER_TIME", 3_600.0)
    await worker.heartbeat(0)
    await worker.send_heartbeat(0)
    await worker.send_report(worker_pb.LeaseUpdate(lease_id="nobody-has-it", attempt=1, accepted=worker_pb.Accepted()))
    first, second = [(await worker.read("acknowledgement")).acknowledgement for _ in range(2)]
    assert (first.heartbeat_number, second.report_number) == (2, 1)


async def test_another_folder_may_not_take_a_live_workers_id(channel: aio.Channel, worker: ScriptedWorker) -> None:
    with refused(StatusCode.ALREADY_EXISTS, "WORKER_ID_IN_USE") as refusal:
        async with ScriptedWorker(channel, hello(folder_id="another", hostname="elsewhere")):
            pass
    assert refusal.metadata == {"worker_id": "w1", "hostname": "host"}


async def test_a_delayed_hello_is_refused(channel: aio.Channel) -> None:
    async with ScriptedWorker(channel, hello(session_number=2)):
        with refused(StatusCode.ABORTED, "SESSION_REPLACED"):
            async with ScriptedWorker(channel, hello(session_number=2)):
                pass


async def test_a_second_hello_on_a_stream_is_refused(worker: ScriptedWorker) -> None:
    await worker.write(worker_pb.LeaseRequest(hello=hello(session_number=2)))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await worker.read("welcome")


async def test_a_stream_that_ends_for_two_reasons_logs_no_error(
    replica: Replica, channel: aio.Channel, worker: ScriptedWorker, caplog: pytest.LogCaptureFixture
) -> None:
    newer = hello(session_number=2)
    async with ScriptedWorker(channel, newer):
        await worker.send_heartbeat(1)  # refused when it is processed: a newer session is open
        with suppress(aio.AioRpcError):
            await worker.write(worker_pb.LeaseRequest())  # refused at once
            await worker.read("assignment")
        waiting = replica._report_lanes.state
        await wait_until_async(lambda: not waiting().waiting, within=10, what="the heartbeat is processed")
        gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_assignment_has_all_fields_that_the_cli_needs(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    texts: dict[str, Any] = {field.name: f"a {field.name}" for field in BRIEF[1:]}
    (task,) = await submitted(
        tasks,
        account,
        **texts,
        timeout=Duration(seconds=90),
        creator_options={"length": "800"},
    )
    (lease,) = await worker.take()
    assert lease.lease_id.startswith("lease-")
    assert lease.attempt == 1
    assert lease.timeout == Duration(seconds=90)
    assert dict(lease.creator_options) == {"length": "800"}
    assert (lease.task.task_id, lease.task.topic) == (task.task_id, "a topic")
    assert {name: getattr(lease.task, name) for name in texts} == texts
    stored = await get(tasks, task.task_id)
    assert (stored.status, stored.lease_id) == (task_pb2.TASK_STATUS_SUBMITTED, lease.lease_id)


async def test_no_more_leases_are_assigned_than_slots_are_free(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    await submitted(tasks, account, 5)
    taken = list(await worker.take(3))
    while len(taken) < 3:
        taken += await worker.assigned()
    await worker.heartbeat(1)
    taken += await worker.assigned()
    assert len({lease.task.task_id for lease in taken}) == 4
    assert (await tasks.GetTaskStats(task_pb.GetTaskStatsRequest())).counts["pending"] == 1


async def test_the_highest_priority_is_assigned_first(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    tasks_by_priority = {
        priority: (await submitted(tasks, account, priority=priority))[0] for priority in (3, 10, 1, 7)
    }
    seen = []
    for _ in tasks_by_priority:
        (lease,) = await worker.take()
        seen.append(lease.task.priority)
    assert seen == [10, 7, 3, 1]


async def test_a_result_is_committed_once(tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    await worker.start(lease)
    assert await worker.complete(lease) == COMMITTED
    assert await worker.complete(lease, "another article") == ALREADY_COMMITTED
    assert await worker.fail(lease) == LEASE_LOST
    done = await get(tasks, task.task_id)
    assert done.status == task_pb2.TASK_STATUS_COMPLETED
    assert not done.HasField("error")


async def test_a_result_without_a_started_update_is_accepted(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    assert await worker.complete(lease) == COMMITTED
    events = (await tasks.ListTaskEvents(task_pb.ListTaskEventsRequest(task_id=task.task_id))).events
    assert [event.status for event in events][-2:] == [
        task_pb2.TASK_STATUS_PROCESSING,
        task_pb2.TASK_STATUS_COMPLETED,
    ]


@pytest.mark.parametrize("forged", ["attempt", "fence", "task", "garbage"])
async def test_a_report_of_another_lease_is_lost(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, forged: str
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    await worker.start(lease)
    other = worker_pb.AssignedLease()
    other.CopyFrom(lease)
    match forged:
        case "attempt":
            other.attempt = 2
        case "fence":
            other.lease_id = lease.lease_id[:-8] + "00000000"
        case "task":
            other.lease_id = f"lease-{1:016x}-{lease.lease_id[-8:]}"
        case "garbage":
            other.lease_id = "\0"
    for outcome in (await worker.complete(other), await worker.fail(other), await worker.start(other)):
        assert outcome == LEASE_LOST
    stored = await get(tasks, task.task_id)
    assert (stored.status, stored.lease_id) == (task_pb2.TASK_STATUS_PROCESSING, lease.lease_id)


@pytest.mark.parametrize(
    ("reason", "auto_retry", "status"),
    [
        ("CREATOR_ERROR", False, task_pb2.TASK_STATUS_FAILED),
        ("CREATOR_ERROR", True, task_pb2.TASK_STATUS_PENDING),
        ("RESULT_TOO_LARGE", True, task_pb2.TASK_STATUS_FAILED),
        ("TASK_TIMEOUT", False, task_pb2.TASK_STATUS_TIMEOUT),
    ],
)
async def test_a_failure_is_judged_by_its_reason(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, *, reason: str, auto_retry: bool, status: int
) -> None:
    (task,) = await submitted(tasks, account, auto_retry=auto_retry)
    (lease,) = await worker.take()
    await worker.start(lease)
    assert await worker.fail(lease, reason) == COMMITTED
    stored = await get(tasks, task.task_id)
    assert (stored.status, stored.error.reason, stored.error.message) == (status, reason, "it failed")


async def test_the_release_of_an_unstarted_lease_is_not_counted(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    given_back = worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING, started=False)
    assert await worker.report(lease, released=given_back) == COMMITTED
    stored = await get(tasks, task.task_id)
    assert (stored.status, stored.retry_count, stored.HasField("error")) == (task_pb2.TASK_STATUS_PENDING, 0, False)


async def test_the_release_of_a_started_lease_is_a_loss_that_consumes_no_retry(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    await worker.start(lease)
    given_back = worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING, started=True)
    assert await worker.report(lease, released=given_back) == COMMITTED
    stored = await get(tasks, task.task_id)
    assert (stored.status, stored.retry_count) == (task_pb2.TASK_STATUS_PENDING, 0)
    assert stored.error.reason == "WORKER_LOST"
    assert (await worker.take())[0].attempt == 2


async def test_a_new_session_keeps_the_leases_of_its_hello(
    tasks: TaskServiceAsyncStub, channel: aio.Channel, account: int
) -> None:
    kept, dropped = await submitted(tasks, account, 2)
    async with ScriptedWorker(channel) as worker:
        leases = list(await worker.take(2))
        while len(leases) < 2:
            leases += await worker.assigned()
        by_task = {lease.task.task_id: lease for lease in leases}
        named, foreign = by_task[kept.task_id], worker_pb.HeldLease(lease_id=f"lease-{1:016x}-{1:08x}", attempt=1)
        held = worker_pb.HeldLease(lease_id=named.lease_id, attempt=1, stage=worker_pb.LEASE_STAGE_PROCESSING)
        async with ScriptedWorker(channel, hello(session_number=2, held_leases=[held, foreign])) as again:
            assert list(again.welcome.keep_leases) == [named.lease_id]
            assert list(again.welcome.drop_leases) == [foreign.lease_id]
            assert (await get(tasks, dropped.task_id)).status == task_pb2.TASK_STATUS_PENDING
            assert await again.complete(named) == COMMITTED


async def test_an_acknowledgement_names_leases_that_are_not_renewed(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    await submitted(tasks, account)
    (lease,) = await worker.take()
    assert not (await worker.heartbeat(0)).not_renewed_leases
    foreign = worker_pb.AssignedLease(lease_id=f"lease-{1:016x}-{1:08x}", attempt=1)
    worker.held[foreign.lease_id] = foreign
    assert list((await worker.heartbeat(0)).not_renewed_leases) == [foreign.lease_id]
    assert lease.lease_id in worker.held


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"body": ""}, "CREATOR_INVALID_RESPONSE"),
        ({"body": "x" * (3 << 20), "html_body": "x"}, "RESULT_TOO_LARGE"),
    ],
)
async def test_a_result_that_cannot_be_stored_fails_its_attempt(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, result: dict[str, str], reason: str
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    await worker.start(lease)
    assert await worker.complete(lease, **result) == COMMITTED
    assert (await get(tasks, task.task_id)).error.reason == reason


async def test_a_result_of_the_maximum_size_is_stored(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    (task,) = await submitted(tasks, account)
    (lease,) = await worker.take()
    assert await worker.complete(lease, "题" * (1 << 20)) == COMMITTED
    assert (await get(tasks, task.task_id)).status == task_pb2.TASK_STATUS_COMPLETED


@pytest.mark.parametrize(
    "update",
    [
        worker_pb.LeaseUpdate(lease_id="lease", attempt=1),
        worker_pb.LeaseUpdate(lease_id="lease", attempt=1, released=worker_pb.Released()),
    ],
)
async def test_an_empty_update_is_refused(worker: ScriptedWorker, update: worker_pb.LeaseUpdate) -> None:
    await worker.write(worker_pb.LeaseRequest(report=worker_pb.Report(number=1, updates=[update])))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await worker.read("acknowledgement")


def in_parts(report: worker_pb.Report, size: int) -> list[worker_pb.ReportPart]:
    """A report as it is sent in parts."""
    data = report.SerializeToString()
    cuts = range(0, len(data), size)
    return [
        worker_pb.ReportPart(report_number=report.number, data=data[cut : cut + size], last=cut == cuts[-1])
        for cut in cuts
    ]


def result_of(lease: worker_pb.AssignedLease, number: int, body: str) -> worker_pb.Report:
    update = worker_pb.LeaseUpdate(lease_id=lease.lease_id, attempt=lease.attempt)
    update.completed.result.body = body
    return worker_pb.Report(number=number, updates=[update])


async def test_a_report_may_come_in_parts_with_others_in_between(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    assert worker.welcome.accepts_report_parts
    await submitted(tasks, account, 2)
    leases = list(await worker.take(2))
    while len(leases) < 2:
        leases += await worker.assigned()
    large, beside = leases
    *parts, last = in_parts(result_of(large, 7, "a long article, 很长" * 10_000), 100_001)
    for part in parts:
        await worker.write(worker_pb.LeaseRequest(report_part=part))
    received = [(await worker.read("part_received")).part_received for _ in parts]
    assert [receipt.report_number for receipt in received] == [7] * len(parts)
    assert [receipt.received_bytes for receipt in received] == [100_001 * (n + 1) for n in range(len(parts))]
    assert (await worker.heartbeat(0)).not_renewed_leases == []
    assert await worker.complete(beside) == COMMITTED
    assert (await get(tasks, large.task.task_id)).status == task_pb2.TASK_STATUS_SUBMITTED
    await worker.write(worker_pb.LeaseRequest(report_part=last))
    answer = (await worker.read("acknowledgement")).acknowledgement
    assert (answer.report_number, [result.outcome for result in answer.results]) == (7, [COMMITTED])
    assert (await get(tasks, large.task.task_id)).status == task_pb2.TASK_STATUS_COMPLETED


async def test_parts_of_a_report_are_dropped_with_their_stream(
    tasks: TaskServiceAsyncStub, channel: aio.Channel, account: int
) -> None:
    await submitted(tasks, account)
    async with ScriptedWorker(channel) as worker:
        (lease,) = await worker.take()
        first, *_ = parts = in_parts(result_of(lease, 1, "x" * 1_000), 500)
        await worker.write(worker_pb.LeaseRequest(report_part=first))
        await worker.read("part_received")
    held = worker_pb.HeldLease(lease_id=lease.lease_id, attempt=1)
    async with ScriptedWorker(channel, hello(session_number=2, held_leases=[held])) as again:
        for part in parts:
            await again.write(worker_pb.LeaseRequest(report_part=part))
        answer = (await again.read("acknowledgement")).acknowledgement
        assert [result.outcome for result in answer.results] == [COMMITTED]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (worker_pb.ReportPart(report_number=2, data=b"x"), "must be 1 until that report's last part"),
        (worker_pb.ReportPart(report_number=1, data=bytes(3 << 20)), "at most 4,194,304 bytes"),
    ],
    ids=["another report", "too many bytes"],
)
async def test_invalid_parts_of_a_report_end_the_stream(
    worker: ScriptedWorker, second: worker_pb.ReportPart, told: str
) -> None:
    await worker.write(worker_pb.LeaseRequest(report_part=worker_pb.ReportPart(report_number=1, data=bytes(2 << 20))))
    await worker.read("part_received")
    await worker.write(worker_pb.LeaseRequest(report_part=second))
    with pytest.raises(aio.AioRpcError, match=told) as raised:
        await worker.read("acknowledgement")
    assert raised.value.code() is StatusCode.INVALID_ARGUMENT


async def test_a_draining_worker_gets_no_leases(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    await submitted(tasks, account)
    await worker.write(worker_pb.LeaseRequest(draining=worker_pb.Draining()))
    await worker.heartbeat(0)
    assert (await tasks.GetTaskStats(task_pb.GetTaskStatsRequest())).counts["pending"] == 1


# Workers whose CLI may be broken: they get probe tasks, and learn which tasks failed on other workers.


@asynccontextmanager
async def two_workers(channel: aio.Channel) -> AsyncIterator[tuple[ScriptedWorker, ScriptedWorker]]:
    async with ScriptedWorker(channel) as one, ScriptedWorker(channel, hello(worker_id="w2", folder_id="f2")) as other:
        yield one, other


async def submit(tasks: TaskServiceAsyncStub, account: int) -> task_pb2.Task:
    return (await tasks.SubmitTask(task_pb.SubmitTaskRequest(account_id=account, topic="a topic"))).task


async def test_a_half_open_worker_is_offered_the_next_task_before_all_others(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    async with two_workers(channel) as (well, ill):
        ill.last_error = "no model answers"
        await ill.heartbeat(1)  # first: a claim for a worker with known free slots may be in progress already
        await well.heartbeat(3)
        first = await submit(tasks, account)
        (tried,) = await ill.assigned()
        assert tried.task.task_id == first.task_id
        second = await submit(tasks, account)
        (other,) = await well.assigned()
        assert other.task.task_id == second.task_id


async def test_a_worker_that_is_healthy_again_is_served_like_others(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    async with two_workers(channel) as (emptier, mended):
        mended.last_error = "no model answers"
        await mended.heartbeat(0)
        mended.last_error = None
        await emptier.heartbeat(3)
        await mended.heartbeat(1)
        await submit(tasks, account)
        assert await emptier.assigned()


async def test_an_assignment_tells_whether_its_task_failed_on_another_worker(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    task = await submit(tasks, account)
    async with two_workers(channel) as workers:
        for worker, elsewhere in zip((*workers, workers[1], workers[0]), (False, True, False, True), strict=True):
            (lease,) = await worker.take()
            assert lease.failed_elsewhere is elsewhere
            await worker.start(lease)
            await worker.fail(lease)
            await worker.heartbeat(0)
            await tasks.RetryTask(task_pb.RetryTaskRequest(task_id=task.task_id, reset_retry_count=True))


async def test_a_released_task_did_not_fail_elsewhere(
    channel: aio.Channel, tasks: TaskServiceAsyncStub, account: int
) -> None:
    await submit(tasks, account)
    async with two_workers(channel) as (one, other):
        (lease,) = await one.take()
        await one.report(lease, released=worker_pb.Released(reason=worker_pb.RELEASE_REASON_DRAINING))
        await one.heartbeat(0)
        (lease,) = await other.take()
        assert (lease.attempt, lease.failed_elsewhere) == (2, False)
