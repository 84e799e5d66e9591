"""What the commands print, compared with golden files."""

from __future__ import annotations

import asyncio
import json
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode, aio

from contentgen.client.documents import duration, timestamp
from contentgen.v1 import asset_pb2, task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.replica.replica import Replica
from tests.command.transcript import GOLDEN, Ran, Transcript, run
from tests.harness.client import refused
from tests.harness.credentials import Caller
from tests.harness.maker import Maker, batch
from tests.harness.pictures import png, sha256
from tests.harness.replicas import channel_to
from tests.harness.scripted_server import AWAY, SILENCE, ScriptedServices, scripted
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stubs import TaskServiceAsyncStub, WorkerPoolServiceAsyncStub
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.contract


# What each command prints: tables, JSON and JSON Lines, compared with golden files.


async def test_task_commands_print_the_golden_screens(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    await contentgen.play("tasks", 3)
    stdout, stderr = "topic: It fails\nprogress: 10%", "\x1b[31mError: the model said no"
    output = worker_pb.RunOutput(stdout=stdout, stderr=stderr, stdout_truncated=True)
    await worker.fail(await worker.run(), output=output)
    lease = await worker.run()
    await worker.report(lease, progress=task_pb2.TaskProgress(percent=40, step="draft", message="half of it"))
    await contentgen.play("tasks", 1)
    await worker.complete(lease)
    await contentgen.play("tasks")


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("plain/*.txt")))
async def test_commands_print_the_golden_screens(name: str, contentgen: Transcript, account: int) -> None:
    """Those of commands that need a scheduler with an account, and nothing else."""
    await contentgen.play(f"plain/{name}")


async def with_picture(maker: Maker) -> None:
    """Makes a content with a picture and with one that is left out."""
    await maker.tasks.SubmitTask(task_pb.SubmitTaskRequest(account_id=maker.account, topic="With a picture"))
    (lease,) = await maker.worker.take()
    await maker.worker.upload(lease, png())
    asset = worker_pb.ResultAsset(name="in/cover.png", sha256=sha256(png()), size=len(png()))
    left_out = asset_pb2.LeftOutAsset(name="/etc/passwd", reason="OUTSIDE_FOLDER")
    await maker.worker.complete(
        lease,
        "![](asset:in/cover.png) asset:other.png\n",
        images=["asset:in/cover.png"],
        assets=[asset],
        left_out_assets=[left_out],
        model="a model",
        usage={"cost": 0.25, "input_tokens": 1200},
    )


def check_saved() -> None:
    """Checks the files that the commands have saved in this folder."""
    assert sorted(str(path) for path in Path().rglob("*") if path.is_file()) == [
        "content-4/article.md",
        "content-4/assets/in/cover.png",
        "cover.png",
    ]
    assert Path("content-4/article.md").read_text() == "![](assets/in/cover.png) asset:other.png\n"
    assert Path("content-4/assets/in/cover.png").read_bytes() == Path("cover.png").read_bytes() == png()


async def test_content_commands_print_the_golden_screens(
    contentgen: Transcript, maker: Maker, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    await maker("A finished one", "# A finished one\n\nIts text.\n", quality_score=8.5)
    for topic in ("Good", "Bad"):
        await maker(topic, "正文", auto_approve=False, images=["one.png", "two.png"], category="科技")
    await contentgen.play("contents", 5)
    await with_picture(maker)
    await contentgen.play("contents", 6)
    check_saved()
    await contentgen.play("contents")


async def test_editing_commands_print_the_golden_screens(
    contentgen: Transcript, maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await maker("A finished one", "A text.")
    text = tmp_path / "article.md"
    text.write_text("A better text.", encoding="utf-8")
    await contentgen.play("editing", 2)
    result = await to_thread(run, "--scheduler", contentgen.target, "content", "edit", "1", "--body", str(text))
    assert result.out == "content 1 is at revision 3\n"
    await contentgen.play("editing")


async def test_review_commands_print_the_golden_screens(contentgen: Transcript, maker: Maker) -> None:
    for topic in ("Good", "Bad", "Third"):
        await maker(topic, "A text.", auto_approve=False)
    await contentgen.play("reviewing")


async def test_publisher_commands_print_the_golden_screens(contentgen: Transcript, maker: Maker) -> None:
    for topic in ("First", "Second"):
        await maker(topic)
    claim = ("-o", "jsonl", "pool", "claim")
    contentgen.claim = json.loads((await contentgen(*claim, "--lease", "60s")).out)["claim_id"]
    await contentgen.play("publishing", 12)
    contentgen.claim = json.loads((await contentgen(*claim, "--publisher", "the site")).out)["claim_id"]
    await contentgen.play("publishing")


async def test_a_table_ends_after_a_page_with_a_hint_how_to_continue(
    contentgen: Transcript, tasks: TaskServiceAsyncStub, account: int
) -> None:
    newest = (await batch(tasks, account, 30))[::-1]

    def ids(result: Ran) -> list[str]:
        return [line.split()[0] for line in result.out.splitlines()[1:]]

    first = await contentgen("task", "list")
    assert ids(first) == newest[:20]
    assert len(f"{first.out}{first.err}".splitlines()) <= 24
    assert first.err.startswith("more tasks follow: --page-token ")
    assert first.err.endswith(" continues, --all lists all\n")
    second = await contentgen("task", "list", "--page-token", first.err.split()[4])
    assert (ids(second), second.err) == (newest[20:], "")
    assert (await contentgen("task", "list", "--limit", "5")).err == "", "nobody asked for more"
    assert (await contentgen("task", "list", "--page-token", "nonsense")).status == 2


async def test_account_commands_print_the_golden_screens(contentgen: Transcript) -> None:
    await contentgen.play("accounts")


async def is_gone(pool: WorkerPoolServiceAsyncStub) -> bool:
    return not (await pool.GetWorkerPool(pool_pb.GetWorkerPoolRequest())).num_workers


async def test_worker_commands_print_the_golden_screens(
    contentgen: Transcript, channel: aio.Channel, pool: WorkerPoolServiceAsyncStub, account: int
) -> None:
    greeting = hello(
        worker_id="host-1-3f2a", version="1.2.3", creator_version="content-creator 3", labels={"zone": "a"}
    )
    await contentgen.play("workers", 1)
    async with ScriptedWorker(channel, greeting) as worker:
        await worker.run()
        await contentgen.play("workers", 2)
        worker.last_error = "CREATOR_CLI_NOT_FOUND: no such file"
        await worker.heartbeat(0)
        await contentgen.play("workers", 2)
        worker.last_error = None
        await worker.heartbeat(0)
        await contentgen.play("workers", 5)
    await wait_until_async(partial(is_gone, pool), within=10, what="the worker is gone")
    await contentgen.play("workers")


async def test_top_prints_the_golden_screens(contentgen: Transcript, maker: Maker) -> None:
    await contentgen.play("top", 1)
    await maker.worker.fail(await maker.worker.run())
    await contentgen.play("top", 1)
    lease = await maker.worker.run()
    await maker.worker.report(lease, progress=task_pb2.TaskProgress(percent=40, step="draft"))
    await contentgen.play("top")


async def test_a_bulk_command_goes_on_in_steps_and_says_how_far_it_is(
    contentgen: Transcript, tasks: TaskServiceAsyncStub, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen.cli.commands.task_moves.STEP", 2)
    await batch(tasks, account, 6)
    result = await contentgen("task", "cancel", "--all", "--limit", "5")
    assert (result.out, result.err) == ("cancelled: 5\n", "cancelled: 2 of 5\ncancelled: 4 of 5\n")
    result = await contentgen("-o", "json", "task", "cancel", "--all")
    assert json.loads(result.out) == {"cancelled_count": 1, "dry_run": False}
    assert (await contentgen("task", "cancel", "--all")).out == "cancelled: 0\n"


async def test_a_list_reads_all_pages(contentgen: Transcript, tasks: TaskServiceAsyncStub, account: int) -> None:
    newest = (await batch(tasks, account, 450))[::-1]
    for limit in (1, 3, 250):
        result = await contentgen("-o", "jsonl", "task", "list", "--limit", str(limit))
        assert [json.loads(line)["task_id"] for line in result.out.splitlines()] == newest[:limit]
    result = await contentgen("task", "list", "--all")
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == newest
    result = await contentgen("-o", "json", "task", "list")
    assert [task["task_id"] for task in json.loads(result.out)] == newest


# What `contentgen audit list` prints, compared with a golden file.


@pytest.fixture
async def caller(replica: Replica) -> AsyncIterator[Caller]:
    async with channel_to(replica) as channel:
        yield Caller(channel)


async def test_audit_list_prints_the_golden_screens(contentgen: Transcript, caller: Caller) -> None:
    await contentgen.play("audit", 1)
    await caller("AccountService/CreateAccount", name="an account")
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await caller("ContentService/DeleteContent", content_id=17)
    await caller("WorkerPoolService/PauseDispatch", account_id=1)
    await contentgen.play("audit")


# What `contentgen task stats --by` prints of a scripted scheduler's answer, compared with a golden file.


ENDED = ("completed", "failed", "timeout", "cancelled")


def history(request: task_pb.GetTaskHistoryRequest, _context: object) -> task_pb.GetTaskHistoryResponse:
    """Answers with a quiet hour and a busy one."""
    assert request.resolution == task_pb.RESOLUTION_HOUR
    hour = timestamp(datetime(2026, 1, 31, 8, tzinfo=UTC))
    quiet = task_pb.TaskHistoryPoint(time=hour, counts=dict.fromkeys(ENDED, 0))
    busy = task_pb.TaskHistoryPoint(
        time=hour,
        submitted=1_500,
        counts={**dict.fromkeys(ENDED, 0), "completed": 1_200, "failed": 30},
        duration_p50=duration(63.108644),
        duration_p95=duration(621.603272),
        cost=0.5,
    )
    return task_pb.GetTaskHistoryResponse(points=[quiet, busy])


async def test_the_history_of_tasks_prints_the_golden_screens(transcript_of: Callable[[str], Transcript]) -> None:
    with scripted(GetTaskHistory=history) as target:
        await transcript_of(target).play("history")


# Commands that follow tasks, beside real and scripted schedulers.


# `task wait` and `task submit --wait` beside a real scheduler, `task watch` beside a scripted one.


TASK = "task-0000000000000001"
PENDING, SUBMITTED, PROCESSING, COMPLETED, FAILED = range(1, 6)
RETRIED = 6
"""The event that leases the task for its second attempt."""


async def test_a_submit_that_waits_shows_progress_and_the_end(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    waiting = asyncio.create_task(contentgen("task", "submit", "-a", "1", "a topic", "--wait"))
    lease = await worker.run()
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
    lease = await worker.run()
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
        await worker.complete(await worker.run())
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


async def test_tail_prints_the_golden_screens(
    scheduler: ScriptedServices, transcript_of: Callable[[str], Transcript]
) -> None:
    """The stream ends with the attempt; an interruption in between is not seen."""
    outputs = [
        pb.TailAttemptResponse(attempt=1, resume_token="a"),
        pb.TailAttemptResponse(output="half of", resume_token="b"),
        pb.TailAttemptResponse(output="a warning\n\x1b[31m", stderr=True, left_out_bytes=12_345, resume_token="c"),
        pb.TailAttemptResponse(worker_silent=True, resume_token="d"),
    ]
    last = pb.TailAttemptResponse(output=" it", resume_token="e")
    scheduler.will("TailAttempt", [*outputs, AWAY], [last], [*outputs, last])
    await transcript_of(scheduler.target).play("tail")
    assert [request.resume_token for request in scheduler.requests("TailAttempt")] == ["", "d", ""]


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
