"""A token that is tied to accounts, on every RPC of the descriptors: objects of other accounts are not found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from contentgen.rpcs import METHODS, RPCS
from contentgen.rpcs import accounts_of as accounts_named_by
from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.replica.replica import Replica
from tests.harness.client import not_found, refused
from tests.harness.cluster import Databases
from tests.harness.credentials import Caller, line, write
from tests.harness.pictures import sha256
from tests.harness.replicas import channel_to, serving
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stack import running_stack

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("unchanged")]


@dataclass(frozen=True, slots=True)
class Holdings:
    """An account's objects: a task in each of some states, and contents of the completed ones."""

    account_id: int
    waiting: str
    failed: str
    done: list[str]
    published: str
    """The content that is in the publish pool."""
    to_review: str
    schedule: str
    webhook_id: str
    channel_id: str
    delivery_id: str
    asset: str
    """The SHA-256 of a file that only the content `published` has."""


@dataclass(frozen=True, slots=True)
class World:
    """Accounts 1 (own) and 2 (foreign) with equal objects; `tied` is an operator's token of account 1 alone."""

    channel: aio.Channel
    tied: Caller
    free: Caller
    own: Holdings
    foreign: Holdings


Check = Callable[[World, str], Awaitable[None]]
ABSENT = {
    **dict.fromkeys(["content", "schedule", "webhook", "delivery", "channel"], "999999"),
    "task": "task-0000000000000000",
    "asset": "0" * 64,
}
"""Ids that never were, by the type of the object."""
SCHEDULE: dict[str, Any] = {"cron": "0 0 1 1 *", "template": {"topic": "a topic"}, "paused": True}


@dataclass(frozen=True, slots=True)
class Furnished:
    """What each test begins with: a database that is copied, and the folder of the files, which none changes."""

    database: str
    assets: Path
    tokens: Path
    own: Holdings
    foreign: Holdings


@pytest.fixture(scope="module")
def furnished(databases: Databases, template: str, tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    folder = tmp_path_factory.mktemp("binding")
    lines = [
        line("free", "operator"),
        line("tied", "operator", [1]),
        line("w", "worker"),
        line("both", "client", [1, 2]),
        line("site", "publisher", [1]),
        line("screen", "viewer", [1]),
    ]
    database, tokens = databases.create(template), write(folder / "tokens", *lines)
    own, foreign = asyncio.run(_furnish(databases.url(database), tokens, folder))
    return Furnished(database, folder, tokens, own, foreign)


async def _furnish(url: str, tokens: Path, assets: Path) -> tuple[Holdings, Holdings]:
    async with (
        serving(url, tokens_file=tokens, webhook_allow="127.0.0.1", assets=assets) as replica,
        channel_to(replica) as channel,
        ScriptedWorker(channel, token="w-token") as worker,
    ):
        free = Caller(channel, "free-token")
        for name in ("own", "foreign"):
            await free("AccountService/CreateAccount", name=name)
        return await _holdings(free, worker, 1), await _holdings(free, worker, 2)


@pytest.fixture(scope="module")
def unchanged(databases: Databases, furnished: Furnished) -> Iterator[str]:
    """The address of a scheduler for all tests that only read, or are refused."""
    with databases.lent(furnished.database) as url, running_stack(url) as stack:
        scheduler = stack.scheduler(
            CONTENTGEN_TOKENS_FILE=str(furnished.tokens),
            CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1",
            CONTENTGEN_ASSETS=str(furnished.assets),
        )
        yield scheduler.start().target


@pytest.fixture
async def replica(databases: Databases, furnished: Furnished) -> AsyncIterator[Replica]:
    with databases.lent(furnished.database) as url:
        async with serving(
            url, tokens_file=furnished.tokens, webhook_allow="127.0.0.1", assets=furnished.assets
        ) as replica:
            yield replica


@pytest.fixture
def target(request: pytest.FixtureRequest) -> str:
    """A test that changes something names `replica`, its own."""
    if "replica" in request.fixturenames:
        return f"127.0.0.1:{request.getfixturevalue('replica').port}"
    return str(request.getfixturevalue("unchanged"))


@pytest.fixture
def world(channel: aio.Channel, furnished: Furnished) -> World:
    tied, free = Caller(channel, "tied-token"), Caller(channel, "free-token")
    return World(channel, tied, free, furnished.own, furnished.foreign)


async def _holdings(free: Caller, worker: ScriptedWorker, account_id: int) -> Holdings:
    async def submit(**fields: Any) -> str:
        answer = await free("TaskService/SubmitTask", account_id=account_id, topic=f"of {account_id}", **fields)
        return str(answer["task"]["task_id"])

    done = [await submit(), await submit(auto_approve=False)]
    contents: list[str] = []
    files: list[str] = []
    for task_id in done:
        lease = await worker.run()
        data = f"a file of {account_id} {len(contents)}".encode()
        await worker.upload(lease, data)
        named = worker_pb.ResultAsset(name="a file", sha256=sha256(data), size=len(data))
        await worker.complete(lease, assets=[named])
        files.append(named.sha256)
        contents.append((await free("TaskService/GetTask", task_id=task_id))["task"]["content_id"])
    failed = await submit(auto_retry=False)
    await worker.fail(await worker.run())
    waiting = await submit(schedule_time="2100-01-01T00:00:00Z")
    created = await free("ScheduleService/CreateSchedule", account_id=account_id, **SCHEDULE)
    schedule = created["schedule"]["schedule_id"]
    hook = await free(
        "WebhookService/CreateWebhook", account_id=account_id, url="https://127.0.0.1:1/", event_types=["task.ended"]
    )
    webhook_id = hook["webhook"]["webhook_id"]
    ping = await free("WebhookService/PingWebhook", webhook_id=webhook_id)
    delivery_id = ping["delivery"]["delivery_id"]
    fields = {"url": "json://127.0.0.1:1/", "event_types": ["task.failed"], "account_ids": [account_id]}
    channel_id = (await free("NotificationService/CreateChannel", channel=fields))["channel"]["channel_id"]
    published, to_review = contents
    ids = (published, to_review, schedule, webhook_id, channel_id, delivery_id, files[0])
    return Holdings(account_id, waiting, failed, done, *ids)


async def forbidden(world: World, rpc: str, **fields: Any) -> None:
    with refused(StatusCode.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN"):
        await world.tied(rpc, **fields)


def named(path: str, value: Any, **more: Any) -> dict[str, Any]:
    """A request with a value at a path such as `account.account_id`, and more fields, beside it, too."""
    request = value
    for part in reversed(path.split(".")):
        request = {part: request}
    for field, further in more.items():
        request[field] = {**request[field], **further} if field in request else further
    return dict(request)


HELD: dict[str, Callable[[Holdings], Iterable[str]]] = {
    "task": lambda held: (held.waiting, held.failed, *held.done),
    "content": lambda held: (held.published, held.to_review),
    "schedule": lambda held: [held.schedule],
    "webhook": lambda held: [held.webhook_id],
    "delivery": lambda held: [held.delivery_id],
    "channel": lambda held: [held.channel_id],
    "asset": lambda held: [held.asset],
}
"""The ids of what an account has, by the type of the object."""


def of_object(kind: str, path: str = "", **more: Any) -> Check:
    """An RPC about an object: for a foreign one it has the same answer as for one that does not exist."""

    async def check(world: World, rpc: str) -> None:
        for object_id in (*HELD[kind](world.foreign), ABSENT[kind]):
            with not_found(kind, object_id):
                await world.tied(rpc, **named(path or f"{kind}_id", object_id, **more))

    return check


async def create_webhook(world: World, rpc: str) -> None:
    fields: dict[str, Any] = {"url": "https://127.0.0.1:1/", "event_types": ["task.ended"]}
    await of_account()(world, rpc)
    await forbidden(world, rpc)
    assert (await world.tied(rpc, account_id=1, **fields))["webhook"]["account_id"] == "1"


async def create_channel(world: World, rpc: str) -> None:
    fields: dict[str, Any] = {"url": "json://127.0.0.1:1/", "event_types": ["task.failed"]}
    for account_ids in ([], [2], [1, 2], [999]):
        await forbidden(world, rpc, channel={**fields, "account_ids": account_ids})
    made = await world.tied(rpc, channel={**fields, "account_ids": [1]})
    assert made["channel"]["account_ids"] == ["1"]


async def update_channel(world: World, rpc: str) -> None:
    await of_object("channel", "channel.channel_id", update_mask="active")(world, rpc)
    for account_ids in ([], [2], [1, 2]):
        channel = {"channel_id": world.own.channel_id, "account_ids": account_ids}
        await forbidden(world, rpc, channel=channel, update_mask="accountIds")


async def of_asset(world: World, rpc: str) -> None:
    await of_object("asset", "sha256")(world, rpc)
    assert await world.tied(rpc, sha256=world.own.asset)


async def redeliver(world: World, rpc: str) -> None:
    await of_object("delivery")(world, rpc)
    await of_object("webhook", status="DELIVERY_STATUS_EXHAUSTED")(world, rpc)


def of_account(path: str = "account_id", **more: Any) -> Check:
    """An RPC about an account: another one is forbidden, whether it exists or not, and whatever else is wrong."""

    async def check(world: World, rpc: str) -> None:
        for account_id in (2, 999):
            await forbidden(world, rpc, **named(path, account_id, **more))

    return check


def shows(own: object, read: Callable[[dict[str, Any]], Any], **fields: Any) -> Check:
    """An RPC that names no account: it shows what is of the token's own accounts, or of none."""

    async def check(world: World, rpc: str) -> None:
        assert read(await world.tied(rpc, **fields)) == own

    return check


def unnamed(own: object, read: Callable[[dict[str, Any]], Any]) -> Check:
    """An RPC that may name an account: 0 means the token's own accounts, and another one is forbidden."""

    async def check(world: World, rpc: str) -> None:
        await of_account()(world, rpc)
        await shows(own, read)(world, rpc)

    return check


def of_claimed(**more: Any) -> Check:
    """An RPC about an entry that is claimed: who is not tied to an account reaches the foreign one."""

    async def check(world: World, rpc: str) -> None:
        (entry,) = (await world.free("ContentService/ClaimPublishPool", account_id=2))["entries"]
        await of_object("content", claim_id=entry["claim_id"], **more)(world, rpc)
        assert (await world.free(rpc, content_id=entry["content_id"], claim_id=entry["claim_id"], **more))["entry"]

    return check


def accounts_of(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda answer: {entry["account_id"] for entry in answer[key]}


async def by_its_ids(world: World, rpc: str) -> None:
    """An RPC without a check: it is for all accounts by its row, or names an object by `KIND_id`, or an account."""
    if RPCS[rpc].all_accounts and not accounts_named_by(rpc):
        await forbidden(world, rpc)
        return
    fields = METHODS[rpc].input_type.fields_by_name
    kind = next((kind for kind in HELD if f"{kind}_id" in fields), None)
    if kind:
        await of_object(kind)(world, rpc)
        return
    await of_account()(world, rpc)
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"):
        await world.tied(rpc)


async def batch_of_submits(world: World, rpc: str) -> None:
    requests = [{"account_id": account_id, "topic": "a topic"} for account_id in (1, 2)]
    await forbidden(world, rpc, requests=requests)
    assert len((await world.tied("TaskService/ListTasks"))["tasks"]) == 4, "nothing of it was taken"


async def batch_of_gets(world: World, rpc: str) -> None:
    answer = await world.tied(rpc, task_ids=[world.foreign.waiting, world.own.waiting, world.foreign.failed])
    assert [task["task_id"] for task in answer["tasks"]] == [world.own.waiting]
    assert answer["missing_task_ids"] == [world.foreign.waiting, world.foreign.failed]


async def list_tasks(world: World, rpc: str) -> None:
    await of_account("filter.account_id")(world, rpc)
    await unnamed(OWN, accounts_of("tasks"))(world, rpc)
    assert accounts_of("tasks")(await world.tied(rpc, filter={"topic": "of"})) == OWN


async def bulk_cancel(world: World, rpc: str) -> None:
    await of_account("filter.account_id")(world, rpc)
    assert (await world.tied(rpc, force=True))["changed_count"] == 1
    assert await _status(world, world.own.waiting) == "TASK_STATUS_CANCELLED"
    assert await _status(world, world.foreign.waiting) == "TASK_STATUS_PENDING"


async def bulk_retry(world: World, rpc: str) -> None:
    await of_account()(world, rpc)
    await of_account("filter.account_id")(world, rpc)
    assert (await world.tied(rpc))["retried_count"] == 1
    assert await _status(world, world.own.failed) == "TASK_STATUS_PENDING"
    assert await _status(world, world.foreign.failed) == "TASK_STATUS_FAILED"


async def cleanup(world: World, rpc: str) -> None:
    await of_account(days=0)(world, rpc)
    await of_account("filter.account_id", days=0)(world, rpc)
    assert (await world.tied(rpc, days=0, dry_run=True))["deleted_count"] == 3
    assert (await world.tied(rpc, days=0))["deleted_count"] == 3
    assert await _status(world, world.foreign.failed) == "TASK_STATUS_FAILED"


async def _status(world: World, task_id: str) -> Any:
    return (await world.free("TaskService/GetTask", task_id=task_id))["task"]["status"]


async def stats(world: World, rpc: str) -> None:
    await of_account()(world, rpc)
    assert (await world.tied(rpc))["counts"] == (await world.free(rpc, account_id=1))["counts"]
    assert (await world.free(rpc))["counts"]["completed"] == "4"


async def history(world: World, rpc: str) -> None:
    await of_account()(world, rpc)
    assert await world.tied(rpc, resolution="RESOLUTION_DAY") == await world.free(
        rpc, account_id=1, resolution="RESOLUTION_DAY"
    )
    assert (await world.free(rpc, resolution="RESOLUTION_DAY"))["points"][-1]["counts"]["completed"] == "4"


async def pool_of_workers(world: World, rpc: str) -> None:
    async with ScriptedWorker(world.channel, hello(session_number=2), "w-token") as worker:
        worker.last_error = "what a task of account 2 failed with"
        await worker.heartbeat(0)
        tied, free = await world.tied(rpc), await world.free(rpc)
    assert (tied["total_queue_size"], free["total_queue_size"]) == ("1", "2")
    assert [worker["unhealthy"] for worker in tied["workers"]] == [True]
    assert "last_error" not in tied["workers"][0]
    assert free["workers"][0]["last_error"] == "what a task of account 2 failed with"


async def batch_of_reviews(world: World, rpc: str) -> None:
    decision = {"decision": "REVIEW_DECISION_REJECT"}
    named = [world.own.to_review, world.foreign.to_review]
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await world.tied(rpc, requests=[{"content_id": content_id, **decision} for content_id in named])
    assert refusal.metadata["resource_id"] == world.foreign.to_review
    await world.tied(rpc, requests=[{"content_id": world.own.to_review, **decision}])


async def claim_review(world: World, rpc: str) -> None:
    await of_account()(world, rpc)
    claimed = await world.tied(rpc)
    assert claimed["content"]["content_id"] == world.own.to_review
    assert claimed["content"]["review_holder"] == "tied"
    assert await world.tied(rpc) == {}
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await world.tied(rpc, content_id=world.foreign.to_review)
    assert await world.tied(rpc, content_id=world.own.to_review, account_id=2), "the account is ignored"


async def claim(world: World, rpc: str) -> None:
    await of_account(limit=10)(world, rpc)
    entries = (await world.tied(rpc, limit=10))["entries"]
    assert [entry["content_id"] for entry in entries] == [world.own.published]


async def watch(world: World, rpc: str) -> None:
    await of_account()(world, rpc)
    for task_ids in ([world.foreign.waiting], [world.own.waiting, world.foreign.waiting]):
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await world.tied(rpc, task_ids=task_ids)
        assert refusal.metadata["resource_id"] == world.foreign.waiting
    for selection in ({"account_id": 1}, {}):
        assert (await world.tied(rpc, **selection))["event"]["task"]["task_id"] == world.own.waiting


async def dispatch(world: World, rpc: str) -> None:
    await of_account()(world, rpc)
    await forbidden(world, rpc)
    await world.tied(rpc, account_id=1)


async def dispatch_status(world: World, rpc: str) -> None:
    for account_id in (2, 1, 0):
        await world.free("WorkerPoolService/PauseDispatch", account_id=account_id)
    assert await world.free(rpc) == {"all_paused": True, "paused_account_ids": ["1", "2"]}
    assert await world.tied(rpc) == {"all_paused": True, "paused_account_ids": ["1"]}
    for account_id in (0, 1):
        await world.free("WorkerPoolService/ResumeDispatch", account_id=account_id)
    assert (await world.free(rpc), await world.tied(rpc)) == ({"paused_account_ids": ["2"]}, {})


OWN = {"1"}
REACHING: dict[str, Check] = {
    "TaskService/BatchSubmitTasks": batch_of_submits,
    "TaskService/BatchGetTasks": batch_of_gets,
    "TaskService/ListTasks": list_tasks,
    "TaskService/CancelTask": of_object("task", force=True),
    "TaskService/UpdateTask": of_object("task", "task.task_id", update_mask="tone"),
    "TaskService/WaitTask": of_object("task", timeout="0s"),
    "TaskService/WatchTasks": watch,
    "TaskService/GetTaskStats": stats,
    "TaskService/GetTaskHistory": history,
    "TaskService/PollRunningTasks": unnamed({}, lambda answer: answer),
    "TaskService/HandleTimeouts": unnamed({}, lambda answer: answer),
    "SystemService/GetCaller": shows(["1"], itemgetter("account_ids")),
    "AuditService/ListAuditEvents": unnamed(OWN, accounts_of("events")),
    "ContentService/ListContents": unnamed(OWN, accounts_of("contents")),
    "ContentService/ReviewContent": of_object("content", decision="REVIEW_DECISION_APPROVE"),
    "ContentService/RestoreContentRevision": of_object("content", revision=1),
    "ContentService/UploadAsset": of_object("content", name="a.txt", chunk="YQ=="),
    "ContentService/RemoveAsset": of_object("content", name="a.txt"),
    "ContentService/AddComment": of_object("content", text="well done"),
    "ContentService/RegenerateContent": of_object("content", feedback="shorter"),
    "ContentService/UpdateContent": of_object(
        "content", "content.content_id", content={"title": "another"}, update_mask="title"
    ),
    "ContentService/ListPublishPool": unnamed(OWN, accounts_of("entries")),
    "ContentService/UpdatePublishPoolEntry": of_object(
        "content", "entry.content_id", entry={"priority": 1}, update_mask="priority"
    ),
    "ScheduleService/GetNextRuns": shows(5, lambda answer: len(answer["next_run_times"]), cron="0 0 1 1 *"),
    "ScheduleService/ListSchedules": unnamed(OWN, accounts_of("schedules")),
    "ScheduleService/UpdateSchedule": of_object("schedule", "schedule.schedule_id", update_mask="paused"),
    "WebhookService/ListWebhooks": unnamed(OWN, accounts_of("webhooks")),
    "WebhookService/UpdateWebhook": of_object("webhook", "webhook.webhook_id", update_mask="active"),
    "WebhookService/RedeliverWebhook": redeliver,
    "NotificationService/ListChannels": shows(["1"], lambda answer: answer["channels"][0]["account_ids"]),
    "NotificationService/UpdateChannel": update_channel,
    "AssetService/GetAsset": of_asset,
    "AssetService/GetAssetInfo": of_asset,
    "AccountService/ListAccounts": shows(OWN, accounts_of("accounts")),
    "AccountService/UpdateAccount": of_account("account.account_id", update_mask="active"),
}
"""Of the RPCs that change nothing here, if their rows and ids are not all that there is to say: see `by_its_ids`."""
CHANGING: dict[str, Check] = {
    "TaskService/BulkCancelTasks": bulk_cancel,
    "TaskService/BulkRetryTasks": bulk_retry,
    "TaskService/CleanupTasks": cleanup,
    "WorkerPoolService/GetWorkerPool": pool_of_workers,
    "WorkerPoolService/PauseDispatch": dispatch,
    "WorkerPoolService/ResumeDispatch": dispatch,
    "WorkerPoolService/GetDispatchStatus": dispatch_status,
    "ContentService/BatchReviewContents": batch_of_reviews,
    "ContentService/ClaimReview": claim_review,
    "ContentService/ClaimPublishPool": claim,
    "ContentService/RenewPublishClaim": of_claimed(),
    "ContentService/ReportPublished": of_claimed(published=True),
    "WebhookService/CreateWebhook": create_webhook,
    "NotificationService/CreateChannel": create_channel,
}
"""Of those that change what is the token's own, or for which something else has to be changed."""


@pytest.mark.parametrize("rpc", [rpc for rpc in METHODS if rpc not in CHANGING])
async def test_objects_of_another_account_cannot_be_reached(world: World, rpc: str) -> None:
    await REACHING.get(rpc, by_its_ids)(world, rpc)


@pytest.mark.parametrize("rpc", CHANGING)
async def test_objects_of_another_account_are_not_changed(replica: Replica, world: World, rpc: str) -> None:
    await CHANGING[rpc](world, rpc)


async def test_a_token_of_several_accounts_reads_one_list(replica: Replica, world: World, channel: aio.Channel) -> None:
    both = Caller(channel, "both-token")
    tasks, token = [], ""
    while True:
        page = await both("TaskService/ListTasks", page_size=3, page_token=token)
        tasks += [task["task_id"] for task in page["tasks"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert tasks == [task["task_id"] for task in (await world.free("TaskService/ListTasks"))["tasks"]]
    for rpc, key in (("ListContents", "contents"), ("ListPublishPool", "entries")):
        answers = [await caller(f"ContentService/{rpc}") for caller in (both, world.free)]
        assert answers[0][key] == answers[1][key]
    counts = [(await caller("TaskService/GetTaskStats"))["counts"] for caller in (both, world.free)]
    assert counts[0] == counts[1]
    claimed = (await both("ContentService/ClaimPublishPool", limit=1))["entries"]
    assert [entry["content_id"] for entry in claimed] == [world.own.published], "the oldest of both"


async def test_a_publisher_s_token_publishes_what_is_of_its_accounts_under_its_name(
    replica: Replica, world: World, channel: aio.Channel
) -> None:
    site, screen = Caller(channel, "site-token"), Caller(channel, "screen-token")
    (entry,) = (await site("ContentService/ClaimPublishPool", limit=10, publisher="another"))["entries"]
    assert (entry["content_id"], entry["publisher"]) == (world.own.published, "site")
    claim = {"content_id": entry["content_id"], "claim_id": entry["claim_id"]}
    assert (await site("ContentService/RenewPublishClaim", **claim))["entry"]["claim_id"] == entry["claim_id"]
    assert (await site("ContentService/ReportPublished", published=True, **claim))["entry"]["attempt_count"] == 1
    listed = [await who("ContentService/ListPublishPool") for who in (site, world.tied, screen)]
    assert [pool["entries"][0].get("claim_id", "") for pool in listed] == [entry["claim_id"], entry["claim_id"], ""]
    for reader in (site, screen):
        read = await reader("ContentService/ListPublishAttempts", content_id=entry["content_id"])
        assert [attempt["publisher"] for attempt in read["attempts"]] == ["site"]
        assert accounts_of("contents")(await reader("ContentService/ListContents")) == OWN
        with refused(StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN"):
            await reader("ContentService/RetryPublish", content_id=entry["content_id"])
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await reader("ContentService/GetContent", content_id=world.foreign.published)
    with refused(StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN"):
        await screen("ContentService/ClaimPublishPool")


async def test_a_webhook_s_address_is_shown_to_those_who_may_change_it(world: World, channel: aio.Channel) -> None:
    for rpc in ("WebhookService/ListWebhooks", "WebhookService/GetWebhook"):
        fields = {} if rpc.endswith("ListWebhooks") else {"webhook_id": world.own.webhook_id}
        read = [await who(rpc, **fields) for who in (world.tied, Caller(channel, "screen-token"))]
        urls = [(answer.get("webhook") or answer["webhooks"][0]).get("url", "") for answer in read]
        assert urls[0] == "https://127.0.0.1:1/"
        assert urls[1] == ""
