"""What needs the whole scheduler: following by WatchTasks, resizing, pausing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.contract.operators.transcript import Transcript
from tests.contract.watching import watching
from tests.harness.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub


async def submitted(contentgen: Transcript, topic: str = "a topic") -> str:
    """Submits a task for account 1 and returns its id."""
    return (await contentgen("task", "submit", "-a", "1", topic)).out.strip()


async def test_a_watch_follows_a_task_to_its_end(
    contentgen: Transcript, account: int, tasks: TaskServiceAsyncStub, worker: ScriptedWorker
) -> None:
    task_id = await submitted(contentgen)
    async with watching(tasks, task_ids=[task_id]) as watch:
        token = (await watch.next()).resume_token
    following = asyncio.create_task(contentgen("-o", "jsonl", "task", "watch", task_id))
    (lease,) = await worker.take()
    await worker.start(lease)
    await worker.complete(lease)
    result = await following
    events = [json.loads(line) for line in result.out.splitlines()]
    assert result.status == 0, result.err
    assert events[0]["previous_status"] is None
    assert [event["task"]["status"] for event in events[-1:]] == ["completed"]
    assert events[-1]["task"]["content_id"] == 1

    resumption = await contentgen("-o", "jsonl", "task", "watch", task_id, "--resume-token", token)
    moves = [json.loads(line)["task"]["status"] for line in resumption.out.splitlines()]
    assert moves == ["submitted", "processing", "completed"]
    assert (await contentgen("task", "watch", "task-0000000000000009")).status == 3


async def test_a_pause_is_shown_until_it_is_resumed(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    for scope in (("--all",), ("--account", "1")):
        assert (await contentgen("dispatch", "pause", *scope)).status == 0
        task_id = await submitted(contentgen)
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


async def test_a_worker_is_resized(contentgen: Transcript, worker: ScriptedWorker) -> None:
    result = await contentgen("-o", "json", "worker", "resize", "w1", "8")
    assert result.status == 0, result.err
    assert json.loads(result.out)["worker_id"] == "w1"
    assert (await worker.read("resize")).resize.slots == 8
    assert (await contentgen("worker", "resize", "nobody", "8")).status == 3
