"""Review and publish pool over a real server on a real database; time moves by SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode, aio

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1.content_service_pb2_grpc import ContentServiceStub
from tests.harness.client import refused
from tests.harness.maker import Maker
from tests.harness.replicas import serving_beside
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

APPROVE, REJECT = pb.REVIEW_DECISION_APPROVE, pb.REVIEW_DECISION_REJECT
PENDING, PUBLISHING = pb.PUBLISH_STATUS_PENDING, pb.PUBLISH_STATUS_PUBLISHING
PUBLISHED, FAILED = pb.PUBLISH_STATUS_PUBLISHED, pb.PUBLISH_STATUS_FAILED


async def review(
    contents: ContentServiceAsyncStub, content_id: int, decision: Any = APPROVE, comment: str = ""
) -> pb.Content:
    request = pb.ReviewContentRequest(content_id=content_id, decision=decision, comment=comment)
    return (await contents.ReviewContent(request)).content


async def claim(contents: ContentServiceAsyncStub, **fields: Any) -> list[pb.PublishPoolEntry]:
    return list((await contents.ClaimPublishPool(pb.ClaimPublishPoolRequest(**fields))).entries)


async def report(contents: ContentServiceAsyncStub, claimed: pb.PublishPoolEntry, **fields: Any) -> pb.PublishPoolEntry:
    request = pb.ReportPublishedRequest(content_id=claimed.content_id, claim_id=claimed.claim_id, **fields)
    return (await contents.ReportPublished(request)).entry


async def pool(contents: ContentServiceAsyncStub) -> list[pb.PublishPoolEntry]:
    return list((await contents.ListPublishPool(pb.ListPublishPoolRequest())).entries)


@pytest.fixture
def expire_claims(engine: sa.Engine) -> Any:
    """Expires every claim when called."""

    def act() -> None:
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE publish_pool SET claim_expire_time = now() WHERE status = 2"))

    return act


class TestReview:
    async def test_an_approved_content_enters_the_pool_with_its_task_s_priority_and_schedule(self, made: Maker) -> None:
        due = Timestamp(seconds=1_000_000_000)
        content = await made(auto_approve=False, priority=9, schedule_time=due)
        decided = await review(made.contents, content.content_id, APPROVE, "很好 👍")
        assert decided.review_status == pb.REVIEW_STATUS_APPROVED
        assert decided.review_comment == "很好 👍"
        assert (await made.contents.GetContent(pb.GetContentRequest(content_id=content.content_id))).content == decided
        assert decided.etag != content.etag
        assert (decided.reviewer, decided.publish_status) == ("anonymous", PENDING)
        assert decided.HasField("review_time")
        for name in ("review_status", "review_comment", "etag", "reviewer", "review_time", "publish_status"):
            decided.ClearField(name)
            content.ClearField(name)
        assert decided == content
        expected = pb.PublishPoolEntry(
            content_id=content.content_id,
            account_id=made.account,
            priority=9,
            schedule_time=due,
            status=PENDING,
            title=content.title,
            max_attempts=3,
        )
        assert await pool(made.contents) == [expected]

    async def test_a_rejected_content_does_not_enter_the_pool(self, made: Maker) -> None:
        content = await made(auto_approve=False)
        decided = await review(made.contents, content.content_id, REJECT, "too long")
        assert (decided.review_status, decided.review_comment) == (pb.REVIEW_STATUS_REJECTED, "too long")
        assert await pool(made.contents) == []
        listed = await made.contents.ListContents(pb.ListContentsRequest(review_status=pb.REVIEW_STATUS_REJECTED))
        assert [item.content_id for item in listed.contents] == [content.content_id]

    @pytest.mark.parametrize(("first", "current"), [(APPROVE, "approved"), (REJECT, "rejected")])
    @pytest.mark.parametrize("second", [APPROVE, REJECT])
    async def test_a_second_decision_changes_nothing(self, made: Maker, first: Any, current: str, second: Any) -> None:
        content = await made(auto_approve=False)
        decided = await review(made.contents, content.content_id, first, "the first")
        entries = await pool(made.contents)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await review(made.contents, content.content_id, second, "the second")
        assert refusal.metadata == {"current_state": current, "required_state": "pending_review"}
        assert refusal.preconditions == ["INVALID_STATE"]
        assert (await made.contents.GetContent(pb.GetContentRequest(content_id=content.content_id))).content == decided
        assert await pool(made.contents) == entries

    async def test_an_automatic_approval_counts_as_the_decision(self, made: Maker) -> None:
        content = await made()
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await review(made.contents, content.content_id, REJECT)
        assert refusal.metadata == {"current_state": "approved", "required_state": "pending_review"}

    async def test_a_comment_of_the_maximum_length_is_stored(self, made: Maker) -> None:
        content = await made(auto_approve=False)
        decided = await review(made.contents, content.content_id, REJECT, "字" * 2_000)
        assert decided.review_comment == "字" * 2_000

    async def test_an_unknown_content_is_not_found(self, contents: ContentServiceAsyncStub) -> None:
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await review(contents, 999)
        assert refusal.metadata == {"resource_type": "content", "resource_id": "999"}

    @pytest.mark.parametrize("decision", [pb.REVIEW_DECISION_UNSPECIFIED, 9])
    async def test_every_bad_field_is_named(self, contents: ContentServiceAsyncStub, decision: Any) -> None:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await review(contents, 0, decision, "字" * 2_001)
        assert refusal.fields == ["content_id", "decision", "comment"]


class TestClaim:
    async def test_a_claim_takes_one_entry_for_ten_minutes_by_default(self, made: Maker, engine: sa.Engine) -> None:
        first, _ = await made(), await made()
        (entry,) = await claim(made.contents)
        assert (entry.content_id, entry.status) == (first.content_id, PUBLISHING)
        assert entry.claim_id
        with engine.begin() as connection:
            holds = "SELECT extract(epoch FROM claim_expire_time - now()) FROM publish_pool WHERE status = 2"
            assert 590 < connection.execute(sa.text(holds)).scalar_one() <= 600
        assert [item.status for item in await pool(made.contents)] == [PUBLISHING, PENDING]

    async def test_the_highest_priority_comes_first_then_the_oldest(self, made: Maker) -> None:
        low, high, old = await made(priority=1), await made(priority=10), await made(priority=1)
        claimed = await claim(made.contents, limit=2)
        assert [entry.content_id for entry in claimed] == [high.content_id, low.content_id]
        assert [entry.content_id for entry in await claim(made.contents, limit=1_000)] == [old.content_id]
        assert await claim(made.contents) == []

    async def test_each_entry_has_a_claim_of_its_own(self, made: Maker, expire_claims: Any) -> None:
        for _ in range(3):
            await made()
        first = {entry.claim_id for entry in await claim(made.contents, limit=3)}
        expire_claims()
        again = {entry.claim_id for entry in await claim(made.contents, limit=3)}
        assert len(first | again) == 6

    async def test_scheduled_entries_are_not_claimed_before_their_time(self, made: Maker, engine: sa.Engine) -> None:
        content = await made()
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE publish_pool SET schedule_time = now() + interval '1 hour'"))
        assert await claim(made.contents) == []
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE publish_pool SET schedule_time = now()"))
        (entry,) = await claim(made.contents)
        assert entry.content_id == content.content_id

    async def test_a_claim_takes_entries_of_its_account_only(self, made: Maker) -> None:
        await made()
        assert await claim(made.contents, account_id=made.account + 1) == []
        (entry,) = await claim(made.contents, account_id=made.account)
        assert entry.account_id == made.account

    async def test_an_entry_with_an_expired_claim_is_claimed_again(self, made: Maker, expire_claims: Any) -> None:
        await made()
        (first,) = await claim(made.contents, lease=Duration(seconds=1))
        expire_claims()
        (waiting,) = await pool(made.contents)
        assert (waiting.status, waiting.claim_id) == (PENDING, first.claim_id)
        (second,) = await claim(made.contents)
        assert second.content_id == first.content_id
        assert second.claim_id != first.claim_id

    async def test_a_claim_with_the_longest_lease_is_accepted(self, made: Maker) -> None:
        await made()
        assert len(await claim(made.contents, lease=Duration(seconds=315_576_000_000))) == 1
        assert [entry.status for entry in await pool(made.contents)] == [PUBLISHING]

    @pytest.mark.parametrize("limit", [-1, 1_001])
    @pytest.mark.parametrize("lease", [Duration(), Duration(nanos=999_999_999), Duration(seconds=-1)])
    async def test_every_bad_field_is_named(
        self, contents: ContentServiceAsyncStub, limit: int, lease: Duration
    ) -> None:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await claim(contents, account_id=-1, limit=limit, lease=lease)
        assert refusal.fields == ["account_id", "limit", "lease"]


class TestReport:
    async def test_a_published_entry_is_final(self, made: Maker) -> None:
        await made()
        (claimed,) = await claim(made.contents)
        entry = await report(made.contents, claimed, published=True, error="ignored", published_url="https://site/1")
        claimed.status, claimed.attempt_count, claimed.published_url = PUBLISHED, 1, "https://site/1"
        claimed.ClearField("claim_expire_time")
        claimed.ClearField("publisher")
        assert entry == claimed
        assert await pool(made.contents) == [entry]
        assert await claim(made.contents) == []

    async def test_a_failed_entry_waits_for_its_next_attempt_and_keeps_its_error(self, made: Maker) -> None:
        await made()
        (claimed,) = await claim(made.contents)
        entry = await report(made.contents, claimed, error="拒" * 2_000, published_url="ignored")
        assert (entry.status, entry.error, entry.published_url) == (PENDING, "拒" * 2_000, "")
        assert (entry.attempt_count, entry.max_attempts) == (1, 3)
        assert await pool(made.contents) == [entry]
        assert await claim(made.contents) == []
        assert await claim(made.contents, account_id=made.account) == []

    @pytest.mark.parametrize(("first", "current"), [(True, "published"), (False, "pending")])
    async def test_a_second_report_changes_nothing(self, made: Maker, first: bool, current: str) -> None:
        await made()
        (claimed,) = await claim(made.contents)
        entry = await report(made.contents, claimed, published=first)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await report(made.contents, claimed, published=not first, error="another")
        assert refusal.metadata == {"current_state": current, "required_state": "publishing"}
        assert await pool(made.contents) == [entry]

    async def test_an_expired_claim_is_refused(self, made: Maker, expire_claims: Any) -> None:
        await made()
        (claimed,) = await claim(made.contents)
        expire_claims()
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await report(made.contents, claimed, published=True)
        assert refusal.metadata == {"current_state": "pending", "required_state": "publishing"}

    async def test_a_claim_that_is_not_the_latest_is_refused(self, made: Maker, expire_claims: Any) -> None:
        await made()
        (old,) = await claim(made.contents)
        expire_claims()
        (latest,) = await claim(made.contents)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await report(made.contents, old, published=True)
        assert refusal.metadata == {"current_state": "publishing", "required_state": "publishing"}
        assert await pool(made.contents) == [latest]
        assert (await report(made.contents, latest, published=True)).status == PUBLISHED

    async def test_a_report_on_an_unclaimed_entry_is_refused(self, made: Maker) -> None:
        content = await made()
        unclaimed = pb.PublishPoolEntry(content_id=content.content_id, claim_id="claim-none")
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await report(made.contents, unclaimed, published=True)
        assert refusal.metadata == {"current_state": "pending", "required_state": "publishing"}

    async def test_a_content_that_is_not_in_the_pool_is_not_found(self, made: Maker) -> None:
        content = await made(auto_approve=False)
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await report(made.contents, pb.PublishPoolEntry(content_id=content.content_id, claim_id="claim-none"))
        assert refusal.metadata == {"resource_type": "content", "resource_id": str(content.content_id)}

    @pytest.mark.parametrize("claim_id", ["", "x" * 201, "a\0b"])
    async def test_every_bad_field_is_named(self, contents: ContentServiceAsyncStub, claim_id: str) -> None:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await report(
                contents, pb.PublishPoolEntry(claim_id=claim_id), error="字" * 2_001, published_url="a" * 2_001
            )
        assert refusal.fields == ["content_id", "claim_id", "error", "published_url"]


async def attempts(contents: ContentServiceAsyncStub, content_id: int, **fields: Any) -> list[pb.PublishAttempt]:
    request = pb.ListPublishAttemptsRequest(content_id=content_id, **fields)
    return list((await contents.ListPublishAttempts(request)).attempts)


async def fail(made: Maker, engine: sa.Engine, **fields: Any) -> pb.PublishPoolEntry:
    """Lets the wait for the next attempt end, claims the entry, and reports that it failed."""
    end_waits(engine)
    (claimed,) = await claim(made.contents, **fields)
    return await report(made.contents, claimed, error="the site is away")


async def give_up(made: Maker, engine: sa.Engine) -> pb.PublishPoolEntry:
    """Fails three times, and so for good."""
    for _ in range(3):
        entry = await fail(made, engine)
    return entry


def end_waits(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE publish_pool SET next_attempt_time = now() WHERE next_attempt_time > now()"))


def wait_of(engine: sa.Engine) -> float:
    """Seconds from the last report to the next attempt."""
    waits = """SELECT extract(epoch FROM p.next_attempt_time - max(a.end_time))
        FROM publish_pool AS p JOIN publish_attempts AS a USING (content_id) GROUP BY p.content_id"""
    with engine.begin() as connection:
        return float(connection.execute(sa.text(waits)).scalar_one())


async def retry(contents: ContentServiceAsyncStub, content_id: int) -> pb.PublishPoolEntry:
    return (await contents.RetryPublish(pb.RetryPublishRequest(content_id=content_id))).entry


class TestAttempts:
    async def test_the_third_failure_is_the_last(self, made: Maker, engine: sa.Engine) -> None:
        content_id = (await made()).content_id
        for count, wait in ((1, 60), (2, 120)):
            entry = await fail(made, engine)
            assert (entry.status, entry.attempt_count, wait_of(engine)) == (PENDING, count, wait)
        entry = await fail(made, engine)
        assert (entry.status, entry.attempt_count, entry.error) == (FAILED, 3, "the site is away")
        assert not entry.HasField("next_attempt_time")
        end_waits(engine)
        assert await claim(made.contents) == []
        assert [attempt.number for attempt in await attempts(made.contents, content_id)] == [1, 2, 3]

    @pytest.mark.usefixtures("replica")
    async def test_settings_say_how_many_attempts_there_are_and_how_long_the_waits(
        self, db_url: str, made: Maker, engine: sa.Engine
    ) -> None:
        await made()
        async with (
            serving_beside(db_url, max_publish_attempts=2, publish_backoff=3_000) as other,
            aio.insecure_channel(f"127.0.0.1:{other.port}") as channel,
        ):
            theirs: ContentServiceAsyncStub = ContentServiceStub(channel)
            (claimed,) = await claim(theirs)
            entry = await report(theirs, claimed)
            assert (entry.status, entry.attempt_count, entry.max_attempts) == (PENDING, 1, 2)
            assert wait_of(engine) == 3_000
            end_waits(engine)
            (claimed,) = await claim(theirs)
            assert (await report(theirs, claimed)).status == FAILED

    async def test_an_attempt_is_recorded_with_its_publisher_and_times(self, made: Maker, engine: sa.Engine) -> None:
        content_id = (await made()).content_id
        assert await attempts(made.contents, content_id) == []
        await fail(made, engine, publisher="the site")
        end_waits(engine)
        (claimed,) = await claim(made.contents)
        assert claimed.publisher == "anonymous"
        await report(made.contents, claimed, published=True)
        first, second = await attempts(made.contents, content_id)
        assert (first.number, first.publisher, first.published) == (1, "the site", False)
        assert (first.error, second.error) == ("the site is away", "")
        assert (second.number, second.publisher, second.published) == (2, "anonymous", True)
        times = [time.ToNanoseconds() for attempt in (first, second) for time in (attempt.start_time, attempt.end_time)]
        assert times == sorted(times)
        assert times[0] > 0
        assert await attempts(made.contents, content_id, page_size=1) == [first]

    async def test_an_expired_claim_is_no_attempt(self, made: Maker, expire_claims: Any) -> None:
        content_id = (await made()).content_id
        await claim(made.contents, publisher="a")
        expire_claims()
        (entry,) = await pool(made.contents)
        assert (entry.status, entry.attempt_count, entry.publisher) == (PENDING, 0, "")
        assert not entry.HasField("claim_expire_time")
        assert await attempts(made.contents, content_id) == []
        (claimed,) = await claim(made.contents, publisher="b")
        assert (await report(made.contents, claimed, published=True)).attempt_count == 1
        assert [(attempt.number, attempt.publisher) for attempt in await attempts(made.contents, content_id)] == [
            (1, "b")
        ]

    async def test_what_failed_keeps_its_place_among_the_others(self, made: Maker, engine: sa.Engine) -> None:
        first, high, last = await made(), await made(priority=9), await made()
        for content in (high, first):
            (claimed,) = await claim(made.contents)
            assert claimed.content_id == content.content_id
            await report(made.contents, claimed)
        order = [high.content_id, first.content_id, last.content_id]
        assert [entry.content_id for entry in await pool(made.contents)] == order
        end_waits(engine)
        (claimed,) = await claim(made.contents)
        assert claimed.content_id == high.content_id
        assert not claimed.HasField("next_attempt_time")
        claimed_later = await claim(made.contents, limit=10, account_id=made.account)
        assert [entry.content_id for entry in claimed_later] == order[1:]

    async def test_attempts_are_deleted_with_their_content(self, made: Maker, engine: sa.Engine) -> None:
        content_id = (await made()).content_id
        await fail(made, engine)
        await delete(made.contents, content_id)
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await attempts(made.contents, content_id)
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM publish_attempts")).scalar_one() == 0


class TestRetry:
    async def test_a_failed_entry_is_pending_again_with_all_its_attempts(self, made: Maker, engine: sa.Engine) -> None:
        content_id = (await made()).content_id
        failed = await give_up(made, engine)
        entry = await retry(made.contents, content_id)
        failed.status, failed.attempt_count = PENDING, 0
        assert entry == failed
        assert await pool(made.contents) == [entry]
        (claimed,) = await claim(made.contents)
        assert (await report(made.contents, claimed)).attempt_count == 1
        assert [attempt.number for attempt in await attempts(made.contents, content_id)] == [1, 2, 3, 4]

    async def test_a_retry_ends_the_wait_for_the_next_attempt(self, made: Maker, engine: sa.Engine) -> None:
        content_id = (await made()).content_id
        await fail(made, engine)
        entry = await retry(made.contents, content_id)
        assert (entry.status, entry.attempt_count) == (PENDING, 0)
        assert len(await claim(made.contents)) == 1

    @pytest.mark.parametrize("state", ["pending", "publishing", "published"])
    async def test_what_has_not_failed_is_not_retried(self, made: Maker, state: str) -> None:
        content_id = (await made()).content_id
        if state != "pending":
            (claimed,) = await claim(made.contents)
        if state == "published":
            await report(made.contents, claimed, published=True)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await retry(made.contents, content_id)
        assert refusal.metadata == {"current_state": state, "required_state": "failed"}


async def update(contents: ContentServiceAsyncStub, content_id: int, *paths: str, **values: Any) -> pb.PublishPoolEntry:
    entry = pb.PublishPoolEntry(content_id=content_id, **values)
    request = pb.UpdatePublishPoolEntryRequest(entry=entry, update_mask=FieldMask(paths=paths))
    return (await contents.UpdatePublishPoolEntry(request)).entry


LATER = Timestamp(seconds=32_000_000_000)


class TestUpdate:
    async def test_only_the_fields_in_the_mask_change(self, made: Maker) -> None:
        first, second = await made(), await made()
        entry = await update(made.contents, second.content_id, "priority", priority=9, schedule_time=LATER)
        assert entry.priority == 9
        assert not entry.HasField("schedule_time")
        assert [item.content_id for item in await pool(made.contents)] == [second.content_id, first.content_id]
        entry = await update(made.contents, second.content_id, "schedule_time", priority=1, schedule_time=LATER)
        assert (entry.priority, entry.schedule_time) == (9, LATER)
        assert [item.content_id for item in await claim(made.contents, limit=2)] == [first.content_id]
        entry = await update(made.contents, second.content_id, "schedule_time")
        assert not entry.HasField("schedule_time")
        assert [item.content_id for item in await claim(made.contents, limit=2)] == [second.content_id]

    async def test_a_failed_entry_stays_failed(self, made: Maker, engine: sa.Engine) -> None:
        content_id = (await made()).content_id
        await give_up(made, engine)
        entry = await update(made.contents, content_id, "priority", priority=1)
        assert (entry.status, entry.priority, entry.attempt_count) == (FAILED, 1, 3)

    async def test_a_new_time_and_the_wait_for_the_next_attempt_hold_together(
        self, made: Maker, engine: sa.Engine
    ) -> None:
        content_id = (await made()).content_id
        failed = await fail(made, engine)
        entry = await update(made.contents, content_id, "schedule_time", schedule_time=LATER)
        assert (entry.status, entry.next_attempt_time) == (PENDING, failed.next_attempt_time)
        end_waits(engine)
        assert await claim(made.contents) == []
        await update(made.contents, content_id, "schedule_time", schedule_time=Timestamp(seconds=1))
        assert len(await claim(made.contents)) == 1

    async def test_an_entry_with_an_expired_claim_waits_for_its_new_time(self, made: Maker, expire_claims: Any) -> None:
        content_id = (await made()).content_id
        (claimed,) = await claim(made.contents)
        expire_claims()
        assert (await update(made.contents, content_id, "schedule_time", schedule_time=LATER)).status == PENDING
        assert await claim(made.contents) == []
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE"):
            await report(made.contents, claimed, published=True)

    @pytest.mark.parametrize(("published", "current"), [(False, "publishing"), (True, "published")])
    async def test_claimed_and_published_entries_do_not_change(
        self, made: Maker, published: bool, current: str
    ) -> None:
        content_id = (await made()).content_id
        (claimed,) = await claim(made.contents)
        if published:
            await report(made.contents, claimed, published=True)
        before = await pool(made.contents)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await update(made.contents, content_id, "priority", priority=1)
        assert refusal.metadata == {"current_state": current, "required_state": "pending,failed"}
        assert await pool(made.contents) == before

    async def test_every_bad_field_is_named(self, contents: ContentServiceAsyncStub) -> None:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await update(contents, 0)
        assert refusal.fields == ["entry.content_id", "update_mask"]
        time = Timestamp(seconds=-1 << 62)
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await update(contents, 1, "status", "priority", "schedule_time", schedule_time=time)
        assert refusal.fields == ["update_mask.paths[0]", "entry.priority", "entry.schedule_time"]


async def remove(contents: ContentServiceAsyncStub, content_id: int) -> None:
    await contents.RemoveFromPublishPool(pb.RemoveFromPublishPoolRequest(content_id=content_id))


class TestRemove:
    @pytest.mark.parametrize("state", ["pending", "waiting", "failed", "published", "expired"])
    async def test_a_content_leaves_the_pool_and_stays_with_its_attempts(
        self, made: Maker, engine: sa.Engine, expire_claims: Any, state: str
    ) -> None:
        content_id = (await made()).content_id
        if state == "waiting":
            await fail(made, engine)
        elif state == "failed":
            await give_up(made, engine)
        elif state != "pending":
            (claimed,) = await claim(made.contents)
            await report(made.contents, claimed, published=True) if state == "published" else expire_claims()
        before = await attempts(made.contents, content_id)
        await remove(made.contents, content_id)
        assert await pool(made.contents) == []
        assert await claim(made.contents) == []
        content = (await made.contents.GetContent(pb.GetContentRequest(content_id=content_id))).content
        assert content.review_status == pb.REVIEW_STATUS_APPROVED
        assert await attempts(made.contents, content_id) == before
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await remove(made.contents, content_id)

    async def test_a_claimed_entry_is_not_removed(self, made: Maker) -> None:
        content_id = (await made()).content_id
        (claimed,) = await claim(made.contents)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await remove(made.contents, content_id)
        assert refusal.metadata == {"current_state": "publishing", "required_state": "pending,published,failed"}
        assert (await report(made.contents, claimed, published=True)).status == PUBLISHED


async def renew(contents: ContentServiceAsyncStub, claimed: pb.PublishPoolEntry, **fields: Any) -> pb.PublishPoolEntry:
    request = pb.RenewPublishClaimRequest(content_id=claimed.content_id, claim_id=claimed.claim_id, **fields)
    return (await contents.RenewPublishClaim(request)).entry


class TestRenew:
    async def test_a_claim_holds_for_the_new_lease(self, made: Maker) -> None:
        await made()
        (claimed,) = await claim(made.contents, lease=Duration(seconds=30), publisher="a")
        entry = await renew(made.contents, claimed, lease=Duration(seconds=900))
        gained = entry.claim_expire_time.ToSeconds() - claimed.claim_expire_time.ToSeconds()
        assert gained >= 870
        claimed.claim_expire_time.CopyFrom(entry.claim_expire_time)
        assert entry == claimed
        shorter = await renew(made.contents, claimed)
        assert shorter.claim_expire_time.ToSeconds() < entry.claim_expire_time.ToSeconds()

    async def test_claims_that_do_not_hold_are_not_renewed(self, made: Maker, expire_claims: Any) -> None:
        await made()
        (old,) = await claim(made.contents)
        expire_claims()
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await renew(made.contents, old)
        assert refusal.metadata == {"current_state": "pending", "required_state": "publishing"}
        (latest,) = await claim(made.contents)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await renew(made.contents, old)
        assert refusal.metadata == {"current_state": "publishing", "required_state": "publishing"}
        assert await pool(made.contents) == [latest]


class TestList:
    async def test_entries_are_listed_in_the_order_of_claims_page_by_page(self, made: Maker) -> None:
        made_ids = [(await made(priority=priority)).content_id for priority in (5, 10, 1, 5, 1, 9, 5)]
        request = pb.ListPublishPoolRequest(page_size=2)
        listed = []
        while True:
            page = await made.contents.ListPublishPool(request)
            listed += [entry.content_id for entry in page.entries]
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        assert listed == [made_ids[n] for n in (1, 5, 0, 3, 6, 2, 4)]
        assert [entry.content_id for entry in await claim(made.contents, limit=10)] == listed

    async def test_entries_are_listed_by_status(self, made: Maker, engine: sa.Engine, expire_claims: Any) -> None:
        states: dict[str, int] = {}
        for state in ("failed", "waiting", "published", "expired", "publishing"):
            states[state] = (await made()).content_id
            if state == "failed":
                await give_up(made, engine)
            elif state == "waiting":
                await fail(made, engine)
            else:
                (claimed,) = await claim(made.contents)
            if state == "published":
                await report(made.contents, claimed, published=True)
            if state == "expired":
                expire_claims()
                await update(made.contents, states["expired"], "schedule_time", schedule_time=LATER)
        states["new"] = (await made()).content_id
        expected = {
            PENDING: ["waiting", "expired", "new"],
            PUBLISHING: ["publishing"],
            PUBLISHED: ["published"],
            FAILED: ["failed"],
        }
        for wanted in ([PENDING], [PUBLISHING], [PUBLISHED], [FAILED], [FAILED, PENDING], [PUBLISHED, PUBLISHING], []):
            entries = []
            for account_id in (0, made.account):
                request = pb.ListPublishPoolRequest(account_id=account_id, statuses=wanted)
                entries = list((await made.contents.ListPublishPool(request)).entries)
                named = [name for status in wanted or expected for name in expected[status]]
                assert [entry.content_id for entry in entries] == sorted(states[name] for name in named)
            assert {entry.status for entry in entries} == set(wanted or expected)

    @pytest.mark.parametrize("examined", [2, 5_000])
    async def test_entries_are_listed_by_their_time(
        self, made: Maker, monkeypatch: pytest.MonkeyPatch, examined: int
    ) -> None:
        """However few of them a page examines."""
        monkeypatch.setattr("scheduler_svc.publishing.sql.MAX_EXAMINED", examined)
        made_ids = [(await made(priority=1 + n % 3)).content_id for n in range(8)]
        times = [Timestamp(seconds=LATER.seconds + n) for n in range(8)]
        for content_id, time in list(zip(made_ids, times, strict=True))[2:]:
            await update(made.contents, content_id, "schedule_time", schedule_time=time)

        async def listed(**wanted: Any) -> list[int]:
            request = pb.ListPublishPoolRequest(page_size=2, **wanted)
            indexes = []
            while True:
                page = await made.contents.ListPublishPool(request)
                indexes += [made_ids.index(entry.content_id) for entry in page.entries]
                request.page_token = page.next_page_token
                if not request.page_token:
                    return indexes

        for account_id in (0, made.account):
            assert await listed(account_id=account_id, scheduled_after=times[4]) == [5, 4, 7, 6]
            assert await listed(account_id=account_id, scheduled_before=times[6]) == [2, 5, 4, 3]
            both = {"scheduled_after": times[4], "scheduled_before": times[6]}
            assert await listed(account_id=account_id, statuses=[PENDING], **both) == [5, 4]

    async def test_a_token_of_another_filter_is_refused(self, made: Maker) -> None:
        for _ in range(2):
            await made()
        page = await made.contents.ListPublishPool(pb.ListPublishPoolRequest(page_size=1, statuses=[PENDING]))
        token = page.next_page_token
        for request in (pb.ListPublishPoolRequest(page_token=token), pb.ListPublishPoolRequest(page_token="WzUsIHhd")):
            with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
                await made.contents.ListPublishPool(request)
            assert refusal.fields == ["page_token"]


async def delete(contents: ContentServiceAsyncStub, content_id: int, *, force: bool = False) -> None:
    await contents.DeleteContent(pb.DeleteContentRequest(content_id=content_id, force=force))


async def is_gone(made: Maker, content_id: int) -> bool:
    """Whether neither the content nor its entry exists."""
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await made.contents.GetContent(pb.GetContentRequest(content_id=content_id))
    return content_id not in {entry.content_id for entry in await pool(made.contents)}


class TestDelete:
    @pytest.mark.parametrize("auto_approve", [True, False])
    async def test_a_content_is_deleted_with_its_entry_and_its_task_stays(
        self, made: Maker, auto_approve: bool
    ) -> None:
        content = await made(auto_approve=auto_approve)
        await delete(made.contents, content.content_id)
        assert await is_gone(made, content.content_id)
        task = (await made.tasks.GetTask(task_pb.GetTaskRequest(task_id=content.task_id))).task
        assert task.content_id == content.content_id
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await delete(made.contents, content.content_id)
        assert refusal.metadata == {"resource_type": "content", "resource_id": str(content.content_id)}

    async def test_claimed_contents_are_deleted_by_force_only(self, made: Maker) -> None:
        content = await made()
        (claimed,) = await claim(made.contents)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await delete(made.contents, content.content_id)
        assert refusal.metadata == {"current_state": "publishing", "required_state": "pending,failed"}
        await delete(made.contents, content.content_id, force=True)
        assert await is_gone(made, content.content_id)
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await report(made.contents, claimed, published=True)

    async def test_published_contents_are_deleted_by_force_only(self, made: Maker) -> None:
        content = await made()
        (claimed,) = await claim(made.contents)
        await report(made.contents, claimed, published=True)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await delete(made.contents, content.content_id)
        assert refusal.metadata == {"current_state": "published", "required_state": "pending,failed"}
        assert [entry.status for entry in await pool(made.contents)] == [pb.PUBLISH_STATUS_PUBLISHED]
        await delete(made.contents, content.content_id, force=True)
        assert await is_gone(made, content.content_id)

    async def test_a_content_with_an_expired_claim_is_deleted(self, made: Maker, expire_claims: Any) -> None:
        content = await made()
        await claim(made.contents)
        expire_claims()
        await delete(made.contents, content.content_id)
        assert await is_gone(made, content.content_id)


@pytest.mark.usefixtures("replica")
async def test_the_retention_deletes_old_contents(db_url: str, engine: sa.Engine, made: Maker) -> None:
    """Another replica has the setting; it applies to the whole database."""
    content = await made()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE contents SET create_time = now() - interval '1 hour'"))
    async with serving_beside(db_url, content_retention=60):
        await wait_until_async(lambda: not is_there(engine), within=10, what="the content is deleted")
    assert await is_gone(made, content.content_id)


def is_there(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(sa.text("SELECT count(*) FROM contents")).scalar_one())
