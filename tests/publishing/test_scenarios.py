"""An article's whole way, from submit to publish pool and webhook, with real processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import pytest
import sqlalchemy as sa

from contentgen import AsyncContentGenerationClient, EventType
from contentgen.v1 import content_service_pb2 as content_pb
from scheduler_svc.postgres.server import EmbeddedPostgres
from tests.command.transcript import run
from tests.harness.receivers import Receiver, receiving
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.e2e


# What people and programs do with an article, by the client's library or by the command; both come to the same.


Json = dict[str, Any]


class Desk(Protocol):
    async def create_account(self) -> int: ...

    async def create_webhook(self, url: str, event_types: list[EventType]) -> str:
        """Its secret."""
        ...

    async def create_schedule(self, account_id: int, cron: str, topic: str) -> int:
        """Its contents wait for a review."""
        ...

    async def contents(self, review_status: str) -> list[Json]: ...

    async def edit(self, content_id: int, title: str) -> None: ...

    async def regenerate(self, content_id: int, feedback: str) -> None: ...

    async def approve(self, content_id: int) -> None: ...

    async def reopen(self, content_id: int) -> None: ...

    async def schedule_publication(self, content_id: int, time: str) -> None: ...

    async def claim(self) -> Json | None:
        """An entry of the publish pool."""
        ...

    async def report_failed(self, entry: Json, error: str) -> Json:
        """The entry after it."""
        ...

    async def report_published(self, entry: Json, url: str) -> None: ...

    async def retry_publish(self, content_id: int) -> None: ...

    async def attempts(self, content_id: int) -> list[Json]:
        """To publish it."""
        ...

    async def audit(self) -> list[Json]:
        """Newest first."""
        ...


class ByClient:
    """Each step has a client of its own: one that has met a dead scheduler would wait before it connects again."""

    def __init__(self, target: str) -> None:
        self._target = target

    def _client(self) -> AsyncContentGenerationClient:
        return AsyncContentGenerationClient(self._target)

    async def create_account(self) -> int:
        async with self._client() as client:
            return (await client.create_account("news"))["account_id"]

    async def create_webhook(self, url: str, event_types: list[EventType]) -> str:
        async with self._client() as client:
            return (await client.create_webhook(url, event_types))["secret"]

    async def create_schedule(self, account_id: int, cron: str, topic: str) -> int:
        async with self._client() as client:
            task = {"topic": topic, "auto_approve": False}
            return (await client.create_schedule(account_id, cron, task))["schedule_id"]

    async def contents(self, review_status: str) -> list[Json]:
        async with self._client() as client:
            listed = client.iter_contents(review_status=cast("Any", review_status))
            return [cast("Json", content) async for content in listed]

    async def edit(self, content_id: int, title: str) -> None:
        async with self._client() as client:
            await client.update_content(content_id, title=title)

    async def regenerate(self, content_id: int, feedback: str) -> None:
        async with self._client() as client:
            await client.regenerate_content(content_id, feedback)

    async def approve(self, content_id: int) -> None:
        async with self._client() as client:
            await client.review_content(content_id, approve=True)

    async def reopen(self, content_id: int) -> None:
        async with self._client() as client:
            await client.reopen_content(content_id)

    async def schedule_publication(self, content_id: int, time: str) -> None:
        async with self._client() as client:
            await client.update_publish_pool_entry(content_id, schedule_time=time)

    async def claim(self) -> Json | None:
        async with self._client() as client:
            claimed = await client.claim_publish_pool()
            return cast("Json", claimed[0]) if claimed else None

    async def report_failed(self, entry: Json, error: str) -> Json:
        async with self._client() as client:
            reported = await client.report_published(entry["content_id"], entry["claim_id"], error=error)
            return cast("Json", reported)

    async def report_published(self, entry: Json, url: str) -> None:
        async with self._client() as client:
            await client.report_published(entry["content_id"], entry["claim_id"], url=url)

    async def retry_publish(self, content_id: int) -> None:
        async with self._client() as client:
            await client.retry_publish(content_id)

    async def attempts(self, content_id: int) -> list[Json]:
        async with self._client() as client:
            return [cast("Json", attempt) async for attempt in client.iter_publish_attempts(content_id)]

    async def audit(self) -> list[Json]:
        async with self._client() as client:
            return [cast("Json", event) async for event in client.iter_audit_events()]


class ByCommand:
    """Each step is a run of `contentgen`, in the test's own process."""

    def __init__(self, target: str) -> None:
        self._target = target

    async def create_account(self) -> int:
        return int((await self._run("account", "create", "news"))["account_id"])

    async def create_webhook(self, url: str, event_types: list[EventType]) -> str:
        options = [option for event_type in event_types for option in ("--event", event_type)]
        return str((await self._run("webhook", "create", url, *options))["secret"])

    async def create_schedule(self, account_id: int, cron: str, topic: str) -> int:
        options = ("--account", str(account_id), "--cron", cron, "--no-auto-approve")
        return int((await self._run("schedule", "create", *options, topic))["schedule_id"])

    async def contents(self, review_status: str) -> list[Json]:
        return list(await self._run("content", "list", "--review", review_status))

    async def edit(self, content_id: int, title: str) -> None:
        await self._run("content", "edit", str(content_id), "--title", title)

    async def regenerate(self, content_id: int, feedback: str) -> None:
        await self._run("content", "regenerate", str(content_id), "--feedback", feedback)

    async def approve(self, content_id: int) -> None:
        await self._run("content", "review", str(content_id), "--approve")

    async def reopen(self, content_id: int) -> None:
        await self._run("content", "reopen", str(content_id))

    async def schedule_publication(self, content_id: int, time: str) -> None:
        await self._run("pool", "update", str(content_id), "--schedule-time", time)

    async def claim(self) -> Json | None:
        return next(iter(await self._run("pool", "claim")), None)

    async def report_failed(self, entry: Json, error: str) -> Json:
        options = (str(entry["content_id"]), entry["claim_id"], "--failed", "--error", error)
        return Json(await self._run("pool", "report", *options))

    async def report_published(self, entry: Json, url: str) -> None:
        await self._run("pool", "report", str(entry["content_id"]), entry["claim_id"], "--published", "--url", url)

    async def retry_publish(self, content_id: int) -> None:
        await self._run("pool", "retry", str(content_id))

    async def attempts(self, content_id: int) -> list[Json]:
        return list(await self._run("pool", "attempts", str(content_id)))

    async def audit(self) -> list[Json]:
        return list(await self._run("audit", "list"))

    async def _run(self, *arguments: str) -> Any:
        """What it prints as JSON; a step that fails fails the test, with what it said."""
        with ThreadPoolExecutor(1) as beside:  # the test's event loop, where the webhooks come
            ran = await asyncio.wrap_future(
                beside.submit(run, "--scheduler", self._target, "--output=json", *arguments)
            )
        assert ran.status == 0, f"contentgen {' '.join(arguments)}: {ran.err}"
        return json.loads(ran.out)


# An article's whole way, by schedule, editor, publish pool and webhook.
#
# By the client everything is killed after each step; by the command nothing is.


T = TypeVar("T")
LIMIT = 90.0
"""Seconds until each step is done: services that were killed are started again first, on a machine that is busy."""
EVENTS: list[EventType] = [
    "task.ended",
    "content.pending_review",
    "content.approved",
    "content.rejected",
    "publish.published",
    "publish.failed",
]
EXPECTED = [
    *["content.approved approved"] * 2,
    *["content.pending_review pending_review"] * 3,
    "content.rejected rejected",
    "publish.failed failed",
    "publish.published published",
    *["task.ended completed"] * 2,
]
"""The events of two articles; the second one was approved, reopened and approved again, and failed for good once."""
AUDIT = [
    "AccountService/CreateAccount account:{account}",
    "WebhookService/CreateWebhook webhook:1",
    "ScheduleService/CreateSchedule schedule:1",
    "ContentService/UpdateContent content:{draft}",
    "ContentService/RegenerateContent content:{draft}",
    "ContentService/ReviewContent content:{article}",
    "ContentService/ReopenContent content:{article}",
    "ContentService/ReviewContent content:{article}",
    "ContentService/UpdatePublishPoolEntry content:{article}",
    *["ContentService/ClaimPublishPool content:{article}", "ContentService/ReportPublished content:{article}"] * 2,
    "ContentService/RetryPublish content:{article}",
    *["ContentService/ClaimPublishPool content:{article}", "ContentService/ReportPublished content:{article}"],
]
"""What the audit tells of it."""
TICK = """
    UPDATE schedules SET cron = to_char(create_time AT TIME ZONE 'UTC', 'MI HH24 DD MM') || ' *',
        next_tick = date_trunc('minute', create_time), due_time = create_time
"""
"""The minute may have passed between the clock's reading for the cron and the schedule's creation."""


class Everything:
    """A scheduler and a worker."""

    def __init__(self, stack: Stack, database_url: str = EMBEDDED) -> None:
        """EMBEDDED: with a PostgreSQL that dies with them, wherever they may; else nothing dies."""
        self._database_url = database_url
        self.scheduler: Scheduler = stack.scheduler(
            database_url=database_url,
            CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1",
            CONTENTGEN_MAX_PUBLISH_ATTEMPTS="2",
            CONTENTGEN_PUBLISH_BACKOFF="0.1s",
        ).start()
        self._worker: Worker = stack.worker("worker", self.scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    def dies(self) -> None:
        """Kill -9 to all, which then is started again."""
        if self._database_url:
            return
        self._worker.kill()
        self.scheduler.kill_with_database()
        self.scheduler.start()
        self._worker.start()

    def let_tick(self) -> None:
        """The schedule's tick of this year, which was before it was created, comes now."""
        url = self._database_url or EmbeddedPostgres(self.scheduler.data_dir / "postgres").url()
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text(TICK))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def soon(find: Callable[[], Awaitable[T]], what: str) -> T:
    return await wait_until_async(find, within=LIMIT, what=what)


async def read_pictures(target: str, content: Json) -> list[bool]:
    """Whether each picture of a content is what its name says."""
    async with AsyncContentGenerationClient(target) as client:
        names = [asset["sha256"] for asset in content["assets"]]
        return [hashlib.sha256(await client.read_asset(name)).hexdigest() == name for name in names]


@pytest.mark.costly("everything starts again after each step")
async def test_an_article_is_published_though_all_is_killed_after_each_step(stack: Stack, receiver: Receiver) -> None:
    everything = Everything(stack)
    await publish(everything, ByClient(everything.scheduler.target), receiver)


@pytest.mark.costly("all services, and a command a step")
async def test_an_article_is_published_by_the_command(
    stack: Stack, db_url: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("CONTENTGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    everything = Everything(stack, db_url)
    await publish(everything, ByCommand(everything.scheduler.target), receiver)


async def publish(everything: Everything, desk: Desk, receiver: Receiver) -> None:
    account_id = await desk.create_account()
    secret = await desk.create_webhook(receiver.url, EVENTS)
    await desk.create_schedule(account_id, f"{datetime.now(UTC):%M %H %d %m} *", "春天的新闻")
    everything.dies()

    everything.let_tick()
    watch = ByClient(everything.scheduler.target)  # waits by a command would start many
    await soon(lambda: watch.contents("pending_review"), "the schedule's article waits for its review")
    (draft,) = await desk.contents("pending_review")
    assert await read_pictures(everything.scheduler.target, draft) == [True, True]
    everything.dies()

    await desk.edit(draft["content_id"], "春天")
    await desk.regenerate(draft["content_id"], "短一点")
    everything.dies()

    async def rewritten() -> Json | None:
        waiting = await watch.contents("pending_review")
        return next((content for content in waiting if content["content_id"] != draft["content_id"]), None)

    article = await soon(rewritten, "the article that was sent back is written anew")
    assert article is not None
    content_id = article["content_id"]
    assert content_id in {content["content_id"] for content in await desk.contents("pending_review")}
    await desk.approve(content_id)
    everything.dies()
    await desk.reopen(content_id)
    everything.dies()
    await desk.approve(content_id)

    due = datetime.now(UTC) + timedelta(seconds=2)
    await desk.schedule_publication(content_id, due.isoformat())
    everything.dies()
    for status in ("pending", "failed"):
        entry = await soon(desk.claim, "the entry is due")
        assert datetime.now(UTC) >= due
        everything.dies()
        assert entry is not None
        assert (await desk.report_failed(entry, "the site is away"))["status"] == status
        everything.dies()
    await desk.retry_publish(content_id)
    everything.dies()
    entry = await soon(desk.claim, "the entry is due again")
    assert entry is not None
    await desk.report_published(entry, "https://news.example/spring")
    everything.dies()

    assert [(content["content_id"], content["title"]) for content in await desk.contents("rejected")] == [
        (draft["content_id"], "春天")
    ]
    assert [attempt["published"] for attempt in await desk.attempts(content_id)] == [False, False, True]
    await check_events(receiver, secret)
    names = {"account": account_id, "draft": draft["content_id"], "article": content_id}
    steps = [f"{event['method']} {event['resource']} {event['outcome']}" for event in reversed(await desk.audit())]
    assert steps == [f"{step.format(**names)} OK" for step in AUDIT]


async def check_events(receiver: Receiver, secret: str) -> None:
    """Each event has come, under one id however often, and signed."""

    def told() -> list[str]:
        by_id = {request.message_id: request.message for request in receiver.received}
        return sorted(f"{message['type']} {message['data']['status']}" for message in by_id.values())

    await wait_until_async(lambda: len(told()) >= len(EXPECTED), within=LIMIT, what="every event has come")
    assert told() == EXPECTED
    for received in receiver.received:
        received.verify(secret)


# Scenario 1: the example of the old application's quick reference, from submit to publish pool.


TOPIC = "人工智能的未来发展"


@pytest.mark.costly("all services with an embedded server")
@pytest.mark.parametrize(("profile", "database_url"), [("reference", EMBEDDED), ("json", None)])
def test_the_reference_example_completes_with_content_and_pool_entry(
    stack: Stack, profile: str, database_url: str | None
) -> None:
    scheduler = stack.scheduler(database_url=database_url).start()
    client = scheduler.client
    stack.worker("a", scheduler, CREATOR_PROFILE=profile, CREATOR_DEMO_SECONDS="0.5").start()
    account_id = client.create_account()
    task = client.wait_completed(client.submit(account_id, TOPIC, priority=8, auto_approve=True), within=15)

    content = client.content(task.content_id)
    assert (content.task_id, content.account_id, content.title) == (task.task_id, account_id, TOPIC)
    assert TOPIC in content.body
    assert content.word_count == len(content.body) > 200
    assert 0 < len(content.summary) <= 200
    assert not set("#![]*\n") & set(content.summary)
    assert content.review_status == content_pb.REVIEW_STATUS_APPROVED
    [entry] = client.publish_pool()
    assert (entry.content_id, entry.account_id, entry.priority) == (content.content_id, account_id, 8)
    assert entry.status == content_pb.PUBLISH_STATUS_PENDING
    assert client.moves(task.task_id) == [
        ("pending", "SUBMITTED"),
        ("submitted", "LEASED"),
        ("processing", "STARTED"),
        ("completed", "COMPLETED"),
    ]


def test_a_content_without_auto_approve_waits_for_review_outside_the_pool(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    task_id = client.submit(client.create_account(), TOPIC, priority=8, auto_approve=False)
    task = client.wait_completed(task_id, within=15)
    assert client.content(task.content_id).review_status == content_pb.REVIEW_STATUS_PENDING_REVIEW
    assert client.publish_pool() == []
