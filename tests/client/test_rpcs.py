"""Every RPC has a method on both clients: its request, and which calls are retried while the scheduler is away."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contentgen import (
    ContentGenerationClient,
    PermissionDenied,
    RequestError,
    ResourceNotFoundException,
    TaskFilter,
    Unavailable,
)
from contentgen.client.assets import READ_TIMEOUT
from contentgen.client.blocking import BlockingTransport
from contentgen.client.client import MessageMethods
from contentgen.client.connection import open_channel
from contentgen.client.transport import run
from contentgen.client.watch import STREAM_TIMEOUT
from contentgen.client.webhooks import SENDS
from contentgen.rpcs import RPCS as ROWS
from contentgen.submit_fields import BRIEF, BY_NAME
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import asset_service_pb2 as asset_pb
from contentgen.v1 import schedule_service_pb2 as schedule_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from tests.harness.client import KINDS, opened
from tests.harness.scripted_server import AWAY, SERVICES, SILENCE, Refused, ScriptedServices, filled, scripted_services

pytestmark = pytest.mark.contract

TIMEOUT = 5.0
SLACK = 2.0
"""Seconds, because gRPC rounds the deadline, and the call takes some time to arrive."""
TASK_ID = "task-000000000000000a"
URL = "https://news.example/hook"
SUBMIT: dict[str, Any] = {
    "account_id": 1,
    **{field.name: f"a {field.name}" for field in BRIEF},
    "priority": 8,
    "auto_approve": False,
    "max_retries": 2,
    "auto_retry": True,
    "timeout": 60.0,
    "schedule_time": "2030-01-31T08:00:00+08:00",
    "request_id": "r1",
    "labels": {"order": "7"},
    "creator_options": {"model": "m"},
    "initial_backoff": 1.0,
    "backoff_multiplier": 1.5,
    "max_backoff": 9.0,
    "expire_time": "2030-02-28T08:00:00+08:00",
    "unique_key": "u1",
    "unique_for": 3_600.0,
}
EDIT = {name: value for name, value in SUBMIT.items() if BY_NAME[name].changeable}
MATCHING: TaskFilter = {
    "labels": {"order": "7"},
    "schedule_id": 3,
    "error_reasons": ["CREATOR_ERROR"],
    "created_after": "2026-01-31",
    "created_before": datetime(2026, 2, 28, tzinfo=UTC),
    "worker_id": "w1",
    "topic": "coffee",
}
BULK: dict[str, Any] = {**MATCHING, "limit": 9, "dry_run": True}
FOUND: dict[str, Any] = {
    "publish_status": "pending",
    "category": "news",
    "labels": {"order": "7"},
    "min_quality_score": 7.5,
    "created_after": "2026-01-31",
    "created_before": datetime(2026, 2, 28, tzinfo=UTC),
    "query": "coffee",
    "oldest_first": True,
}
REVIEW: dict[str, Any] = {
    "approve": True,
    "comment": "well done",
    "etag": "e",
    "reviewer": "anna",
    "scheduled_at": "2030-01-31",
}
TEXTS = {
    "title": "a title",
    "body": "a text",
    "html_body": "<p>a text",
    "summary": "a summary",
    "category": "news",
    "cover_image": "one.png",
}
SETTINGS: dict[str, Any] = {
    "name": "news",
    "time_zone": "Asia/Shanghai",
    "catch_up": "all",
    "overlap": "skip",
    "jitter": 60.0,
    "paused": True,
}
QUOTAS: dict[str, Any] = {"max_pending_tasks": 9, "max_priority": 3, "max_starts_per_minute": 60, "max_asset_bytes": 1}


def first_change(watch: Any) -> Any:
    with contextlib.closing(watch):
        return next(watch)


CALLS: dict[str, Callable[[ContentGenerationClient], Any]] = {
    "SubmitTask": lambda client: client.submit_task(**SUBMIT),
    "BatchSubmitTasks": lambda client: client.submit_tasks([SUBMIT, SUBMIT]),
    "GetTask": lambda client: client.get_task_status(TASK_ID),
    "BatchGetTasks": lambda client: client.get_task_statuses([TASK_ID]),
    "ListTasks": lambda client: client.list_tasks(1, ["pending", "failed"], 3, **MATCHING),
    "CancelTask": lambda client: client.cancel_task(TASK_ID, force=True),
    "UpdateTask": lambda client: client.update_task(TASK_ID, **EDIT),
    "RetryTask": lambda client: client.retry_task(TASK_ID, reset_retry_count=True),
    "BulkCancelTasks": lambda client: client.bulk_cancel_tasks(1, "pending", force=True, **BULK),
    "BulkRetryTasks": lambda client: client.bulk_retry_tasks(1, "failed", reset_retry_count=True, **BULK),
    "CleanupTasks": lambda client: client.cleanup_tasks(1, "failed", days=3, **BULK),
    "WaitTask": lambda client: client.wait(TASK_ID),
    "WatchTasks": lambda client: first_change(client.watch([TASK_ID], resume_token="t", skip_present=True)),
    "ListTaskEvents": lambda client: list(client.iter_task_events(TASK_ID)),
    "ListAttemptLogs": lambda client: list(client.iter_attempt_logs(TASK_ID)),
    "GetTaskStats": lambda client: client.get_task_stats(1),
    "PollRunningTasks": lambda client: client.poll_running_tasks(1),
    "PollTask": lambda client: client.poll_single_task(TASK_ID),
    "HandleTimeouts": lambda client: client.handle_timeout_tasks(1),
    "GetContent": lambda client: client.get_content(7),
    "ListContents": lambda client: list(client.iter_contents(1, "approved", **FOUND)),
    "ReviewContent": lambda client: client.review_content(7, **REVIEW),
    "BatchReviewContents": lambda client: client.review_contents([{"content_id": 7, **REVIEW}]),
    "ReopenContent": lambda client: client.reopen_content(7),
    "ClaimReview": lambda client: client.claim_review(1, content_id=7, lease=60, reviewer="anna"),
    "ReleaseReview": lambda client: client.release_review(7),
    "RegenerateContent": lambda client: client.regenerate_content(7, "shorter"),
    "UpdateContent": lambda client: client.update_content(7, **TEXTS, etag="e", reviewer="anna"),
    "ListContentRevisions": lambda client: list(client.iter_content_revisions(7)),
    "DeleteContent": lambda client: client.delete_content(7, force=True),
    "ListPublishPool": lambda client: list(
        client.iter_publish_pool(1, ["pending", "failed"], scheduled_after="2030-01-31", scheduled_before="2030-02-01")
    ),
    "ClaimPublishPool": lambda client: client.claim_publish_pool(1, 10, lease=60, publisher="a site"),
    "RenewPublishClaim": lambda client: client.renew_publish_claim(7, "a claim", lease=60),
    "ReportPublished": lambda client: client.report_published(
        7, "a claim", error="the site is down", url="https://site/7"
    ),
    "RetryPublish": lambda client: client.retry_publish(7),
    "UpdatePublishPoolEntry": lambda client: client.update_publish_pool_entry(
        7, priority=9, schedule_time="2030-01-31T08:00:00+08:00"
    ),
    "RemoveFromPublishPool": lambda client: client.remove_from_publish_pool(7),
    "ListPublishAttempts": lambda client: list(client.iter_publish_attempts(7)),
    "GetAsset": lambda client: client.read_asset("5" * 64, offset=1, length=2),
    "GetAssetInfo": lambda client: client.get_asset_info("5" * 64),
    "CreateAccount": lambda client: client.create_account("新闻", 4, 2.5, **QUOTAS),
    "GetAccount": lambda client: client.get_account(1),
    "ListAccounts": lambda client: list(client.iter_accounts()),
    "UpdateAccount": lambda client: client.update_account(
        1, name="新闻", max_concurrent_tasks=4, weight=2.5, active=True, **QUOTAS
    ),
    "DeactivateAccount": lambda client: client.deactivate_account(1),
    "CreateSchedule": lambda client: client.create_schedule(1, "0 9 * * *", {"topic": "news"}, **SETTINGS),
    "GetSchedule": lambda client: client.get_schedule(3),
    "ListSchedules": lambda client: list(client.iter_schedules(1)),
    "GetNextRuns": lambda client: client.get_next_runs("0 9 * * *", time_zone="Asia/Shanghai"),
    "UpdateSchedule": lambda client: client.update_schedule(3, cron="0 9 * * *", task={"topic": "news"}, **SETTINGS),
    "DeleteSchedule": lambda client: client.delete_schedule(3),
    "PauseSchedule": lambda client: client.pause_schedule(3),
    "ResumeSchedule": lambda client: client.resume_schedule(3),
    "RunSchedule": lambda client: client.run_schedule(3),
    "GetWorkerPool": lambda client: client.get_worker_pool_status(),
    "DrainWorker": lambda client: client.drain_worker("w1"),
    "UndrainWorker": lambda client: client.undrain_worker("w1"),
    "ResizeWorker": lambda client: client.resize_worker("w1", 4),
    "PauseDispatch": lambda client: client.pause_dispatch(1),
    "ResumeDispatch": lambda client: client.resume_dispatch(1),
    "GetDispatchStatus": lambda client: client.get_dispatch_status(),
    "CreateWebhook": lambda client: client.create_webhook(URL, ["task.ended"], account_id=1),
    "GetWebhook": lambda client: client.get_webhook(3),
    "ListWebhooks": lambda client: list(client.iter_webhooks(1)),
    "UpdateWebhook": lambda client: client.update_webhook(3, url=URL, event_types=["task.ended"], active=True),
    "DeleteWebhook": lambda client: client.delete_webhook(3),
    "RotateWebhookSecret": lambda client: client.rotate_webhook_secret(3, overlap=60),
    "PingWebhook": lambda client: client.ping_webhook(3),
    "ListDeliveries": lambda client: list(client.iter_deliveries(3, "exhausted")),
    "RedeliverWebhook": lambda client: client.redeliver_webhook(4),
    "GetTaskHistory": lambda client: client.get_task_history(1, "day", start_time="2026-01-31", end_time="2026-02-28"),
    "ListAuditEvents": lambda client: list(
        client.iter_audit_events(
            1, actor="op", method="TaskService/CancelTask", start_time="2026-01-31", end_time="2026-02-28"
        )
    ),
    "GetSystem": lambda client: client.get_system(),
    "GetCaller": lambda client: client.get_caller(),
}
"""With every argument of the method; nothing else says what calls an RPC, and how."""
BEYOND: dict[str, float] = {
    "BulkCancelTasks": 600,
    "BulkRetryTasks": 600,
    "CleanupTasks": 600,
    "WaitTask": 60,
    "WatchTasks": STREAM_TIMEOUT - TIMEOUT,
    "PollRunningTasks": 10,
    "PollTask": 10,
    "HandleTimeouts": 600,
    "GetAsset": READ_TIMEOUT,
    "PingWebhook": SENDS,
}
"""Seconds that a call may take beyond TIMEOUT."""
UNSET: dict[str, set[str]] = {
    "ListTasks": {"labels", "schedule_id"},
    "BulkRetryTasks": {"statuses"},
    "WatchTasks": {"account_id"},
    "BatchReviewContents": {"reviewer"},
    "ReportPublished": {"published"},
    "GetWorkerPool": {"page_size"},
}
"""Fields of the request that these calls leave out, though others may set them; so do all `page_token`."""
METHODS = {method.name: method for service in SERVICES for method in service.methods}
STREAMS = {name for name, method in METHODS.items() if method.server_streaming}
"""They reconnect by themselves."""
SAFE = {rpc.name for rpc in ROWS.values() if rpc.repeatable}


def answer(method: str) -> Any:
    """A value in every field, on the last page; of a stream its steps."""
    if method == "WatchTasks":
        return [pb.WatchTasksResponse(event=pb.TaskChange(task=task_pb2.Task(task_id=TASK_ID))), SILENCE]
    if method == "GetAsset":
        return [asset_pb.GetAssetResponse(chunk=b"ab")]
    message = filled(GetMessageClass(METHODS[method].output_type))
    if "next_page_token" in METHODS[method].output_type.fields_by_name:
        message.ClearField("next_page_token")
    return message


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServices]:
    with scripted_services() as server:
        yield server


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest, server: ScriptedServices) -> Iterator[ContentGenerationClient]:
    with opened(request.param, server.target, token="secret", timeout=TIMEOUT) as client:
        yield client


@pytest.fixture
def scheduler(server: ScriptedServices) -> ScriptedServices:
    server.start_over()
    return server


@pytest.mark.parametrize("method", METHODS)
def test_a_method_makes_the_rpc_with_all_fields_a_deadline_and_the_token(
    scheduler: ScriptedServices, client: ContentGenerationClient, method: str
) -> None:
    scheduler.will(method, answer(method))
    CALLS[method](client)
    [call] = scheduler.calls(method)
    beyond = BEYOND.get(method, 0.0)
    assert abs(call.limit - (TIMEOUT + beyond)) < max(SLACK, beyond / 60)
    assert call.metadata["authorization"] == "Bearer secret"
    assert fields_set(call.request) == {field.name for field in call.request.DESCRIPTOR.fields} - {
        "page_token",
        *UNSET.get(method, ()),
    }


def fields_set(request: Message) -> set[str]:
    return {field.name for field, _ in request.ListFields()}


def test_a_submit_can_set_every_field(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("BatchSubmitTasks", answer("BatchSubmitTasks"))
    client.submit_tasks([SUBMIT, {**SUBMIT, "schedule_time": datetime(2030, 1, 31, tzinfo=UTC)}])
    [batch] = scheduler.requests("BatchSubmitTasks")
    for request in batch.requests:
        assert fields_set(request) == {field.name for field in request.DESCRIPTOR.fields}
    moments = [request.schedule_time.ToJsonString() for request in batch.requests]
    assert moments == ["2030-01-31T00:00:00Z", "2030-01-31T00:00:00Z"]


EVERY_SET = EDIT.keys() - {"auto_approve"}
"""False is not sent."""
TAKEN_AWAY = {"unschedule": "schedule_time", "unexpire": "expire_time"}


@pytest.mark.parametrize(
    ("method", "changes", "values"),
    [
        ("update_account", {"max_priority": 0, "active": False}, set()),
        ("update_schedule", {"jitter": 0.0, "paused": False, "name": ""}, {"jitter"}),
        ("update_task", EDIT, EVERY_SET),
        ("update_task", {"tone": "", "auto_retry": False, "labels": {}}, set()),
        ("update_task", {"unschedule": True, "unexpire": True}, set()),
        ("update_publish_pool_entry", {"priority": 9}, {"priority"}),
        ("update_publish_pool_entry", {"schedule_time": "2030-01-31"}, {"schedule_time"}),
        ("update_publish_pool_entry", {"unschedule": True}, set()),
    ],
    ids=["account", "schedule", "task", "empty task", "timeless task", "entry", "timed entry", "timeless entry"],
)
def test_an_update_changes_only_the_given_fields(
    scheduler: ScriptedServices, client: ContentGenerationClient, method: str, changes: dict[str, Any], values: set[str]
) -> None:
    """Its mask names the changes, and the resource has these values beside its id."""
    rpc = method.title().replace("_", "")
    scheduler.will(rpc, answer(rpc))
    getattr(client, method)(TASK_ID if method == "update_task" else 3, **changes)
    [request] = scheduler.requests(rpc)
    assert set(request.update_mask.paths) == {TAKEN_AWAY.get(name, name) for name in changes}
    [resource] = [value for field, value in request.ListFields() if field.name != "update_mask"]
    assert fields_set(resource) == {resource.DESCRIPTOR.fields[0].name, *values}


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("update_task", {"schedule_time": "2030-01-31", "unschedule": True}, "no schedule_time"),
        ("update_task", {"expire_time": "2030-01-31", "unexpire": True}, "no expire_time"),
        ("update_publish_pool_entry", {"schedule_time": "2030-01-31", "unschedule": True}, "no schedule_time"),
        ("update_schedule", {"task": {"topic": "news"}, "task_changes": {"priority": 9}}, "no task_changes"),
    ],
    ids=["a task's schedule time", "its expire time", "an entry's schedule time", "a schedule's task"],
)
def test_changes_that_contradict_each_other_are_refused(
    client: ContentGenerationClient, method: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(client, method)(3, **changes)


def test_a_schedule_s_task_has_the_arguments_of_a_submit(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("CreateSchedule", answer("CreateSchedule"))
    own = {"account_id", "schedule_time", "expire_time", "request_id", "unique_key", "unique_for"}
    task = {name: value for name, value in SUBMIT.items() if name not in own}
    client.create_schedule(1, "0 9 * * *", task)
    [request] = scheduler.requests("CreateSchedule")
    assert fields_set(request.template) == task.keys()
    with pytest.raises(ValueError, match="subject"):
        client.create_schedule(1, "0 9 * * *", {"subject": "news"})


def test_a_part_of_a_schedule_s_task_is_changed(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    template = pb.SubmitTaskRequest(topic="news", priority=5, labels={"order": "7"})
    present = schedule_pb.Schedule(schedule_id=3, template=template)
    scheduler.will("GetSchedule", schedule_pb.GetScheduleResponse(schedule=present))
    scheduler.will("UpdateSchedule", answer("UpdateSchedule"))
    client.update_schedule(3, task_changes={"priority": 9})
    [request] = scheduler.requests("UpdateSchedule")
    assert list(request.update_mask.paths) == ["template"]
    template.priority = 9
    assert request.schedule.template == template


def test_messages_come_as_they_are_and_what_is_not_there_raises(scheduler: ScriptedServices) -> None:
    transport = BlockingTransport(open_channel(scheduler.target, None), owned=True, token=None, timeout=TIMEOUT)
    methods = MessageMethods(transport)
    missing = Refused(grpc.StatusCode.NOT_FOUND, "there is no account 7", "RESOURCE_NOT_FOUND")
    account = answer("GetAccount").account
    scheduler.will("GetAccount", answer("GetAccount"), missing)
    scheduler.will(
        "ListAccounts",
        account_pb.ListAccountsResponse(accounts=[account], next_page_token="t"),
        answer("ListAccounts"),
    )
    assert methods.get_account(1) == account
    with pytest.raises(ResourceNotFoundException, match="there is no account 7"):
        methods.get_account(7)
    pages = methods.iter_accounts()
    assert (run(pages.next(3)), pages.token) == ([account], "t")
    assert (run(pages.next()), pages.token, run(pages.next())) == ([account], "", None)
    requests = scheduler.requests("ListAccounts")
    assert [(request.page_size, request.page_token) for request in requests] == [(3, ""), (3, "t")]
    transport.close()


def test_a_list_goes_on_after_an_empty_page(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    pages = [pb.ListTasksResponse(next_page_token="p1", tasks=[task_pb2.Task(task_id="first")])]
    pages += [pb.ListTasksResponse(next_page_token="p2"), pb.ListTasksResponse(tasks=[task_pb2.Task(task_id="second")])]
    scheduler.will("ListTasks", *pages)
    assert [task["task_id"] for task in client.iter_tasks()] == ["first", "second"]
    assert [request.page_token for request in scheduler.requests("ListTasks")] == ["", "p1", "p2"]


@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_fails_raises_an_exception_of_the_client(
    scheduler: ScriptedServices, client: ContentGenerationClient, method: str
) -> None:
    refused = Refused(grpc.StatusCode.PERMISSION_DENIED, "not for you", "ROLE_FORBIDDEN")
    scheduler.will(method, [refused] if method in STREAMS else refused)
    with pytest.raises(PermissionDenied, match="not for you") as raised:
        CALLS[method](client)
    assert raised.value.reason == "ROLE_FORBIDDEN"


@pytest.mark.parametrize("method", [method for method in METHODS if method in SAFE])
def test_idempotent_calls_are_retried_while_the_scheduler_is_away(
    scheduler: ScriptedServices, client: ContentGenerationClient, method: str
) -> None:
    scheduler.will(method, AWAY, AWAY, answer(method))
    CALLS[method](client)
    requests = scheduler.requests(method)
    assert requests == requests[:1] * 3


@pytest.mark.parametrize("method", [method for method in METHODS if method not in {*SAFE, *STREAMS}])
def test_other_calls_are_not_retried(scheduler: ScriptedServices, client: ContentGenerationClient, method: str) -> None:
    scheduler.will(method, AWAY, answer(method))
    with pytest.raises(Unavailable, match=AWAY.message):
        CALLS[method](client)
    assert len(scheduler.calls(method)) == 1


def test_the_reading_of_an_asset_goes_on_where_a_stream_ended(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    chunks = [asset_pb.GetAssetResponse(chunk=chunk) for chunk in (b"ab", b"cd", b"ef")]
    scheduler.will("GetAsset", [AWAY], [chunks[0], AWAY], [chunks[1], chunks[2]])
    data = b"abcdef"
    assert client.read_asset(hashlib.sha256(data).hexdigest()) == data
    assert [request.offset for request in scheduler.requests("GetAsset")] == [0, 0, 2]


def test_a_part_of_an_asset_is_read_once_even_if_its_stream_fails_at_the_end(
    scheduler: ScriptedServices, client: ContentGenerationClient
) -> None:
    scheduler.will("GetAsset", [asset_pb.GetAssetResponse(chunk=b"ab"), AWAY])
    assert client.read_asset("5" * 64, offset=1, length=2) == b"ab"


def test_bytes_that_are_not_those_of_the_asset_are_no_answer(
    scheduler: ScriptedServices, client: ContentGenerationClient, tmp_path: Path
) -> None:
    for _ in range(2):
        scheduler.will("GetAsset", [asset_pb.GetAssetResponse(chunk=b"ab")])
    with pytest.raises(RequestError, match="not those of asset") as raised:
        client.read_asset("5" * 64)
    assert raised.value.code == "DATA_LOSS"
    with pytest.raises(RequestError, match="not those of asset"):
        client.save_asset("5" * 64, tmp_path / "cover.png")
    assert not list(tmp_path.iterdir())


def test_an_asset_is_saved_into_a_file(
    scheduler: ScriptedServices, client: ContentGenerationClient, tmp_path: Path
) -> None:
    scheduler.will("GetAsset", [asset_pb.GetAssetResponse(chunk=b"ab")])
    assert client.save_asset(hashlib.sha256(b"ab").hexdigest(), tmp_path / "cover.png") == 2
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"ab"]
