"""Review and publish pool over a real server on a real database; time moves by SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_service_pb2 as task_pb
from tests.contract.maker import Maker
from tests.harness.replicas import serving_beside
from tests.harness.rpc_errors import refused
from tests.harness.waiting import wait_until_async

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub

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
            content_id=content.content_id, account_id=made.account, priority=9, schedule_time=due, status=PENDING
        )
        assert await pool(made.contents) == [expected]

    async def test_a_rejected_content_does_not_enter_the_pool(self, made: Maker) -> None:
        content = await made(auto_approve=False)
        decided = await review(made.contents, content.content_id, REJECT, "too long")
        assert (decided.review_status, decided.review_comment) == (pb.REVIEW_STATUS_REJECTED, "too long")
        assert await pool(made.contents) == []
        listed = await made.contents.ListContents(pb.ListContentsRequest(review_status=pb.REVIEW_STATUS_REJECTED))
        assert [each.content_id for each in listed.contents] == [content.content_id]

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
        assert [each.status for each in await pool(made.contents)] == [PENDING, PUBLISHING]

    async def test_the_highest_priority_comes_first_then_the_oldest(self, made: Maker) -> None:
        low, high, old = await made(priority=1), await made(priority=10), await made(priority=1)
        claimed = await claim(made.contents, limit=2)
        assert [each.content_id for each in claimed] == [high.content_id, low.content_id]
        assert [each.content_id for each in await claim(made.contents, limit=1_000)] == [old.content_id]
        assert await claim(made.contents) == []

    async def test_each_entry_has_a_claim_of_its_own(self, made: Maker, expire_claims: Any) -> None:
        for _ in range(3):
            await made()
        first = {each.claim_id for each in await claim(made.contents, limit=3)}
        expire_claims()
        again = {each.claim_id for each in await claim(made.contents, limit=3)}
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
        assert [each.status for each in await pool(made.contents)] == [PUBLISHING]

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
        entry = await report(made.contents, claimed, published=True)
        claimed.status = PUBLISHED
        assert entry == claimed
        assert await pool(made.contents) == [entry]
        assert await claim(made.contents) == []

    async def test_a_failed_entry_is_final_and_keeps_its_error(self, made: Maker) -> None:
        await made()
        (claimed,) = await claim(made.contents)
        entry = await report(made.contents, claimed, error="拒" * 2_000)
        assert (entry.status, entry.error) == (FAILED, "拒" * 2_000)
        assert await pool(made.contents) == [entry]
        assert await claim(made.contents) == []

    @pytest.mark.parametrize(("first", "current"), [(True, "published"), (False, "failed")])
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
            await report(contents, pb.PublishPoolEntry(claim_id=claim_id), error="字" * 2_001)
        assert refusal.fields == ["content_id", "claim_id", "error"]


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
