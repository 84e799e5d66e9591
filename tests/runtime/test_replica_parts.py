"""A replica's parts that fail and are started again, and the traces that it keeps."""

from __future__ import annotations

import asyncio
from asyncio import to_thread
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_trace_id
from structlog.testing import capture_logs

from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.database.notifications import PgNotifications, PgNotifier
from scheduler_svc.dispatch.loop import Dispatcher
from scheduler_svc.leases.report import UnsentLeases
from scheduler_svc.leases.sql.leases import Leases
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.group_committer import GroupCommitter
from scheduler_svc.runtime.loops import Periodic
from tests.harness.client import KINDS, opened
from tests.harness.maker import Maker, submitted
from tests.harness.replicas import serving
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import ContentServiceAsyncStub, ScheduleServiceAsyncStub, TaskServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.contract


# A part of a replica that raises is restarted; one that keeps failing ends the replica.


Throwing = Callable[..., AbstractContextManager[list[int]]]


def throwing(owner: type, method: str, when: Callable[[Any], bool] = lambda _: True) -> Throwing:
    """Makes the first `times` calls of a method raise, on objects for which `when` holds; yields how many raised."""

    @contextmanager
    def patched(times: int) -> Iterator[list[int]]:
        original = getattr(owner, method)  # maybe patched by another part's
        thrown: list[int] = []

        def throw(self: Any, *arguments: Any, **named: Any) -> Any:
            if len(thrown) < times and when(self):
                thrown.append(1)
                raise RuntimeError("a defect")
            return original(self, *arguments, **named)

        with patch.object(owner, method, throw):
            yield thrown

    return patched


async def served(tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int) -> None:
    """A task runs from its submit to its completion."""
    await submitted(tasks, account)
    (lease,) = await worker.take()
    assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_COMMITTED


def _named(name: str) -> Callable[[Any], bool]:
    return lambda part: part.name == name


PARTS = {
    **{
        lane: throwing(GroupCommitter, "_process", _named(lane))
        for lane in ("lane-submit", "lane-report-1", "lane-report-2")
    },
    "dispatcher": throwing(Dispatcher, "run_once"),
    "listener": throwing(PgNotifications, "wait"),
    "notifier": throwing(PgNotifier, "send"),
    **{
        loop: throwing(Periodic, "run_once", _named(loop))
        for loop in (
            *("admission", "watch", "stalls", "reap", "due", "housekeeping"),
            *("floors", "presence", "servers", "retention"),
        )
    },
}
GROUPS = [tuple(PARTS)[:4], tuple(PARTS)[4:6], tuple(PARTS)[6:]]
"""Those of a group fail beside one another, in one replica."""


@pytest.mark.parametrize("parts", GROUPS, ids=" ".join)
async def test_parts_that_raise_are_restarted(
    replica: Replica, tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int, parts: tuple[str, ...]
) -> None:
    with capture_logs() as logs, ExitStack() as failing:
        thrown = [failing.enter_context(PARTS[part](times=2)) for part in parts]
        await poke(replica, tasks, account, lambda: all(len(errors) == 2 for errors in thrown))
        await served(tasks, worker, account)
    failures = [log for log in logs if log.get("action") == "supervise"]
    assert sorted(log["part"] for log in failures) == sorted([*parts, *parts])
    for part in parts:
        first, second = (log["pause"] for log in failures if log["part"] == part)
        assert first < second
    assert replica.health.serving


async def test_a_claim_that_raises_is_repeated_and_counts_as_a_failure_of_the_dispatcher(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    """Of the dispatcher, or inline after a submit."""
    with capture_logs() as logs, throwing(Leases, "claim")(times=2) as thrown:
        await worker.heartbeat(1)
        await submitted(tasks, account)
        (lease,) = await worker.assigned()
        assert await worker.complete(lease) == worker_pb.UPDATE_OUTCOME_COMMITTED
    assert len(thrown) == 2
    assert [log["part"] for log in logs if log.get("action") == "supervise"] == ["dispatcher"] * 2


async def poke(replica: Replica, tasks: TaskServiceAsyncStub, account: int, done: Callable[[], bool]) -> None:
    """Gives work to every part of the replica, until all of it is done; calls may fail meanwhile."""
    request = pb.SubmitTaskRequest(account_id=account, topic="a topic")

    async def poked() -> bool:
        for service in replica._services:
            if isinstance(service, Periodic):
                service.wake()
        replica._admission.rescan()
        replica._dispatcher.hint()
        replica._notifications.interrupt()
        for lane in replica._reports:
            lane.post(UnsentLeases(()))
        await asyncio.gather(tasks.SubmitTask(request), return_exceptions=True)
        return done()

    await wait_until_async(poked, within=PATIENCE_S, what="all of it is done", every=0.05)


async def test_a_part_that_keeps_failing_ends_the_replica(db_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_svc.replica.replica.GIVE_UP_TIMEOUT", 0.2)
    with PARTS["reap"](times=1_000), capture_logs():
        async with serving(db_url) as replica:
            assert replica.failed is not None
            async with asyncio.timeout(PATIENCE_S):
                assert await replica.failed == "reap"
            assert not replica.health.serving


# Which trace a task belongs to, by the RPC that makes it and by the caller's metadata.


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OTHER = "11111111111111111111111111111111"
METADATA = (("traceparent", PARENT), ("tracestate", "vendor=1"))


def _request(account_id: int, request_id: str = "") -> pb.SubmitTaskRequest:
    return pb.SubmitTaskRequest(account_id=account_id, topic="a topic", request_id=request_id)


@pytest.mark.usefixtures("shared_scheduler")
async def test_a_lease_each_read_and_a_repeated_submit_of_a_task_tell_its_trace(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task = (await tasks.SubmitTask(_request(account, "once"), metadata=METADATA)).task
    assert task.trace_id == TRACE
    again = await tasks.SubmitTask(_request(account, "once"), metadata=(("traceparent", PARENT.replace(TRACE, OTHER)),))
    assert (again.existing, again.task.task_id, again.task.trace_id) == (True, task.task_id, TRACE)
    (lease,) = await worker.take()
    assert (lease.traceparent, lease.tracestate, lease.task.trace_id) == (PARENT, "vendor=1", TRACE)
    read = (await tasks.GetTask(pb.GetTaskRequest(task_id=task.task_id))).task
    (listed,) = (await tasks.ListTasks(pb.ListTasksRequest())).tasks
    assert read.trace_id == listed.trace_id == TRACE


@pytest.mark.usefixtures("shared_scheduler")
async def test_a_batch_is_of_one_trace_and_a_task_without_has_none(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    for count in (2, 60):  # few rows, and as many as are copied
        batch = pb.BatchSubmitTasksRequest(requests=[_request(account)] * count)
        created = (await tasks.BatchSubmitTasks(batch, metadata=METADATA)).tasks
        assert [task.trace_id for task in created] == [TRACE] * count
    alone = (await tasks.SubmitTask(_request(account))).task
    assert (await tasks.GetTask(pb.GetTaskRequest(task_id=alone.task_id))).task.trace_id == ""
    leases = await worker.take(63)
    assert [lease.traceparent for lease in leases] == [PARENT] * 62 + [""]


@pytest.mark.usefixtures("shared_scheduler")
async def test_what_is_written_anew_or_scheduled_is_of_the_trace_of_that_call(
    maker: Maker, contents: ContentServiceAsyncStub, schedules: ScheduleServiceAsyncStub, account: int
) -> None:
    anew = content_pb.RegenerateContentRequest(content_id=(await maker()).content_id, feedback="shorter")
    assert (await contents.RegenerateContent(anew, metadata=METADATA)).task.trace_id == TRACE
    request = schedule_pb.CreateScheduleRequest(account_id=account, name="daily", cron="0 8 * * *", time_zone="UTC")
    request.template.CopyFrom(pb.SubmitTaskRequest(account_id=account, topic="a topic"))
    schedule = (await schedules.CreateSchedule(request)).schedule
    run = schedule_pb.RunScheduleRequest(schedule_id=schedule.schedule_id)
    assert (await schedules.RunSchedule(run, metadata=METADATA)).task.trace_id == TRACE


@pytest.mark.usefixtures("shared_scheduler")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_hands_on_the_current_span_of_its_program(kind: str, target: str, account: int) -> None:
    def submitted() -> tuple[str, str | None, str | None]:
        provider = TracerProvider(shutdown_on_exit=False)
        with opened(kind, target) as client:
            before = client.get_task_status(client.submit_task(account, "no span"))
            with provider.get_tracer("a program").start_as_current_span("an order") as span:
                traced = client.get_task_status(client.submit_task(account, "in a span"))
            assert before
            assert traced
            return format_trace_id(span.get_span_context().trace_id), before["trace_id"], traced["trace_id"]

    trace, before, traced = await to_thread(submitted)
    assert before is None
    assert traced == trace
