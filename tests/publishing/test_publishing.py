"""Review and publish pool over a real server on a real database; time moves by SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from tests.api.cases import NOTHING, OWN, Bad, Good, The, an_opaque_token, missing, of
from tests.api.world import FUTURE
from tests.harness.client import invalid_state, not_found, refused
from tests.harness.maker import Desk, Maker
from tests.harness.replicas import channel_to, serving_beside
from tests.harness.scheduling import sql
from tests.harness.waiting import wait_until_async

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

APPROVE = pb.REVIEW_DECISION_APPROVE
PENDING, PUBLISHING = pb.PUBLISH_STATUS_PENDING, pb.PUBLISH_STATUS_PUBLISHING
PUBLISHED, FAILED = pb.PUBLISH_STATUS_PUBLISHED, pb.PUBLISH_STATUS_FAILED
Act = Callable[[], object]


@pytest.fixture
def expire_claims(engine: sa.Engine) -> Act:
    """Expires every claim when called."""
    return lambda: sql(engine, "UPDATE publish_pool SET claim_expire_time = now() WHERE status = 2")


class TestReview:
    async def test_an_approved_content_enters_the_pool_with_its_task_s_priority_and_schedule(
        self, maker: Maker
    ) -> None:
        due = Timestamp(seconds=1_000_000_000)
        content = await maker(auto_approve=False, priority=9, schedule_time=due)
        decided = await maker.review(content.content_id, APPROVE, comment="很好 👍")
        assert decided.review_status == pb.REVIEW_STATUS_APPROVED
        assert decided.review_comment == "很好 👍"
        assert await maker.read(content.content_id) == decided
        assert decided.etag != content.etag
        assert (decided.reviewer, decided.publish_status) == ("anonymous", PENDING)
        assert decided.HasField("review_time")
        for name in ("review_status", "review_comment", "etag", "reviewer", "review_time", "publish_status"):
            decided.ClearField(name)
            content.ClearField(name)
        assert decided == content
        expected = pb.PublishPoolEntry(
            content_id=content.content_id,
            account_id=maker.account,
            priority=9,
            schedule_time=due,
            status=PENDING,
            title=content.title,
            max_attempts=3,
        )
        assert await maker.pool() == [expected]


class TestClaim:
    async def test_a_claim_takes_one_entry_for_ten_minutes_by_default(self, maker: Maker, engine: sa.Engine) -> None:
        first, _ = await maker(), await maker()
        (entry,) = await maker.claim()
        assert (entry.content_id, entry.status) == (first.content_id, PUBLISHING)
        assert entry.claim_id
        holds = "SELECT extract(epoch FROM claim_expire_time - now()) FROM publish_pool WHERE status = 2"
        ((seconds,),) = sql(engine, holds)
        assert 590 < seconds <= 600
        assert [item.status for item in await maker.pool()] == [PUBLISHING, PENDING]

    async def test_each_entry_has_a_claim_of_its_own(self, maker: Maker, expire_claims: Act) -> None:
        for _ in range(3):
            await maker()
        first = {entry.claim_id for entry in await maker.claim(limit=3)}
        expire_claims()
        again = {entry.claim_id for entry in await maker.claim(limit=3)}
        assert len(first | again) == 6


class TestReport:
    async def test_a_published_entry_is_final(self, maker: Maker) -> None:
        await maker()
        (claimed,) = await maker.claim()
        entry = await maker.report(claimed, published=True, error="ignored", published_url="https://site/1")
        claimed.status, claimed.attempt_count, claimed.published_url = PUBLISHED, 1, "https://site/1"
        claimed.ClearField("claim_expire_time")
        claimed.ClearField("publisher")
        assert entry == claimed
        assert await maker.pool() == [entry]
        assert await maker.claim() == []

    async def test_a_failed_entry_waits_for_its_next_attempt_and_keeps_its_error(self, maker: Maker) -> None:
        await maker()
        (claimed,) = await maker.claim()
        entry = await maker.report(claimed, error="拒" * 2_000, published_url="ignored")
        assert (entry.status, entry.error, entry.published_url) == (PENDING, "拒" * 2_000, "")
        assert (entry.attempt_count, entry.max_attempts) == (1, 3)
        assert await maker.pool() == [entry]
        assert await maker.claim() == []
        assert await maker.claim(account_id=maker.account) == []


async def fail(maker: Maker, engine: sa.Engine, **fields: Any) -> pb.PublishPoolEntry:
    """Lets the wait for the next attempt end, claims the entry, and reports that it failed."""
    end_waits(engine)
    (claimed,) = await maker.claim(**fields)
    return await maker.report(claimed, error="the site is away")


async def give_up(maker: Maker, engine: sa.Engine) -> pb.PublishPoolEntry:
    """Fails three times, and so for good."""
    for _ in range(3):
        entry = await fail(maker, engine)
    return entry


def end_waits(engine: sa.Engine) -> None:
    sql(engine, "UPDATE publish_pool SET next_attempt_time = now() WHERE next_attempt_time > now()")


def wait_of(engine: sa.Engine) -> float:
    """Seconds from the last report to the next attempt."""
    waits = """SELECT extract(epoch FROM p.next_attempt_time - max(a.end_time))
        FROM publish_pool AS p JOIN publish_attempts AS a USING (content_id) GROUP BY p.content_id"""
    ((seconds,),) = sql(engine, waits)
    return float(seconds)


class TestAttempts:
    async def test_the_third_failure_is_the_last(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        for count, wait in ((1, 60), (2, 120)):
            entry = await fail(maker, engine)
            assert (entry.status, entry.attempt_count, wait_of(engine)) == (PENDING, count, wait)
        entry = await fail(maker, engine)
        assert (entry.status, entry.attempt_count, entry.error) == (FAILED, 3, "the site is away")
        assert not entry.HasField("next_attempt_time")
        end_waits(engine)
        assert await maker.claim() == []
        assert [attempt.number for attempt in await maker.attempts(content_id)] == [1, 2, 3]

    @pytest.mark.usefixtures("replica")
    async def test_settings_say_how_many_attempts_there_are_and_how_long_the_waits(
        self, db_url: str, maker: Maker, engine: sa.Engine
    ) -> None:
        await maker()
        async with (
            serving_beside(db_url, max_publish_attempts=2, publish_backoff=3_000) as other,
            channel_to(other) as channel,
        ):
            theirs = Desk(ContentServiceStub(channel))
            (claimed,) = await theirs.claim()
            entry = await theirs.report(claimed)
            assert (entry.status, entry.attempt_count, entry.max_attempts) == (PENDING, 1, 2)
            assert wait_of(engine) == 3_000
            end_waits(engine)
            (claimed,) = await theirs.claim()
            assert (await theirs.report(claimed)).status == FAILED

    async def test_an_attempt_is_recorded_with_its_publisher_and_times(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        assert await maker.attempts(content_id) == []
        await fail(maker, engine, publisher="the site")
        end_waits(engine)
        (claimed,) = await maker.claim()
        assert claimed.publisher == "anonymous"
        await maker.report(claimed, published=True)
        first, second = await maker.attempts(content_id)
        assert (first.number, first.publisher, first.published) == (1, "the site", False)
        assert (first.error, second.error) == ("the site is away", "")
        assert (second.number, second.publisher, second.published) == (2, "anonymous", True)
        times = [time.ToNanoseconds() for attempt in (first, second) for time in (attempt.start_time, attempt.end_time)]
        assert times == sorted(times)
        assert times[0] > 0
        assert await maker.attempts(content_id, page_size=1) == [first]

    async def test_an_expired_claim_is_no_attempt(self, maker: Maker, expire_claims: Act) -> None:
        content_id = (await maker()).content_id
        await maker.claim(publisher="a")
        expire_claims()
        (entry,) = await maker.pool()
        assert (entry.status, entry.attempt_count, entry.publisher) == (PENDING, 0, "")
        assert not entry.HasField("claim_expire_time")
        assert await maker.attempts(content_id) == []
        (claimed,) = await maker.claim(publisher="b")
        assert (await maker.report(claimed, published=True)).attempt_count == 1
        assert [(attempt.number, attempt.publisher) for attempt in await maker.attempts(content_id)] == [(1, "b")]

    async def test_what_failed_keeps_its_place_among_the_others(self, maker: Maker, engine: sa.Engine) -> None:
        first, high, last = await maker(), await maker(priority=9), await maker()
        for content in (high, first):
            (claimed,) = await maker.claim()
            assert claimed.content_id == content.content_id
            await maker.report(claimed)
        order = [high.content_id, first.content_id, last.content_id]
        assert await maker.pooled() == order
        end_waits(engine)
        (claimed,) = await maker.claim()
        assert claimed.content_id == high.content_id
        assert not claimed.HasField("next_attempt_time")
        claimed_later = await maker.claim(limit=10, account_id=maker.account)
        assert [entry.content_id for entry in claimed_later] == order[1:]

    async def test_attempts_are_deleted_with_their_content(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        await fail(maker, engine)
        await maker.delete(content_id)
        with not_found("content", content_id):
            await maker.attempts(content_id)
        assert sql(engine, "SELECT FROM publish_attempts") == []


class TestRetry:
    async def test_a_failed_entry_is_pending_again_with_all_its_attempts(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        failed = await give_up(maker, engine)
        entry = await maker.retry(content_id)
        failed.status, failed.attempt_count = PENDING, 0
        assert entry == failed
        assert await maker.pool() == [entry]
        (claimed,) = await maker.claim()
        assert (await maker.report(claimed)).attempt_count == 1
        assert [attempt.number for attempt in await maker.attempts(content_id)] == [1, 2, 3, 4]

    async def test_a_retry_ends_the_wait_for_the_next_attempt(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        await fail(maker, engine)
        entry = await maker.retry(content_id)
        assert (entry.status, entry.attempt_count) == (PENDING, 0)
        assert len(await maker.claim()) == 1


LATER = Timestamp(seconds=32_000_000_000)


class TestUpdate:
    async def test_only_the_fields_in_the_mask_change(self, maker: Maker) -> None:
        first, second = await maker(), await maker()
        entry = await maker.update_entry(second.content_id, "priority", priority=9, schedule_time=LATER)
        assert entry.priority == 9
        assert not entry.HasField("schedule_time")
        assert await maker.pooled() == [second.content_id, first.content_id]
        entry = await maker.update_entry(second.content_id, "schedule_time", priority=1, schedule_time=LATER)
        assert (entry.priority, entry.schedule_time) == (9, LATER)
        assert [item.content_id for item in await maker.claim(limit=2)] == [first.content_id]
        entry = await maker.update_entry(second.content_id, "schedule_time")
        assert not entry.HasField("schedule_time")
        assert [item.content_id for item in await maker.claim(limit=2)] == [second.content_id]

    async def test_a_failed_entry_stays_failed(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        await give_up(maker, engine)
        entry = await maker.update_entry(content_id, "priority", priority=1)
        assert (entry.status, entry.priority, entry.attempt_count) == (FAILED, 1, 3)

    async def test_a_new_time_and_the_wait_for_an_attempt_hold_together(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        failed = await fail(maker, engine)
        entry = await maker.update_entry(content_id, "schedule_time", schedule_time=LATER)
        assert (entry.status, entry.next_attempt_time) == (PENDING, failed.next_attempt_time)
        end_waits(engine)
        assert await maker.claim() == []
        await maker.update_entry(content_id, "schedule_time", schedule_time=Timestamp(seconds=1))
        assert len(await maker.claim()) == 1

    async def test_an_entry_with_an_expired_claim_waits_for_its_new_time(
        self, maker: Maker, expire_claims: Act
    ) -> None:
        content_id = (await maker()).content_id
        (claimed,) = await maker.claim()
        expire_claims()
        assert (await maker.update_entry(content_id, "schedule_time", schedule_time=LATER)).status == PENDING
        assert await maker.claim() == []
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE"):
            await maker.report(claimed, published=True)


class TestRemove:
    async def test_a_content_leaves_the_pool_and_stays_with_its_attempts(self, maker: Maker, engine: sa.Engine) -> None:
        content_id = (await maker()).content_id
        await give_up(maker, engine)
        before = await maker.attempts(content_id)
        await maker.remove(content_id)
        assert await maker.pool() == []
        assert await maker.claim() == []
        assert (await maker.read(content_id)).review_status == pb.REVIEW_STATUS_APPROVED
        assert await maker.attempts(content_id) == before
        with not_found("content", content_id):
            await maker.remove(content_id)


class TestRenew:
    async def test_a_claim_holds_for_the_new_lease(self, maker: Maker) -> None:
        await maker()
        (claimed,) = await maker.claim(lease=Duration(seconds=30), publisher="a")
        entry = await maker.renew(claimed, lease=Duration(seconds=900))
        gained = entry.claim_expire_time.ToSeconds() - claimed.claim_expire_time.ToSeconds()
        assert gained >= 870
        claimed.claim_expire_time.CopyFrom(entry.claim_expire_time)
        assert entry == claimed
        shorter = await maker.renew(claimed)
        assert shorter.claim_expire_time.ToSeconds() < entry.claim_expire_time.ToSeconds()


class TestList:
    async def test_entries_are_listed_in_the_order_of_claims_page_by_page(self, maker: Maker) -> None:
        made_ids = [(await maker(priority=priority)).content_id for priority in (5, 10, 1, 5, 1, 9, 5)]
        listed = await maker.pooled(page_size=2)
        assert listed == [made_ids[n] for n in (1, 5, 0, 3, 6, 2, 4)]
        assert [entry.content_id for entry in await maker.claim(limit=10)] == listed

    async def test_entries_are_listed_by_status(self, maker: Maker, engine: sa.Engine, expire_claims: Act) -> None:
        states: dict[str, int] = {}
        for state in ("failed", "waiting", "published", "expired", "publishing"):
            states[state] = (await maker()).content_id
            if state == "failed":
                await give_up(maker, engine)
            elif state == "waiting":
                await fail(maker, engine)
            else:
                (claimed,) = await maker.claim()
            if state == "published":
                await maker.report(claimed, published=True)
            if state == "expired":
                expire_claims()
                await maker.update_entry(states["expired"], "schedule_time", schedule_time=LATER)
        states["new"] = (await maker()).content_id
        expected = {
            PENDING: ["waiting", "expired", "new"],
            PUBLISHING: ["publishing"],
            PUBLISHED: ["published"],
            FAILED: ["failed"],
        }
        for wanted in ([PENDING], [PUBLISHING], [PUBLISHED], [FAILED], [FAILED, PENDING], [PUBLISHED, PUBLISHING], []):
            for account_id in (0, maker.account):
                entries = await maker.pool(account_id=account_id, statuses=wanted)
                named = [name for status in wanted or expected for name in expected[status]]
                assert [entry.content_id for entry in entries] == sorted(states[name] for name in named)
            assert {entry.status for entry in entries} == set(wanted or expected)

    @pytest.mark.parametrize("examined", [2, 5_000])
    async def test_entries_are_listed_by_their_time(
        self, maker: Maker, monkeypatch: pytest.MonkeyPatch, examined: int
    ) -> None:
        """However few of them a page examines."""
        monkeypatch.setattr("scheduler_svc.publishing.sql.MAX_EXAMINED", examined)
        made_ids = [(await maker(priority=1 + n % 3)).content_id for n in range(8)]
        times = [Timestamp(seconds=LATER.seconds + n) for n in range(8)]
        for content_id, time in list(zip(made_ids, times, strict=True))[2:]:
            await maker.update_entry(content_id, "schedule_time", schedule_time=time)

        async def listed(**wanted: Any) -> list[int]:
            return [made_ids.index(content_id) for content_id in await maker.pooled(page_size=2, **wanted)]

        for account_id in (0, maker.account):
            assert await listed(account_id=account_id, scheduled_after=times[4]) == [5, 4, 7, 6]
            assert await listed(account_id=account_id, scheduled_before=times[6]) == [2, 5, 4, 3]
            both = {"scheduled_after": times[4], "scheduled_before": times[6]}
            assert await listed(account_id=account_id, statuses=[PENDING], **both) == [5, 4]


async def is_gone(maker: Maker, content_id: int) -> bool:
    """Whether neither the content nor its entry exists."""
    with not_found("content", content_id):
        await maker.read(content_id)
    return content_id not in await maker.pooled()


class TestDelete:
    @pytest.mark.parametrize("auto_approve", [True, False])
    async def test_a_content_goes_with_its_entry_and_its_task_stays(self, maker: Maker, auto_approve: bool) -> None:
        content = await maker(auto_approve=auto_approve)
        await maker.delete(content.content_id)
        assert await is_gone(maker, content.content_id)
        task = (await maker.tasks.GetTask(task_pb.GetTaskRequest(task_id=content.task_id))).task
        assert task.content_id == content.content_id
        with not_found("content", content.content_id):
            await maker.delete(content.content_id)

    @pytest.mark.parametrize(("published", "state"), [(False, "publishing"), (True, "published")])
    async def test_only_force_deletes_claimed_or_published_ones(
        self, maker: Maker, published: bool, state: str
    ) -> None:
        content = await maker()
        (claimed,) = await maker.claim()
        if published:
            await maker.report(claimed, published=True)
        with invalid_state(state, "pending,failed"):
            await maker.delete(content.content_id)
        await maker.delete(content.content_id, force=True)
        assert await is_gone(maker, content.content_id)
        with not_found("content", content.content_id):
            await maker.report(claimed, published=True)

    async def test_a_content_with_an_expired_claim_is_deleted(self, maker: Maker, expire_claims: Act) -> None:
        content = await maker()
        await maker.claim()
        expire_claims()
        await maker.delete(content.content_id)
        assert await is_gone(maker, content.content_id)


@pytest.mark.usefixtures("replica")
async def test_the_retention_deletes_old_contents(db_url: str, engine: sa.Engine, maker: Maker) -> None:
    """Another replica has the setting; it applies to the whole database."""
    content = await maker()
    sql(engine, "UPDATE contents SET create_time = now() - interval '1 hour'")
    async with serving_beside(db_url, content_retention=60):
        contents = "SELECT FROM contents"
        await wait_until_async(lambda: not sql(engine, contents), within=10, what="the content is deleted")
    assert await is_gone(maker, content.content_id)


# What tests/api calls: requests that are answered, and those that are refused.
ENTRY = {"account_id": OWN, "priority": 5, "error": ""}
CLAIM = {**of(content="claimed"), "claim_id": The("claimed", "claim_id")}
GOOD = [
    Good(
        "ListPublishPool",
        {
            **of(account="approved"),
            "statuses": ["PUBLISH_STATUS_PENDING"],
            "scheduled_after": "2030-01-31T00:00:00Z",
            "scheduled_before": "2030-02-01T00:00:00Z",
        },
        {"entries": [], "next_page_token": ""},
    ),
    Good(
        "ListPublishPool",
        of(account="approved"),
        {"entries": [{**ENTRY, **of(content="approved"), "status": "PUBLISH_STATUS_PENDING"}], "next_page_token": ""},
    ),
    Good(
        "ListPublishPool",
        {**of(account="unpublishable"), "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_PENDING"]},
        {
            "entries": [
                {
                    **of(content="unpublishable"),
                    "status": "PUBLISH_STATUS_PENDING",
                    "attempt_count": 1,
                    "max_attempts": 3,
                    "next_attempt_time": str,
                    "title": "a topic",
                }
            ],
            "next_page_token": "",
        },
    ),
    Good(
        "ClaimPublishPool",
        {**of(account="approved"), "limit": 1_000, "lease": "1s", "publisher": "字" * 200},
        {
            "entries": [
                {
                    **ENTRY,
                    "status": "PUBLISH_STATUS_PUBLISHING",
                    "claim_id": an_opaque_token,
                    "claim_expire_time": str,
                    "publisher": "字" * 200,
                }
            ]
        },
    ),
    Good("ClaimPublishPool", {"account_id": OWN}, {"entries": []}),
    Good(
        "ReportPublished",
        {**CLAIM, "published": True},
        {"entry": {**ENTRY, **of(content="claimed"), "status": "PUBLISH_STATUS_PUBLISHED"}},
    ),
    Good(
        "ReportPublished",
        {**CLAIM, "published": True, "published_url": "https://" + "字" * 1_992},
        {"entry": {"attempt_count": 1, "published_url": "https://" + "字" * 1_992}},
    ),
    Good(
        "RenewPublishClaim",
        {**CLAIM, "lease": "315576000000s"},
        {"entry": {"status": "PUBLISH_STATUS_PUBLISHING", "claim_expire_time": "9999-12-31T00:00:00Z"}},
    ),
    Good(
        "RetryPublish", of(content="unpublishable"), {"entry": {"status": "PUBLISH_STATUS_PENDING", "attempt_count": 0}}
    ),
    Good(
        "UpdatePublishPoolEntry",
        {
            "entry": {**of(content="approved"), "priority": 10, "schedule_time": FUTURE},
            "update_mask": "priority,scheduleTime",
        },
        {"entry": {"priority": 10, "schedule_time": FUTURE, "status": "PUBLISH_STATUS_PENDING"}},
    ),
    Good("RemoveFromPublishPool", of(content="approved"), {}),
    Good(
        "ListPublishAttempts",
        of(content="unpublishable"),
        {
            "attempts": [
                {"number": 1, "publisher": "anonymous", "start_time": str, "end_time": str, "published": False}
            ],
            "next_page_token": "",
        },
    ),
]
BAD = [
    Bad(
        "ListPublishPool",
        {"account_id": -1, "page_token": "?", "statuses": ["PUBLISH_STATUS_FAILED", "PUBLISH_STATUS_UNSPECIFIED"]},
        fields=("account_id", "statuses[1]", "page_token"),
    ),
    Bad(
        "ClaimPublishPool",
        {"account_id": -1, "limit": 1_001, "lease": "0.999s", "publisher": "字" * 201},
        fields=("account_id", "limit", "lease", "publisher"),
    ),
    Bad(
        "ReportPublished",
        {"error": "字" * 2_001, "published_url": "字" * 2_001},
        fields=("content_id", "claim_id", "error", "published_url"),
    ),
    missing("ReportPublished", {"content_id": NOTHING, "claim_id": "claim"}, "content"),
    Bad("RenewPublishClaim", {"lease": "0s"}, fields=("content_id", "claim_id", "lease")),
    missing("RenewPublishClaim", {"content_id": NOTHING, "claim_id": "claim"}, "content"),
    Bad("UpdatePublishPoolEntry", {}, fields=("entry.content_id", "update_mask")),
    Bad(
        "UpdatePublishPoolEntry",
        {"entry": {**of(content="approved"), "priority": 11}, "update_mask": "status,priority"},
        fields=("update_mask.paths[0]", "entry.priority"),
    ),
    missing("UpdatePublishPoolEntry", {"entry": {"content_id": NOTHING}, "update_mask": "scheduleTime"}, "content"),
    Bad("ListPublishAttempts", {"page_size": -1}, fields=("content_id", "page_size")),
]
