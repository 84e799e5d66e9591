"""Commands that follow tasks, beside real and scripted schedulers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.command.transcript import Transcript, run
from tests.harness.scripted_server import SILENCE, ScriptedServices
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import TaskServiceAsyncStub

pytestmark = pytest.mark.contract


# `task wait` and `task submit --wait` beside a real scheduler, `task watch` beside a scripted one.


TASK = "task-0000000000000001"
PENDING, SUBMITTED, PROCESSING, COMPLETED, FAILED = range(1, 6)
RETRIED = 6
"""The event that leases the task for its second attempt."""


async def test_a_submit_that_waits_shows_progress_and_the_end(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    waiting = asyncio.create_task(contentgen("task", "submit", "-a", "1", "a topic", "--wait"))
    (lease,) = await worker.take()
    await worker.start(lease)
    await worker.complete(lease)
    result = await waiting
    assert result.status == 0
    assert "status       completed\n" in result.out
    assert result.err.endswith(f"{lease.task.task_id}  completed   content 1\n")


@pytest.mark.parametrize(("command", "ended"), [("submit", "failed"), ("wait", "failed"), ("wait", "cancelled")])
async def test_a_wait_for_a_task_that_does_not_complete_exits_with_1(
    contentgen: Transcript,
    tasks: TaskServiceAsyncStub,
    account: int,
    worker: ScriptedWorker,
    *,
    command: str,
    ended: str,
) -> None:
    submit = ("task", "submit", "-a", "1", "--no-auto-retry", "a topic")
    if command == "submit":
        waiting = asyncio.create_task(contentgen(*submit, "--wait"))
    else:
        task_id = (await contentgen(*submit)).out.strip()
        waiting = asyncio.create_task(contentgen("task", "wait", task_id))
    (lease,) = await worker.take()
    await worker.start(lease)
    if ended == "failed":
        await worker.fail(lease)
    else:
        await tasks.CancelTask(pb.CancelTaskRequest(task_id=lease.task.task_id, force=True))
    result = await waiting
    assert result.status == 1
    assert f"{ended}\n" in result.out


async def test_several_tasks_are_waited_for_together(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    ids = [(await contentgen("task", "submit", "-a", "1", "a topic")).out.strip() for _ in range(2)]
    waiting = asyncio.create_task(contentgen("-o", "jsonl", "task", "wait", *ids))
    for _ in ids:
        (lease,) = await worker.take()
        await worker.start(lease)
        await worker.complete(lease)
    result = await waiting
    assert (result.status, result.out.count('"status": "completed"')) == (0, 2)


async def test_a_wait_that_times_out_exits_with_5(contentgen: Transcript, account: int) -> None:
    result = await contentgen("task", "submit", "-a", "1", "--wait", "--wait-timeout", "0.1", "a topic")
    assert result.status == 5
    assert "status       pending\n" in result.out
    assert (await contentgen("task", "wait", "task-0000000000000009")).status == 3


def change(
    number: int, previous: int, status: int, *, task_id: str = TASK, error: str = "", will_retry: bool = False
) -> pb.WatchTasksResponse:
    time = Timestamp(seconds=number)
    task = task_pb2.Task(
        task_id=task_id,
        account_id=1,
        topic="a topic",
        status=status,  # type: ignore[arg-type]
        attempt=1 if number < RETRIED else 2,
        worker_id="w1",
        error=task_pb2.TaskError(reason=error) if error else None,
        content_id=7 if status == COMPLETED else 0,
        end_time=time if status in {COMPLETED, FAILED} and not will_retry else None,
    )
    event = pb.TaskChange(task=task, event_time=time, resume_token=f"token-{number}", will_retry=will_retry)
    event.previous_status = previous  # type: ignore[assignment]
    return pb.WatchTasksResponse(event=event)


LIFE = [
    change(1, 0, PENDING),
    change(2, PENDING, SUBMITTED),
    change(3, SUBMITTED, PROCESSING),
    change(4, PROCESSING, FAILED, error="CREATOR_ERROR", will_retry=True),
    change(5, FAILED, PENDING, error="CREATOR_ERROR"),
    change(6, PENDING, SUBMITTED),
    change(7, SUBMITTED, PROCESSING),
    change(8, PROCESSING, COMPLETED),
]


async def test_watch_prints_the_golden_screens(
    scheduler: ScriptedServices, transcript_of: Callable[[str], Transcript]
) -> None:
    scheduler.will("WatchTasks", LIFE, LIFE)
    await transcript_of(scheduler.target).play("watch")
    assert [list(request.task_ids) for request in scheduler.requests("WatchTasks")] == [[TASK]] * 2


def test_a_watch_resumes_from_a_token(scheduler: ScriptedServices) -> None:
    scheduler.will("WatchTasks", LIFE[6:])
    result = run("-s", scheduler.target, "-o", "jsonl", "task", "watch", "--resume-token", "token-6", TASK)
    assert (result.status, result.out.count("\n")) == (0, 2)
    assert [request.resume_token for request in scheduler.requests("WatchTasks")] == ["token-6"]


def test_a_watch_ends_when_all_tasks_have_ended_and_one_failed(scheduler: ScriptedServices) -> None:
    other_task = "task-0000000000000002"
    events = [
        change(1, PROCESSING, FAILED, task_id=other_task, error="RESULT_TOO_LARGE"),
        change(2, FAILED, PENDING, task_id=other_task),  # somebody retries it
        change(3, PROCESSING, COMPLETED),
        change(4, PROCESSING, FAILED, task_id=other_task, error="RESULT_TOO_LARGE"),
    ]
    scheduler.will("WatchTasks", [*events, SILENCE])
    result = run("-s", scheduler.target, "task", "watch", TASK, other_task)
    assert result.status == 1
    assert result.out.count("failed  RESULT_TOO_LARGE\n") == 2


def test_a_wrong_address_is_reported_at_once() -> None:
    result = run("-s", "127.0.0.1:1", "task", "watch", TASK)
    assert (result.status, result.out, result.err.count("\n")) == (4, "", 1)


# What needs the whole scheduler: pausing.


async def test_a_pause_is_shown_until_it_is_resumed(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    for scope in (("--all",), ("--account", "1")):
        assert (await contentgen("dispatch", "pause", *scope)).status == 0
        task_id = (await contentgen("task", "submit", "-a", "1", "a topic")).out.strip()
        assert "waits for" in (status := (await contentgen("task", "status", task_id)).out)
        assert "dispatch is paused" in status
        doctor = await contentgen("-o", "json", "doctor")
        [finding] = [finding for finding in json.loads(doctor.out) if finding["check"] == "dispatch"]
        assert finding["level"] == "warn"
        subject = "everything" if scope == ("--all",) else "account 1"
        assert finding["message"] == f"paused: {subject}; the newest pending tasks wait for its end (1)"
        assert (await contentgen("dispatch", "resume", *scope)).status == 0
        (lease,) = await worker.take()
        assert lease.task.task_id == task_id
        await worker.complete(lease)
    assert (await contentgen("dispatch", "pause", "--account", "99")).status == 3
