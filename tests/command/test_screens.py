"""What the commands print, compared with golden files."""

from __future__ import annotations

import json
from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from grpc import StatusCode, aio

from contentgen.client.documents import duration, timestamp
from contentgen.v1 import asset_pb2, task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.replica.replica import Replica
from tests.command.transcript import GOLDEN, Ran, Transcript, run
from tests.harness.client import refused
from tests.harness.credentials import Caller
from tests.harness.maker import Maker
from tests.harness.pictures import png, sha256
from tests.harness.replicas import channel_to
from tests.harness.scripted_server import scripted
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


async def test_editing_commands_print_the_golden_screens(contentgen: Transcript, maker: Maker, tmp_path: Path) -> None:
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
    await many(tasks, account, 6)
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
