"""Every RPC has a method on both clients: its request, and which calls are retried while the scheduler is away."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, Unpack, get_args, get_origin, get_type_hints

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from contentgen import ContentGenerationClient, PermissionDenied, RequestError, ResourceNotFoundException, Unavailable
from contentgen.client import notifications
from contentgen.client.accounts import ERASE_TIMEOUT, TRANSFER_TIMEOUT
from contentgen.client.assets import READ_TIMEOUT, UPLOAD_TIMEOUT
from contentgen.client.blocking import BlockingTransport
from contentgen.client.client import MessageMethods
from contentgen.client.connection import open_channel
from contentgen.client.routing import route
from contentgen.client.transport import run
from contentgen.client.watch import STREAM_TIMEOUT
from contentgen.client.webhooks import SENDS
from contentgen.rpcs import RPCS as ROWS
from contentgen.submit_fields import BY_NAME
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
VALUES = {str: "text", int: 3, float: 60.0, bool: True, datetime: datetime(2030, 1, 31, tzinfo=UTC)}


def arguments(method: str, **given: Any) -> dict[str, Any]:
    """Every argument of a method, the keys of its `**` too: what is given, and else a value of its type."""
    hints = get_type_hints(getattr(ContentGenerationClient, method))
    del hints["return"]
    for name, hint in [*hints.items()]:
        if get_origin(hint) is Unpack:
            del hints[name]
            hints |= get_type_hints(*get_args(hint))
    return {name: given[name] if name in given else value_of(hint) for name, hint in hints.items()}


def value_of(kind: Any) -> Any:
    """A value of this type that is none of a field's defaults."""
    origin, kinds = get_origin(kind), get_args(kind)
    if kind in VALUES:
        return VALUES[kind]
    if origin is Literal:
        return kinds[0]
    if origin in {Union, UnionType}:
        return value_of(kinds[0])
    if origin is Mapping:
        return {value_of(kinds[0]): value_of(kinds[1])}
    if origin in {Collection, Iterable, Sequence}:
        return [value_of(kinds[0])]
    raise AssertionError(f"no value is known of the type {kind}: give the argument in `GIVEN`")


SUBMIT: Any = arguments("submit_task", auto_approve=False, schedule_time="2030-01-31T08:00:00+08:00")
EDIT = {name: value for name, value in SUBMIT.items() if BY_NAME[name].changeable}
NAMED = {
    "BatchSubmitTasks": "submit_tasks",
    "GetTask": "get_task_status",
    "BatchGetTasks": "get_task_statuses",
    "ListTasks": "list_tasks",
    "WaitTask": "wait",
    "WatchTasks": "watch",
    "PollTask": "poll_single_task",
    "HandleTimeouts": "handle_timeout_tasks",
    "BatchReviewContents": "review_contents",
    "GetAsset": "read_asset",
    "GetWorkerPool": "get_worker_pool_status",
}
"""Methods of another name than their RPC has; where it is `ListThings`, that is `iter_things`."""
REVIEW = {"approve": True, "comment": "well done", "etag": "e", "reviewer": "anna", "scheduled_at": "2030-01-31"}
GIVEN: dict[str, dict[str, Any]] = {
    "BatchSubmitTasks": {"tasks": [SUBMIT, SUBMIT]},
    "UpdateTask": {"unschedule": False, "unexpire": False},
    "WaitTask": {"timeout": None, "check": False},
    "WatchTasks": {"account_id": None, "until_ended": False},
    "BatchReviewContents": {"reviews": [{"content_id": 7, **REVIEW}]},
    "UpdatePublishPoolEntry": {"unschedule": False},
    "GetAsset": {"length": 2},
    "UploadAsset": {"data": b"ab"},
    "ImportAccount": {"path": __file__},
    "CreateSchedule": {"task": {"topic": "news"}},
    "UpdateSchedule": {"task": {"topic": "news"}, "task_changes": None},
}
"""Arguments that do not follow from the types of their parameters."""


def make_call(client: ContentGenerationClient, rpc: str) -> None:
    """Calls the method of an RPC with every argument; of a list it takes all, of a stream the first."""
    name = NAMED.get(rpc) or re.sub(r"(?<!^)(?=[A-Z])", "_", rpc).lower().replace("list_", "iter_")
    result = getattr(client, name)(**arguments(name, **GIVEN.get(rpc, {})))
    if name.startswith("iter_"):
        list(result)
    elif name in {"watch", "tail_attempt"}:
        with contextlib.closing(result):
            next(result)


BEYOND: dict[str, float] = {
    "BulkCancelTasks": 600,
    "BulkRetryTasks": 600,
    "CleanupTasks": 600,
    "WaitTask": 60,
    "WatchTasks": STREAM_TIMEOUT - TIMEOUT,
    "TailAttempt": STREAM_TIMEOUT - TIMEOUT,
    "PollRunningTasks": 10,
    "PollTask": 10,
    "HandleTimeouts": 600,
    "EraseAccount": ERASE_TIMEOUT,
    "ExportAccount": TRANSFER_TIMEOUT,
    "ImportAccount": TRANSFER_TIMEOUT,
    "GetAsset": READ_TIMEOUT,
    "UploadAsset": UPLOAD_TIMEOUT,
    "PingWebhook": SENDS,
    **dict.fromkeys(("CreateChannel", "UpdateChannel", "TestChannel"), notifications.SENDS),
}
"""Seconds that a call may take beyond TIMEOUT."""
UNSET: dict[str, set[str]] = {
    "ListTasks": {"labels", "schedule_id"},
    "BulkRetryTasks": {"statuses"},
    "WatchTasks": {"account_id"},
    "BatchReviewContents": {"reviewer"},
    "ReportPublished": {"published"},
    "RedeliverWebhook": {"webhook_id", "status", "limit"},
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
    if method == "TailAttempt":
        return [pb.TailAttemptResponse(output="half of it", attempt=1), SILENCE]
    if method == "ExportAccount":
        return [account_pb.ExportAccountResponse(chunk=b"ab")]
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


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where calls write files by a name."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scheduler(server: ScriptedServices) -> ScriptedServices:
    server.start_over()
    return server


@pytest.mark.parametrize("method", METHODS)
def test_a_method_makes_the_rpc_with_all_fields_a_deadline_the_token_and_its_route(
    scheduler: ScriptedServices, client: ContentGenerationClient, method: str
) -> None:
    scheduler.will(method, answer(method))
    make_call(client, method)
    [call] = scheduler.calls(method)
    beyond = BEYOND.get(method, 0.0)
    assert abs(call.limit - (TIMEOUT + beyond)) < max(SLACK, beyond / 60)
    assert call.metadata["authorization"] == "Bearer secret"
    assert call.metadata.items() >= dict(route(call.request)).items()
    assert fields_set(call.request) == {field.name for field in call.request.DESCRIPTOR.fields} - {
        "page_token",
        *UNSET.get(method, ()),
    }


def fields_set(request: Message) -> set[str]:
    return {field.name for field, _ in request.ListFields()}


def test_a_submit_can_set_every_field(scheduler: ScriptedServices, client: ContentGenerationClient) -> None:
    scheduler.will("BatchSubmitTasks", answer("BatchSubmitTasks"))
    timed: Any = {**SUBMIT, "schedule_time": datetime(2030, 1, 31, tzinfo=UTC)}
    client.submit_tasks([SUBMIT, timed])
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
    task: Any = {name: value for name, value in SUBMIT.items() if name not in own}
    client.create_schedule(1, "0 9 * * *", task)
    [request] = scheduler.requests("CreateSchedule")
    assert fields_set(request.template) == task.keys()
    with pytest.raises(ValueError, match="subject"):
        client.create_schedule(1, "0 9 * * *", {"subject": "news"})  # type: ignore[typeddict-item, typeddict-unknown-key]


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
        "ListAccounts", account_pb.ListAccountsResponse(accounts=[account], next_page_token="t"), answer("ListAccounts")
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
        make_call(client, method)
    assert raised.value.reason == "ROLE_FORBIDDEN"


@pytest.mark.parametrize("method", [method for method in METHODS if method in SAFE])
def test_idempotent_calls_are_retried_while_the_scheduler_is_away(
    scheduler: ScriptedServices, client: ContentGenerationClient, method: str
) -> None:
    scheduler.will(method, AWAY, AWAY, answer(method))
    make_call(client, method)
    requests = scheduler.requests(method)
    assert requests == requests[:1] * 3


@pytest.mark.parametrize("method", [method for method in METHODS if method not in {*SAFE, *STREAMS}])
def test_other_calls_are_not_retried(scheduler: ScriptedServices, client: ContentGenerationClient, method: str) -> None:
    scheduler.will(method, AWAY, answer(method))
    with pytest.raises(Unavailable, match=AWAY.message):
        make_call(client, method)
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
