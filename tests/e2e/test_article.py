"""An article's whole way, by schedule, editor, publish pool and webhook.

By the client everything is killed after each step; by the command nothing is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa

from contentgen import AsyncContentGenerationClient, EventType
from scheduler_svc.postgres.server import EmbeddedPostgres
from tests.e2e.desk import ByClient, ByCommand, Desk, Json
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until_async
from tests.harness.webhook_receiver import Receiver, receiving

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
