"""Commands that control workers, dispatch, accounts and webhooks, and submits of a file's rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen.cli.commands.submit import BATCH
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from tests.command.transcript import Transcript, run
from tests.harness.scripted_server import Refused, ScriptedServices

pytestmark = pytest.mark.contract


@pytest.fixture
def replica_settings() -> dict[str, str]:
    """Those of one whose webhooks may lead to this machine."""
    return {"webhook_allow": "127.0.0.1"}


# Commands that control workers, dispatch and accounts: what they ask of a scheduler, and what they print.


WORKER = pool_pb.Worker(worker_id="host-1-3f2a", running=True, slots=8, busy_slots=1)
IDLE = pool_pb.Worker(worker_id="host-1-3f2a", connected=True)
ACCOUNT = account_pb.Account(account_id=1, name="newsroom", weight=2, create_time=Timestamp(seconds=1))
PAUSED, RESUMED = pool_pb.PauseDispatchResponse(), pool_pb.ResumeDispatchResponse()
ALL, OF_1 = pool_pb.PauseDispatchRequest(), pool_pb.PauseDispatchRequest(account_id=1)
CONTROLS: list[tuple[str, Message, Message]] = [
    (
        "worker resize host-1-3f2a 8",
        pool_pb.ResizeWorkerRequest(worker_id="host-1-3f2a", slots=8),
        pool_pb.ResizeWorkerResponse(worker=WORKER),
    ),
    (
        "worker undrain host-1-3f2a",
        pool_pb.UndrainWorkerRequest(worker_id="host-1-3f2a"),
        pool_pb.UndrainWorkerResponse(worker=IDLE),
    ),
    ("dispatch pause --all", ALL, PAUSED),
    ("dispatch pause --account 1", OF_1, PAUSED),
    ("-o json dispatch pause --all", ALL, PAUSED),
    ("dispatch resume --all", pool_pb.ResumeDispatchRequest(), RESUMED),
    ("-o jsonl dispatch resume --account 1", pool_pb.ResumeDispatchRequest(account_id=1), RESUMED),
    (
        "account update 1 --inactive",
        account_pb.UpdateAccountRequest(
            account=account_pb.Account(account_id=1), update_mask=FieldMask(paths=["active"])
        ),
        account_pb.UpdateAccountResponse(account=ACCOUNT),
    ),
]
"""Words, the request that they make, and its answer."""


async def test_control_commands_send_the_right_requests_and_print_the_golden_screens(
    scheduler: ScriptedServices, transcript_of: Callable[[str], Transcript]
) -> None:
    transcript = transcript_of(scheduler.target)
    for words, request, answer in CONTROLS:
        rpc = type(request).__name__.removesuffix("Request")
        scheduler.will(rpc, answer)
        scheduler.will("GetDispatchStatus", pool_pb.GetDispatchStatusResponse())
        await transcript(*words.split())
        assert scheduler.requests(rpc)[-1] == request
    transcript.check("control")


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--active", "--weight", "0.5"], {"active": True, "weight": 0.5}),
        (["--name", "新闻", "--max-concurrent-tasks", "0"], {"name": "新闻", "max_concurrent_tasks": 0}),
        (["--max-pending-tasks", "9", "--max-priority", "0"], {"max_pending_tasks": 9, "max_priority": 0}),
        (["--max-starts-per-minute", "60"], {"max_starts_per_minute": 60}),
        (["--max-asset-bytes", "5000000000"], {"max_asset_bytes": 5_000_000_000}),
    ],
)
def test_an_update_names_only_the_given_fields(
    flags: list[str], changes: dict[str, Any], scheduler: ScriptedServices
) -> None:
    scheduler.will("UpdateAccount", account_pb.UpdateAccountResponse(account=ACCOUNT))
    scheduler.will("GetDispatchStatus", pool_pb.GetDispatchStatusResponse())
    assert run("-s", scheduler.target, "account", "update", "3", *flags).status == 0
    (request,) = scheduler.requests("UpdateAccount")
    assert request.account == account_pb.Account(account_id=3, **changes)
    assert set(request.update_mask.paths) == set(changes)


async def test_schedules_are_resumed_by_a_real_scheduler(contentgen: Transcript, account: int) -> None:
    created = await contentgen("-o", "json", "schedule", "create", "-a", "1", "--cron", "0 0 1 1 *", "--paused", "News")
    assert json.loads(created.out)["next_run_times"] == []
    assert (await contentgen("schedule", "resume", "1")).out == "1  active\n"
    schedule = json.loads((await contentgen("-o", "json", "schedule", "show", "1")).out)
    assert (schedule["paused"], len(schedule["next_run_times"])) == (False, 5)
    await contentgen("schedule", "update", "1", "--topic", "Other news", "--label", "a=b")
    update = ("-o", "json", "schedule", "update", "1", "--cron", "0 0 2 1 *")
    changed_schedule = json.loads((await contentgen(*update)).out)
    assert (changed_schedule["template"]["topic"], changed_schedule["template"]["labels"]) == ("Other news", {"a": "b"})
    assert changed_schedule["next_run_times"] > schedule["next_run_times"]


# `task submit --file`: what becomes of each row, and that a repeated command makes no second task.


CSV = """topic,priority,labels,auto_approve
Spring,5,campaign=spring;year=2026,false
Summer,11,,
Autumn,soon,,
,5,,
"Winter,
long",7,,yes
Too,1,,,many
"""


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def submitted(out: str) -> list[tuple[int, str]]:
    """Returns the lines and tasks of an output in JSON Lines."""
    return [(row["line"], row["task_id"]) for row in map(json.loads, out.splitlines())]


async def test_bad_rows_are_named_and_the_others_submitted(
    contentgen: Transcript, account: int, tmp_path: Path
) -> None:
    path = written(tmp_path, "topics.csv", CSV)
    submit = ("-o", "jsonl", "task", "submit", "-a", "1", "--file", path)
    dry_run = await contentgen(*submit, "--dry-run")
    assert (dry_run.status, json.loads(dry_run.out)) == (2, {"rows": 6, "submitted": 3, "dry_run": True})
    first = await contentgen(*submit)
    assert first.status == 2
    (spring, winter) = submitted(first.out)
    assert (spring[0], winter[0]) == (2, 7)
    assert first.err.splitlines() == [
        "contentgen: line 4: priority: 'soon' should be a whole number",
        "contentgen: line 5: topic is missing",
        "contentgen: line 8: has more cells than the head line",
        "contentgen: line 3: priority: must be 1 to 10, is 11",
        "submitted 2 of 6 rows",
    ]
    task = json.loads((await contentgen("-o", "json", "task", "status", spring[1])).out)
    assert (task["labels"], task["auto_approve"]) == ({"campaign": "spring", "year": "2026"}, False)
    task = json.loads((await contentgen("-o", "json", "task", "status", winter[1])).out)
    assert (task["topic"], task["priority"], task["auto_approve"]) == ("Winter,\nlong", 7, True)


async def test_a_repeated_file_makes_no_second_task_except_with_another_run(
    contentgen: Transcript, account: int, tmp_path: Path
) -> None:
    path = written(tmp_path, "topics.jsonl", '{"topic": "One"}\n{"topic": "One"}\n\n{"topic": "Two"}\n')
    submit = ("-o", "jsonl", "task", "submit", "-a", "1", "-f", path)
    first = submitted((await contentgen(*submit)).out)
    assert [line for line, _ in first] == [1, 2, 4]
    assert len({task for _, task in first}) == 3, "equal rows are tasks of their own"
    assert submitted((await contentgen(*submit)).out) == first
    repetition = submitted((await contentgen(*submit, "--run", "week-2")).out)
    assert {task for _, task in repetition}.isdisjoint({task for _, task in first})
    result = await contentgen(*submit, "--priority", "9")
    assert (result.status, result.out) == (2, "")
    assert "line 4: it was submitted before, with other options; another --run submits it again" in result.err


async def test_bad_json_lines_are_named(contentgen: Transcript, account: int, tmp_path: Path) -> None:
    rows = [
        "nonsense",
        "[1]",
        '{"topik": "One"}',
        '{"topic": 7}',
        '{"topic": "One", "timeout": "soon"}',
        '{"topic": "One", "account": 99}',
        '{"topic": "One", "keywords": ["a", "b"], "timeout": 90, "labels": {"k": "v"}, "account": 1}',
        '{"topic": "One", "auto_retry": "perhaps"}',
        '{"topic": "One", "labels": {"k": 1}}',
        '{"topic": "One", "max_retries": 99999999999}',
        "[" * 5_000,
    ]
    path = written(tmp_path, "topics.jsonl", "\n".join(rows))
    result = await contentgen("-o", "jsonl", "task", "submit", "-a", "1", "-f", path)
    assert [line for line, _ in submitted(result.out)] == [7]
    complaints = result.err.splitlines()
    assert [line.split(":")[1] for line in complaints[:-1]] == [
        f" line {number}" for number in (1, 2, 3, 4, 5, 8, 9, 10, 11, 6)
    ]
    assert complaints[-1] == "submitted 1 of 11 rows"
    assert "Traceback" not in result.err


def test_an_outage_stops_the_submit_and_reports_how_far_it_got(scheduler: ScriptedServices, tmp_path: Path) -> None:
    """The second batch comes to nothing; the same command goes on where it is needed."""
    full = Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL")
    tasks = [task_pb2.Task(task_id=f"task-{number:016x}") for number in range(2 * BATCH + 1)]
    batches = [pb.BatchSubmitTasksResponse(tasks=tasks[start : start + BATCH]) for start in range(0, len(tasks), BATCH)]
    scheduler.will("BatchSubmitTasks", batches[0], full, *batches)
    path = written(tmp_path, "topics.jsonl", "\n".join(json.dumps({"topic": task.task_id}) for task in tasks))
    submit = ("-s", scheduler.target, "-o", "jsonl", "task", "submit", "-a", "1", "-f", path)
    first, second = run(*submit), run(*submit)
    assert (first.status, len(submitted(first.out))) == (4, BATCH)
    assert f"stopped at line {BATCH + 1}: the queue is full; submit less" in first.err
    assert f"submitted {BATCH} of {len(tasks):,} rows; repeat the command to continue" in first.err
    assert (second.status, [task_id for _, task_id in submitted(second.out)]) == (0, [task.task_id for task in tasks])
    ids = [[row.request_id for row in request.requests] for request in scheduler.requests("BatchSubmitTasks")]
    assert ids[:2] == ids[2:4], "the same rows have the same ids"


@pytest.mark.parametrize("name", ["latin.csv", "latin.jsonl"])
def test_a_file_in_another_encoding_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"topic\n\xe9t\xe9\n")
    result = run("task", "submit", "-a", "1", "-f", str(tmp_path / name))
    assert (result.status, "should be UTF-8" in result.err) == (2, True)


# What the commands about webhooks print. Nothing listens where the webhooks lead to.


URL = "https://127.0.0.1:1/hook"


async def test_webhook_commands_print_the_golden_screens(contentgen: Transcript, account: int) -> None:
    await contentgen.play("webhooks")


async def test_a_delivery_is_sent_again(contentgen: Transcript, account: int) -> None:
    await contentgen("webhook", "create", URL)
    await contentgen("webhook", "ping", "1")
    result = await contentgen("webhook", "redeliver", "--webhook", "1")
    assert (result.status, result.out) == (0, "sent again: 1\n")
    result = await contentgen("webhook", "redeliver", "1")
    assert (result.status, result.out) == (0, "delivery 1 is pending\n")
