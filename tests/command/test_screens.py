"""What the commands print, compared with golden files."""

from __future__ import annotations

import json
from asyncio import to_thread
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from grpc import StatusCode, aio

from contentgen.v1 import asset_pb2, task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.domain.rollup import bucket, point
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.validation import duration, timestamp
from tests.command.transcript import VERSION, Ran, Transcript, run
from tests.harness.client import refused
from tests.harness.credentials import Caller
from tests.harness.maker import Maker
from tests.harness.pictures import png, sha256
from tests.harness.scripted_server import scripted
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub
    from contentgen.v1.worker_pool_service_pb2_grpc import WorkerPoolServiceAsyncStub

pytestmark = pytest.mark.contract


# What each command prints: tables, JSON and JSON Lines, compared with golden files.


async def submitted(contentgen: Transcript, *arguments: str) -> str:
    """Submits a task for account 1 and returns its id."""
    return (await contentgen("task", "submit", "--account", "1", *arguments)).out.strip()


async def test_task_commands_print_the_golden_screens(
    contentgen: Transcript, account: int, worker: ScriptedWorker
) -> None:
    texts = ("春天的第一杯咖啡", "--keywords", "咖啡,春天", "--tone", "轻松")
    backoff = ("--initial-backoff", "500ms", "--backoff-multiplier", "1.5", "--max-backoff", "90s")
    waiting_task = await submitted(contentgen, *texts, "-p", "3", *backoff)
    completed_task = await submitted(
        contentgen, "Working well from home", "--label", "campaign=spring", "--max-retries", "1"
    )
    failed_task = await submitted(contentgen, "It fails", "-p", "9", "--no-auto-retry", "--request-id", "once")
    (lease,) = await worker.take()
    await worker.start(lease)
    stdout, stderr = "topic: It fails\nprogress: 10%", "\x1b[31mError: the model said no"
    await worker.fail(lease, output=worker_pb.RunOutput(stdout=stdout, stderr=stderr, stdout_truncated=True))
    (lease,) = await worker.take()
    await worker.start(lease)
    await worker.report(lease, progress=task_pb2.TaskProgress(percent=40, step="draft", message="half of it"))
    await contentgen("task", "status", completed_task)
    await worker.complete(lease)
    for task_id in (waiting_task, completed_task, failed_task):
        await contentgen("task", "status", task_id)
    await contentgen("task", "status", waiting_task, completed_task)
    await contentgen("task", "list")
    await contentgen("-o", "wide", "task", "list")
    await contentgen("task", "list", "--status", "failed,timeout", "--limit", "1")
    await contentgen("task", "list", "--label", "campaign=none")
    await contentgen("task", "events", failed_task)
    await contentgen("task", "logs", failed_task)
    await contentgen("task", "logs", failed_task, "--attempt", "2")
    await contentgen("task", "logs", completed_task)
    await contentgen("task", "logs", "task-0000000000000001")
    await contentgen("-o", "json", "task", "logs", failed_task)
    await contentgen("-o", "json", "task", "logs", completed_task)
    await contentgen("task", "stats")
    await contentgen("task", "retry", failed_task)
    unique_options = ("--unique-key", "news", "--unique-for", "24h")
    unique_task = await submitted(contentgen, "News of the day", *unique_options)
    await contentgen("task", "submit", "-a", "1", "News again", *unique_options)
    await contentgen("task", "status", unique_task)
    changes = ("-p", "9", "--tone", "", "--label", "campaign=fall", "--no-auto-approve", "--timeout", "5m")
    await contentgen("task", "update", waiting_task, *changes)
    await contentgen("task", "update", waiting_task)
    await contentgen("task", "update", waiting_task, "--unschedule", "--schedule-time", "+1h")
    await contentgen("task", "cancel", waiting_task, failed_task)
    await contentgen("task", "update", waiting_task, "--unexpire")
    await contentgen("task", "retry", "--all", "--account", "1", "--dry-run")
    await contentgen("task", "retry", "--all", "--account", "1")
    await contentgen("task", "retry", "--all", "--reset-retry-count", "--account", "1", "--dry-run")
    await contentgen("task", "list", "--topic", "HOME", "--since", "2020-01-01", "--status", "completed")
    await contentgen("task", "list", "--reason", "CREATOR_ERROR", "--worker", "nobody")
    await submitted(contentgen, "咖啡 again", "--label", "campaign=spring")
    await contentgen("task", "cancel", "--all", "--label", "campaign=spring", "--topic", "咖啡", "--dry-run")
    await contentgen("task", "cancel", "--all", "--label", "campaign=spring", "--topic", "咖啡")
    await contentgen("task", "cleanup", "--days", "0", "--dry-run")
    await contentgen("task", "cleanup", "--days", "0", "--status", "cancelled", "--limit", "1")
    await contentgen("task", "cleanup", "--days", "0")
    contentgen.check("tasks")


async def test_task_commands_print_documents_for_programs(contentgen: Transcript, account: int) -> None:
    task_id = (await contentgen("-o", "jsonl", "task", "submit", "-a", "1", "机器读的")).out.split('"')[3]
    await submitted(contentgen, "another")
    await contentgen("-o", "json", "task", "status", task_id)
    await contentgen("-o", "json", "task", "list", "--limit", "2")
    await contentgen("task", "list", "-o", "jsonl")
    await contentgen("-o", "json", "task", "list", "--status", "failed")
    await contentgen("-o", "jsonl", "task", "list", "--status", "failed")
    await contentgen("-o", "jsonl", "task", "events", task_id)
    await contentgen("-o", "json", "task", "stats", "--account", "1")
    await contentgen("-o", "jsonl", "task", "cancel", task_id)
    await contentgen("-o", "json", "task", "cancel", "--all", "--account", "1", "--dry-run")
    await contentgen("-o", "json", "task", "cancel", "--all", "--account", "1")
    await contentgen("-o", "json", "task", "cleanup", "--dry-run")
    contentgen.check("tasks-json")


async def test_schedule_commands_print_the_golden_screens(contentgen: Transcript, account: int) -> None:
    news = ("每日新闻", "--tone", "专业", "-p", "8", "--label", "team=a", "--no-auto-approve", "--timeout", "10m")
    daily = ("--cron", "0 9 * * MON-FRI", "--time-zone", "Asia/Shanghai", "--paused")
    await contentgen("schedule", "create", "-a", "1", *daily, "--name", "news", "--jitter", "5m", *news)
    await contentgen("schedule", "create", "-a", "1", "--cron", "0 0 29 2 *", "--paused", "Leap day")
    await contentgen("schedule", "create", "-a", "1", "--cron", "0 0 30 2 *", "Never")
    await contentgen("schedule", "create", "-a", "1", "--cron", "* * * * *", "--catch-up", "two", "News")
    await contentgen("schedule", "update", "1", "--tone", "dry", "--overlap", "skip", "--catch-up", "all")
    await contentgen("schedule", "update", "1")
    await contentgen("schedule", "list")
    await contentgen("schedule", "list", "-o", "wide")
    await contentgen("schedule", "run", "1", "9")
    await contentgen("task", "list", "--schedule", "1")
    await contentgen("-o", "json", "task", "list", "--schedule", "2")
    await contentgen("schedule", "next", "0 0 1 1 *", "--time-zone", "Asia/Shanghai")
    await contentgen("schedule", "next", "0 0 30 2 *")
    await contentgen("schedule", "show", "1")
    await contentgen("-o", "json", "schedule", "show", "2")
    await contentgen("schedule", "pause", "1", "2")
    await contentgen("schedule", "delete", "1", "9")
    await contentgen("-o", "json", "schedule", "delete", "2")
    await contentgen("schedule", "list")
    contentgen.check("schedules")


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
    contentgen: Transcript, made: Maker, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    await made("A finished one", "# A finished one\n\nIts text.\n", quality_score=8.5)
    for topic in ("Good", "Bad"):
        await made(topic, "正文", auto_approve=False, images=["one.png", "two.png"], category="科技")
    await contentgen("content", "list")
    await contentgen("content", "list", "--query", "finished one", "--pool", "pending", "--min-score", "8")
    await contentgen("content", "list", "--category", "科技", "--oldest-first", "--since", "2020-01-01")
    await contentgen("content", "list", "--label", "run=7", "--until", "2020-01-01")
    await contentgen("content", "show", "1")
    await with_picture(made)
    await contentgen("content", "show", "4")
    await contentgen("asset", "show", sha256(png()))
    await contentgen("asset", "get", sha256(png()), "-O", "cover.png")
    await contentgen("asset", "get", "5" * 64, "-O", "none.png")
    await contentgen("content", "save", "4")
    await contentgen("content", "save", "4")
    check_saved()
    await contentgen("content", "review", "2", "--approve", "--comment", "很好")
    await contentgen("content", "review", "3", "2", "99", "--reject")
    await contentgen("content", "show", "2")
    await contentgen("content", "list", "--review", "rejected", "-o", "json")
    await contentgen("-o", "json", "content", "show", "1")
    await contentgen("pool", "list")
    await contentgen("-o", "jsonl", "pool", "list", "--limit", "1")
    await contentgen("content", "delete", "3", "5", "--dry-run")
    await contentgen("content", "delete", "3", "3")
    await contentgen("-o", "json", "content", "delete", "--force", "2")
    contentgen.check("contents")


async def test_editing_commands_print_the_golden_screens(contentgen: Transcript, made: Maker, tmp_path: Path) -> None:
    await made("A finished one", "A text.")
    text = tmp_path / "article.md"
    text.write_text("A better text.", encoding="utf-8")
    await contentgen("content", "revisions", "1")
    await contentgen("content", "edit", "1", "--title", "A better title", "--category", "news", "--reviewer", "anna")
    result = await to_thread(run, "--scheduler", contentgen.target, "content", "edit", "1", "--body", str(text))
    assert result.out == "content 1 is at revision 3\n"
    await contentgen("content", "edit", "1")
    await contentgen("content", "edit", "1", "--title", "Too late", "--etag", "1")
    await contentgen("content", "edit", "9", "--title", "None")
    await contentgen("content", "revisions", "1")
    await contentgen("content", "revisions", "1", "--number", "2")
    await contentgen("content", "revisions", "1", "--number", "9")
    await contentgen("content", "revisions", "1", "-o", "jsonl")
    contentgen.check("editing")


async def test_review_commands_print_the_golden_screens(contentgen: Transcript, made: Maker) -> None:
    for topic in ("Good", "Bad", "Third"):
        await made(topic, "A text.", auto_approve=False)
    await contentgen("content", "claim", "--reviewer", "anna", "--account", "1")
    await contentgen("-o", "json", "content", "claim", "--reviewer", "boris", "--lease", "5m")
    await contentgen("-o", "wide", "content", "list")
    await contentgen("content", "release", "2", "9")
    await contentgen("content", "review", "1", "2", "9", "--approve", "--together")
    await contentgen("content", "review", "1", "2", "--approve", "--together", "--reviewer", "anna")
    await contentgen("content", "show", "1")
    await contentgen("content", "claim")
    await contentgen("content", "claim")
    await contentgen("content", "regenerate", "1", "--feedback", "Shorter")
    await contentgen("content", "regenerate", "9", "-m", "Shorter")
    await contentgen("content", "reopen", "1", "9")
    await contentgen("content", "show", "1")
    contentgen.check("reviewing")


async def test_publisher_commands_print_the_golden_screens(contentgen: Transcript, made: Maker) -> None:
    for topic in ("First", "Second"):
        await made(topic)
    entry = json.loads((await contentgen("-o", "jsonl", "pool", "claim", "--lease", "60s")).out)
    content, claim = str(entry["content_id"]), entry["claim_id"]
    await contentgen("pool", "claim", "--limit", "10", "--account", "1")
    await contentgen("pool", "claim")
    await contentgen("pool", "report", content, claim)
    await contentgen("pool", "report", content, claim, "--published", "--error", "none")
    await contentgen("pool", "renew", content, claim, "--lease", "5m")
    await contentgen("pool", "report", content, claim, "--failed", "--error", "The site is away")
    await contentgen("pool", "report", content, claim, "--published")
    await contentgen("pool", "list")
    await contentgen("pool", "update", "2", "--priority", "9")
    await contentgen("pool", "update", content, "--priority", "9", "--schedule-time", "2030-01-31T08:00+00:00")
    await contentgen("pool", "update", content, "--unschedule")
    await contentgen("pool", "retry", content, "2")
    entry = json.loads((await contentgen("-o", "jsonl", "pool", "claim", "--publisher", "the site")).out)
    claim = entry["claim_id"]
    await contentgen("-o", "json", "pool", "report", content, claim, "--published", "--url", "https://example.org/1")
    await contentgen("pool", "list", "--status", "published,failed", "-o", "wide")
    await contentgen("pool", "attempts", content)
    await contentgen("-o", "jsonl", "pool", "attempts", content, "--limit", "1")
    await contentgen("pool", "remove", content, "2")
    contentgen.check("publishing")


async def many(tasks: TaskServiceAsyncStub, account: int, number: int) -> list[str]:
    """The ids of new tasks, newest first."""
    request = task_pb.SubmitTaskRequest(account_id=account, topic="a topic")
    answer = await tasks.BatchSubmitTasks(task_pb.BatchSubmitTasksRequest(requests=[request] * number))
    return [task.task_id for task in answer.tasks][::-1]


async def test_a_table_ends_after_a_page_with_a_hint_how_to_continue(
    contentgen: Transcript, tasks: TaskServiceAsyncStub, account: int
) -> None:
    newest = await many(tasks, account, 30)

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
    await contentgen("account", "create", "newsroom", "--max-concurrent-tasks", "4", "--weight", "2")
    await contentgen("account", "create", "新闻")
    quotas = ("--max-pending-tasks", "9000", "--max-priority", "3", "--max-starts-per-minute", "60")
    await contentgen("account", "create", "bulk", *quotas)
    await contentgen("account", "list")
    await contentgen("dispatch", "status")
    await contentgen("dispatch", "pause", "--account", "2")
    await contentgen("dispatch", "pause", "--all")
    await contentgen("dispatch", "status")
    await contentgen("account", "list")
    await contentgen("-o", "wide", "account", "list")
    await contentgen("top", "--once", "--interval", "200ms")
    await contentgen("-o", "json", "dispatch", "status")
    await contentgen("account", "show", "3")
    await contentgen("-o", "jsonl", "account", "list")
    await contentgen("-o", "json", "account", "show", "2")
    contentgen.check("accounts")


async def is_gone(pool: WorkerPoolServiceAsyncStub) -> bool:
    return not (await pool.GetWorkerPool(pool_pb.GetWorkerPoolRequest())).num_workers


async def test_worker_commands_print_the_golden_screens(
    contentgen: Transcript, channel: aio.Channel, pool: WorkerPoolServiceAsyncStub, account: int
) -> None:
    greeting = hello(
        worker_id="host-1-3f2a", version=VERSION, creator_version="content-creator 3", labels={"zone": "a"}
    )
    await submitted(contentgen, "a topic")
    async with ScriptedWorker(channel, greeting) as worker:
        (lease,) = await worker.take()
        await worker.start(lease)
        await contentgen("worker", "list")
        await contentgen("-o", "json", "worker", "list")
        worker.last_error = "CREATOR_CLI_NOT_FOUND: no such file"
        await worker.heartbeat(0)
        await contentgen("worker", "list")
        await contentgen("-o", "json", "worker", "list")
        worker.last_error = None
        await worker.heartbeat(0)
        await contentgen("worker", "drain", "host-1-3f2a")
        await contentgen("worker", "drain", "nobody")
        await contentgen("worker", "undrain", "host-1-3f2a")
        await contentgen("worker", "undrain", "nobody")
        await contentgen("-o", "wide", "worker", "list")
    gone: Callable[[], bool | Awaitable[bool]] = partial(is_gone, pool)
    await wait_until_async(gone, within=10, what="the worker is gone")
    await contentgen("worker", "list")
    contentgen.check("workers")


async def test_top_prints_the_golden_screens(contentgen: Transcript, made: Maker) -> None:
    for topic in ("It fails", "It runs"):
        await submitted(contentgen, topic, "--no-auto-retry")
        (lease,) = await made.worker.take()
        await made.worker.start(lease)
        if topic == "It fails":
            await made.worker.fail(lease)
    await made.worker.report(lease, progress=task_pb2.TaskProgress(percent=40, step="draft"))
    await submitted(contentgen, "It waits")
    await contentgen("top", "--once", "--interval", "200ms")
    await contentgen("top", "--interval", "0")
    result = await contentgen("-o", "json", "top", "--interval", "200ms")
    assert json.loads(result.out)["running"][0]["progress"]["percent"] == 40
    contentgen.check("top")


async def test_a_bulk_command_goes_on_in_steps_and_says_how_far_it_is(
    contentgen: Transcript, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen.cli.commands.task_moves.STEP", 2)
    for _ in range(6):
        await submitted(contentgen, "a topic")
    result = await contentgen("task", "cancel", "--all", "--limit", "5")
    assert (result.out, result.err) == ("cancelled: 5\n", "cancelled: 2 of 5\ncancelled: 4 of 5\n")
    result = await contentgen("-o", "json", "task", "cancel", "--all")
    assert json.loads(result.out) == {"cancelled_count": 1, "dry_run": False}
    assert (await contentgen("task", "cancel", "--all")).out == "cancelled: 0\n"


async def test_a_list_reads_all_pages(contentgen: Transcript, tasks: TaskServiceAsyncStub, account: int) -> None:
    newest = await many(tasks, account, 450)
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
    async with aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel:
        yield Caller(channel)


async def test_audit_list_prints_the_golden_screens(contentgen: Transcript, caller: Caller) -> None:
    await contentgen("audit", "list", "--actor", "nobody")
    await caller("AccountService/CreateAccount", name="an account")
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await caller("ContentService/DeleteContent", content_id=17)
    await caller("WorkerPoolService/PauseDispatch", account_id=1)
    await contentgen("audit", "list")
    await contentgen("audit", "list", "--account", "1", "--limit", "1")
    await contentgen("-o", "json", "audit", "list", "--method", "AccountService/CreateAccount")
    await contentgen("-o", "jsonl", "audit", "list", "--since", "2999-01-01")
    await contentgen("audit", "list", "--until", "soon")
    contentgen.check("audit")


# What `contentgen task stats --by` prints of a scripted scheduler's answer, compared with a golden file.


ENDED = ("completed", "failed", "timeout", "cancelled")


def history(request: task_pb.GetTaskHistoryRequest, _context: object) -> task_pb.GetTaskHistoryResponse:
    """Answers with two hours, in the second of which something happened."""
    assert request.resolution == task_pb.RESOLUTION_HOUR
    busy = point(datetime(2026, 1, 31, 9, tzinfo=UTC), {1: 1_500, 4: 1_200, 5: 30, bucket(61): 1_100, bucket(600): 100})
    quiet = task_pb.TaskHistoryPoint(
        time=timestamp(datetime(2026, 1, 31, 8, tzinfo=UTC)), counts=dict.fromkeys(ENDED, 0)
    )
    message = task_pb.TaskHistoryPoint(
        time=timestamp(busy.time),
        submitted=busy.submitted,
        counts={status.label: number for status, number in busy.counts.items()},
        duration_p50=duration(busy.duration_p50),
        duration_p95=duration(busy.duration_p95),
        cost=0.5,
    )
    return task_pb.GetTaskHistoryResponse(points=[quiet, message])


def test_the_history_of_tasks_prints_the_golden_screens(transcript_of: Callable[[str], Transcript]) -> None:
    with scripted(GetTaskHistory=history) as target:
        contentgen = transcript_of(target)
        for words in (
            ("task", "stats", "--by", "hour"),
            ("-o", "wide", "task", "stats", "--by", "hour", "--since", "2026-01-31", "--account", "1"),
            ("-o", "jsonl", "task", "stats", "--by", "hour"),
            ("task", "stats", "--since", "2026-01-31"),
        ):
            contentgen.run(*words)
        contentgen.check("history")
