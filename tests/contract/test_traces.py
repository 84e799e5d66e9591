"""Which trace a task belongs to, by the RPC that makes it and by the caller's metadata."""

from __future__ import annotations

from asyncio import to_thread
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_trace_id

from contentgen.client.tracing import current_span
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_service_pb2 as pb
from tests.contract.clients import KINDS, opened
from tests.contract.maker import Maker
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub
    from contentgen.v1.schedule_service_pb2_grpc import ScheduleServiceAsyncStub
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = pytest.mark.usefixtures("shared")

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
OTHER = "11111111111111111111111111111111"
METADATA = (("traceparent", PARENT), ("tracestate", "vendor=1"))


def _request(account_id: int, request_id: str = "") -> pb.SubmitTaskRequest:
    return pb.SubmitTaskRequest(account_id=account_id, topic="a topic", request_id=request_id)


async def test_a_lease_and_each_read_of_a_task_tell_its_trace(
    tasks: TaskServiceAsyncStub, worker: ScriptedWorker, account: int
) -> None:
    task = (await tasks.SubmitTask(_request(account), metadata=METADATA)).task
    assert task.trace_id == TRACE
    (lease,) = await worker.take()
    assert (lease.traceparent, lease.tracestate, lease.task.trace_id) == (PARENT, "vendor=1", TRACE)
    read = (await tasks.GetTask(pb.GetTaskRequest(task_id=task.task_id))).task
    (listed,) = (await tasks.ListTasks(pb.ListTasksRequest())).tasks
    assert read.trace_id == listed.trace_id == TRACE


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


async def test_a_submit_that_is_repeated_keeps_the_first_trace(tasks: TaskServiceAsyncStub, account: int) -> None:
    first = await tasks.SubmitTask(_request(account, "once"), metadata=METADATA)
    again = await tasks.SubmitTask(_request(account, "once"), metadata=(("traceparent", PARENT.replace(TRACE, OTHER)),))
    assert (again.existing, again.task.task_id) == (True, first.task.task_id)
    assert again.task.trace_id == TRACE


async def test_a_content_that_is_written_anew_is_of_the_trace_of_that_call(
    made: Maker, contents: ContentServiceAsyncStub
) -> None:
    content = await made()
    request = content_pb.RegenerateContentRequest(content_id=content.content_id, feedback="shorter")
    assert (await contents.RegenerateContent(request, metadata=METADATA)).task.trace_id == TRACE


async def test_a_schedule_that_is_run_is_of_the_trace_of_that_call(
    schedules: ScheduleServiceAsyncStub, account: int
) -> None:
    request = schedule_pb.CreateScheduleRequest(account_id=account, name="daily", cron="0 8 * * *", time_zone="UTC")
    request.template.CopyFrom(pb.SubmitTaskRequest(account_id=account, topic="a topic"))
    schedule = (await schedules.CreateSchedule(request)).schedule
    run = schedule_pb.RunScheduleRequest(schedule_id=schedule.schedule_id)
    assert (await schedules.RunSchedule(run, metadata=METADATA)).task.trace_id == TRACE


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


def test_without_a_span_a_call_carries_no_more() -> None:
    assert current_span() == ()
