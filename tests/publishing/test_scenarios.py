"""An article's whole way, from submit to publish pool and webhook, with real processes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import pytest
import sqlalchemy as sa

from contentgen import AsyncContentGenerationClient, EventType
from scheduler_svc.postgres.server import EmbeddedPostgres
from tests.harness.receivers import Receiver, receiving
from tests.harness.scheduling import sql
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.e2e


Json = dict[str, Any]


class Desk:
    """Each call has a client of its own: one that has met a dead scheduler would wait before it connects again."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        """A method of the client; of those that iterate, all that comes."""

        async def call(*arguments: Any, **options: Any) -> Any:
            async with AsyncContentGenerationClient(self._target) as client:
                answer = getattr(client, method)(*arguments, **options)
                return [row async for row in answer] if method.startswith("iter_") else await answer

        return call


# An article's whole way, by schedule, editor, publish pool and webhook; everything is killed after each step.


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

    def __init__(self, stack: Stack) -> None:
        self.scheduler: Scheduler = stack.scheduler(
            database_url=EMBEDDED,
            CONTENTGEN_WEBHOOK_ALLOW="127.0.0.1",
            CONTENTGEN_MAX_PUBLISH_ATTEMPTS="2",
            CONTENTGEN_PUBLISH_BACKOFF="0.1s",
        ).start()
        self._worker: Worker = stack.worker("worker", self.scheduler, CREATOR_DEMO_SECONDS="0.2").start()

    def dies(self) -> None:
        """Kill -9 to all, PostgreSQL included, which then is started again."""
        self._worker.kill()
        self.scheduler.kill_with_database()
        self.scheduler.start()
        self._worker.start()

    def let_tick(self) -> None:
        """The schedule's tick of this year, which was before it was created, comes now."""
        engine = sa.create_engine(EmbeddedPostgres(self.scheduler.data_dir / "postgres").url(), poolclass=sa.NullPool)
        sql(engine, TICK)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def soon(find: Callable[[], Awaitable[T]], what: str) -> T:
    return await wait_until_async(find, within=LIMIT, what=what)


async def claimed(desk: Desk) -> Json | None:
    """An entry of the publish pool."""
    entries = await desk.claim_publish_pool()
    return cast("Json", entries[0]) if entries else None


@pytest.mark.costly("everything starts again after each step", seconds=7)
async def test_an_article_is_published_though_all_is_killed_after_each_step(stack: Stack, receiver: Receiver) -> None:
    everything = Everything(stack)
    desk = Desk(everything.scheduler.target)
    account_id = (await desk.create_account("news"))["account_id"]
    secret = (await desk.create_webhook(receiver.url, EVENTS))["secret"]
    task = {"topic": "春天的新闻", "auto_approve": False}
    await desk.create_schedule(account_id, f"{datetime.now(UTC):%M %H %d %m} *", task)
    everything.dies()

    everything.let_tick()

    async def waiting() -> list[Json]:
        return cast("list[Json]", await desk.iter_contents(review_status="pending_review"))

    (draft,) = await soon(waiting, "the schedule's article waits for its review")
    names = [asset["sha256"] for asset in draft["assets"]]
    assert [hashlib.sha256(await desk.read_asset(name)).hexdigest() for name in names] == names
    assert len(names) == 2
    everything.dies()

    await desk.update_content(draft["content_id"], title="春天")
    await desk.regenerate_content(draft["content_id"], "短一点")
    everything.dies()

    async def rewritten() -> Json | None:
        return next((content for content in await waiting() if content["content_id"] != draft["content_id"]), None)

    article = await soon(rewritten, "the article that was sent back is written anew")
    assert article is not None
    content_id = article["content_id"]
    await desk.review_content(content_id, approve=True)
    everything.dies()
    await desk.reopen_content(content_id)
    everything.dies()
    await desk.review_content(content_id, approve=True)

    due = datetime.now(UTC) + timedelta(seconds=2)
    await desk.update_publish_pool_entry(content_id, schedule_time=due.isoformat())
    everything.dies()
    for status in ("pending", "failed"):
        entry = await soon(lambda: claimed(desk), "the entry is due")
        assert datetime.now(UTC) >= due
        assert entry is not None
        everything.dies()
        reported = await desk.report_published(content_id, entry["claim_id"], error="the site is away")
        assert reported["status"] == status
        everything.dies()
    await desk.retry_publish(content_id)
    everything.dies()
    entry = await soon(lambda: claimed(desk), "the entry is due again")
    assert entry is not None
    await desk.report_published(content_id, entry["claim_id"], url="https://news.example/spring")
    everything.dies()

    (rejected,) = await desk.iter_contents(review_status="rejected")
    assert (rejected["content_id"], rejected["title"]) == (draft["content_id"], "春天")
    attempts = await desk.iter_publish_attempts(content_id)
    assert [attempt["published"] for attempt in attempts] == [False, False, True]
    await check_events(receiver, secret)
    ids = {"account": account_id, "draft": draft["content_id"], "article": content_id}
    events = reversed(await desk.iter_audit_events())
    steps = [f"{event['method']} {event['resource']} {event['outcome']}" for event in events]
    assert steps == [f"{step.format(**ids)} OK" for step in AUDIT]


async def check_events(receiver: Receiver, secret: str) -> None:
    """Each event has come, under one id however often, and signed."""

    def events() -> list[str]:
        by_id = {request.message_id: request.message for request in receiver.received}
        return sorted(f"{message['type']} {message['data']['status']}" for message in by_id.values())

    await wait_until_async(lambda: len(events()) >= len(EXPECTED), within=LIMIT, what="every event has come")
    assert events() == EXPECTED
    for received in receiver.received:
        received.verify(secret)
