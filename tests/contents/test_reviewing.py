"""Decisions that are taken back, made together, or of a reviewer who holds the review; over a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode, aio

from contentgen.v1 import content_service_pb2 as pb
from scheduler_svc.replica.replica import Replica
from tests.api.cases import NOTHING, Bad, Good, The, missing, of, wrong_state
from tests.harness.client import bad_fields, refused
from tests.harness.credentials import Caller, line, write
from tests.harness.maker import Maker
from tests.harness.replicas import serving
from tests.harness.scheduling import sql
from tests.harness.scripted_worker import ScriptedWorker

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

APPROVE, REJECT = pb.REVIEW_DECISION_APPROVE, pb.REVIEW_DECISION_REJECT
WAITS, APPROVED = pb.REVIEW_STATUS_PENDING_REVIEW, pb.REVIEW_STATUS_APPROVED


async def claim(maker: Maker, reviewer: str = "", **fields: Any) -> pb.Content | None:
    answer = await maker.contents.ClaimReview(pb.ClaimReviewRequest(reviewer=reviewer, **fields))
    return answer.content if answer.HasField("content") else None


async def claimed(maker: Maker, reviewer: str = "", **fields: Any) -> pb.Content:
    content = await claim(maker, reviewer, **fields)
    assert content is not None
    return content


async def release(maker: Maker, content_id: int) -> pb.Content:
    return (await maker.contents.ReleaseReview(pb.ReleaseReviewRequest(content_id=content_id))).content


class TestDecisions:
    async def test_only_what_was_read_is_decided_on(self, maker: Maker) -> None:
        content = await maker(auto_approve=False)
        edited = await maker.edit(content.content_id, title="another")
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
            await maker.review(content.content_id, etag=content.etag)
        assert refusal.metadata == {"etag": edited.etag}
        assert await maker.pooled() == []
        assert (await maker.review(content.content_id, etag=edited.etag)).review_status == APPROVED

    async def test_an_approval_may_say_when_to_publish(self, maker: Maker) -> None:
        first, second = await maker(auto_approve=False), await maker(auto_approve=False)
        at = Timestamp(seconds=1_900_000_000)
        await maker.review(first.content_id, schedule_time=at)
        await maker.review(second.content_id)
        scheduled, plain = await maker.pool()
        assert (scheduled.content_id, scheduled.schedule_time) == (first.content_id, at)
        assert (plain.content_id, plain.HasField("schedule_time")) == (second.content_id, False)

    async def test_a_batch_decides_all_of_them(self, maker: Maker) -> None:
        first, second = await maker(auto_approve=False), await maker(auto_approve=False)
        requests = [
            pb.ReviewContentRequest(content_id=second.content_id, decision=REJECT, reviewer="boris"),
            pb.ReviewContentRequest(content_id=first.content_id, decision=APPROVE, comment="good"),
        ]
        batch = pb.BatchReviewContentsRequest(requests=requests, reviewer="anna")
        decided = (await maker.contents.BatchReviewContents(batch)).contents
        assert [item.content_id for item in decided] == [second.content_id, first.content_id]
        assert [item.reviewer for item in decided] == ["boris", "anna"]
        assert [item.body for item in decided] == ["", ""]
        assert await maker.pooled() == [first.content_id]
        for summary in decided:
            content = await maker.read(summary.content_id)
            content.ClearField("body")
            assert content == summary

    async def test_a_batch_decides_nothing_if_one_cannot_be_decided(self, maker: Maker) -> None:
        good, edited = await maker(auto_approve=False), await maker(auto_approve=False)
        requests = [
            pb.ReviewContentRequest(content_id=content.content_id, decision=APPROVE, etag=etag)
            for content, etag in ((good, good.etag), (edited, "stale"))
        ]
        with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
            await maker.contents.BatchReviewContents(pb.BatchReviewContentsRequest(requests=requests))
        assert f"content {edited.content_id} " in refusal.message
        assert await maker.read(good.content_id) == good

    async def test_a_batch_has_a_hundred_requests_at_most(self, maker: Maker) -> None:
        requests = [pb.ReviewContentRequest(content_id=1 + n, decision=APPROVE) for n in range(101)]
        with bad_fields("requests"):
            await maker.contents.BatchReviewContents(pb.BatchReviewContentsRequest(requests=requests))


class TestReopen:
    @pytest.mark.parametrize("decision", [APPROVE, REJECT])
    async def test_a_decision_is_taken_back(self, maker: Maker, decision: Any) -> None:
        content = await maker(auto_approve=False)
        decided = await maker.review(content.content_id, decision, comment="a mistake", reviewer="anna")
        reopened = await maker.reopen(content.content_id)
        assert reopened.etag not in {content.etag, decided.etag}
        reopened.etag = content.etag
        assert reopened == content, "as if nobody had decided"
        assert await maker.pooled() == []
        approved = await maker.review(content.content_id, reviewer="boris")
        assert (approved.reviewer, approved.publish_status) == ("boris", pb.PUBLISH_STATUS_PENDING)
        assert await maker.pooled() == [content.content_id]
        for assignee in ("anna", "anna", ""):
            await maker.contents.AssignReview(pb.AssignReviewRequest(content_id=content.content_id, assignee=assignee))
        request = pb.ListReviewEventsRequest(content_id=content.content_id)
        events = (await maker.contents.ListReviewEvents(request)).events
        assert [(event.actor, event.review_status, event.comment, event.assignee) for event in events] == [
            ("anna", decided.review_status, "a mistake", ""),
            ("anonymous", pb.REVIEW_STATUS_PENDING_REVIEW, "", ""),
            ("boris", pb.REVIEW_STATUS_APPROVED, "", ""),
            ("anonymous", 0, "", "anna"),
            ("anonymous", 0, "", ""),
        ]
        assert [event.event_time for event in (events[0], events[2])] == [decided.review_time, approved.review_time]

    async def test_what_waits_stays_as_it_is(self, maker: Maker) -> None:
        content = await maker(auto_approve=False)
        assert await maker.reopen(content.content_id) == content


class TestClaims:
    async def test_two_reviewers_get_different_contents_the_oldest_first(self, maker: Maker) -> None:
        await maker()
        first, second = await maker(auto_approve=False), await maker(auto_approve=False)
        one, two = await claimed(maker, "anna"), await claimed(maker, "boris")
        assert [one.content_id, two.content_id] == [first.content_id, second.content_id]
        assert [one.review_holder, two.review_holder] == ["anna", "boris"]
        assert one.etag == first.etag, "no decision on it is stale"
        assert await claim(maker, "clara") is None
        assert await maker.read(first.content_id) == one

    async def test_a_claim_holds_for_ten_minutes_by_default(self, maker: Maker, engine: sa.Engine) -> None:
        await maker(auto_approve=False)
        holds = "SELECT extract(epoch FROM review_claim_expire_time - now()) FROM contents"
        for lease, low, high in ((None, 590, 600), (Duration(seconds=5), 0, 5)):
            content = await claimed(maker, lease=lease)
            ((seconds,),) = sql(engine, holds)
            assert low < seconds <= high
            await release(maker, content.content_id)
        longest = await claimed(maker, lease=Duration(seconds=315_576_000_000))
        assert longest.review_claim_expire_time.ToJsonString() == "9999-12-31T00:00:00Z"

    async def test_an_expired_claim_is_gone(self, maker: Maker, engine: sa.Engine) -> None:
        content = await maker(auto_approve=False)
        await claim(maker, "anna")
        sql(engine, "UPDATE contents SET review_claim_expire_time = now()")
        assert await maker.read(content.content_id) == content
        assert (await claimed(maker, "boris")).review_holder == "boris"

    async def test_a_claim_bars_nobody_from_deciding_and_ends_then(self, maker: Maker) -> None:
        content = await maker(auto_approve=False)
        await claim(maker, "anna")
        decided = await maker.review(content.content_id, REJECT, reviewer="boris")
        assert (decided.reviewer, decided.review_holder) == ("boris", "")
        await maker.reopen(content.content_id)
        assert (await claimed(maker, "clara")).content_id == content.content_id

    async def test_a_named_content_is_given_to_one_reviewer_and_its_lease_begins_anew(self, maker: Maker) -> None:
        older, wanted = await maker(auto_approve=False), await maker(auto_approve=False)
        held = await claimed(maker, "anna", content_id=wanted.content_id, lease=Duration(seconds=60))
        assert (held.content_id, held.review_holder, held.etag) == (wanted.content_id, "anna", wanted.etag)
        assert await claim(maker, "boris", content_id=wanted.content_id) is None
        renewed = await claimed(maker, "anna", content_id=wanted.content_id)
        assert renewed.review_claim_expire_time.seconds > held.review_claim_expire_time.seconds + 400
        assert await maker.read(older.content_id) == older
        decided = await maker()
        assert await claim(maker, "anna", content_id=decided.content_id) is None
        assert await maker.read(decided.content_id) == decided


@pytest.mark.usefixtures("replica")
class TestWithTokens:
    @pytest.fixture
    async def replica(self, db_url: str, tmp_path: Path) -> AsyncIterator[Replica]:
        lines = [line("op", "operator"), line("w", "worker"), line("anna", "client"), line("boris", "reviewer", [1])]
        async with serving(db_url, tokens_file=write(tmp_path / "tokens", *lines)) as replica:
            yield replica

    async def test_the_reviewer_is_the_token_s_name(self, channel: aio.Channel) -> None:
        operator, anna, boris = (Caller(channel, f"{name}-token") for name in ("op", "anna", "boris"))
        await operator("AccountService/CreateAccount", name="one")
        async with ScriptedWorker(channel, token="w-token") as worker:
            for _ in range(2):
                await operator("TaskService/SubmitTask", account_id=1, topic="a topic", auto_approve=False)
                await worker.complete(await worker.run())
        one = (await anna("ContentService/ClaimReview", reviewer="boris"))["content"]
        two = (await boris("ContentService/ClaimReview"))["content"]
        assert [one["review_holder"], two["review_holder"]] == ["anna", "boris"]
        with refused(StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN") as refusal:
            await boris("ContentService/ReleaseReview", content_id=one["content_id"])
        assert refusal.metadata == {"role": "reviewer", "required_role": "operator"}
        await boris("ContentService/ReleaseReview", content_id=two["content_id"])
        await boris("ContentService/ReleaseReview", content_id=two["content_id"])
        await operator("ContentService/ReleaseReview", content_id=one["content_id"])
        title = {"content_id": one["content_id"], "title": "another"}
        await anna("ContentService/UpdateContent", content=title, update_mask="title", reviewer="boris")
        answer = await anna("ContentService/ListContentRevisions", content_id=one["content_id"])
        assert answer["revisions"][1]["author"] == "anna"
        decision = {"content_id": one["content_id"], "decision": "REVIEW_DECISION_APPROVE", "reviewer": "anna"}
        decided = await boris("ContentService/ReviewContent", **decision)
        assert decided["content"]["reviewer"] == "boris"


# What tests/api calls: requests that are answered, and those that are refused.
GOOD = [
    Good(
        "ReviewContent",
        {
            **of(content="unreviewed"),
            "decision": "REVIEW_DECISION_APPROVE",
            "comment": "字" * 2_000,
            "etag": The("unreviewed", "etag"),
            "reviewer": "审" * 200,
            "schedule_time": "2030-01-31T12:00:00Z",
        },
        {
            "content": {
                "review_status": "REVIEW_STATUS_APPROVED",
                "review_comment": "字" * 2_000,
                "reviewer": "审" * 200,
                "review_time": str,
                "publish_status": "PUBLISH_STATUS_PENDING",
            }
        },
    ),
    Good(
        "BatchReviewContents",
        {
            "requests": [
                {
                    **of(content="unreviewed"),
                    "decision": "REVIEW_DECISION_APPROVE",
                    "comment": "good",
                    "etag": The("unreviewed", "etag"),
                    "reviewer": "anna",
                },
                {**of(content="held"), "decision": "REVIEW_DECISION_REJECT"},
            ],
            "reviewer": "boris",
        },
        {
            "contents": [
                {"review_status": "REVIEW_STATUS_APPROVED", "reviewer": "anna", "body": ""},
                {"review_status": "REVIEW_STATUS_REJECTED", "reviewer": "boris", "review_holder": ""},
            ]
        },
    ),
    *(
        Good(
            "ReopenContent",
            of(content=what),
            {
                "content": {
                    "review_status": "REVIEW_STATUS_PENDING_REVIEW",
                    "publish_status": "PUBLISH_STATUS_UNSPECIFIED",
                    "reviewer": "",
                    "review_comment": "",
                }
            },
        )
        for what in ("approved", "approved_by_review", "rejected", "unreviewed", "unpublishable", "lapsed")
    ),
    Good(
        "ClaimReview",
        {**of(account="unreviewed"), "lease": "1s", "reviewer": "审" * 200},
        {
            "content": {
                **of(content="unreviewed"),
                "body": "an article",
                "review_holder": "审" * 200,
                "review_claim_expire_time": str,
            }
        },
    ),
    Good(
        "ClaimReview",
        {**of(content="unreviewed"), "reviewer": "anna"},
        {"content": {**of(content="unreviewed"), "review_holder": "anna"}},
    ),
    Good("ReleaseReview", of(content="held"), {"content": {**of(content="held"), "review_holder": ""}}),
]
BAD = [
    missing("ClaimReview", {"content_id": NOTHING}, "content"),
    Bad("ReviewContent", {"comment": "字" * 2_001}, fields=("content_id", "decision", "comment")),
    missing("ReviewContent", {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"}, "content"),
    Bad(
        "ReviewContent",
        {**of(content="edited"), "decision": "REVIEW_DECISION_REJECT", "etag": "e" * 201},
        fields=("etag",),
    ),
    Bad("BatchReviewContents", {}, fields=("requests",)),
    Bad(
        "BatchReviewContents",
        {"requests": [{"content_id": 1, "decision": 1}, {"content_id": 1}], "reviewer": "n" * 201},
        fields=("reviewer", "requests[1].decision", "requests[1].content_id"),
    ),
    missing(
        "BatchReviewContents",
        {
            "requests": [
                {**of(content="unreviewed"), "decision": "REVIEW_DECISION_REJECT"},
                {"content_id": NOTHING, "decision": "REVIEW_DECISION_REJECT"},
            ]
        },
        "content",
    ),
    wrong_state(
        "BatchReviewContents",
        {"requests": [{**of(content="rejected"), "decision": "REVIEW_DECISION_APPROVE"}]},
        "rejected",
        "pending_review",
    ),
    wrong_state("ReopenContent", of(content="claimed"), "publishing", "pending,failed"),
    wrong_state("ReopenContent", of(content="published"), "published", "pending,failed"),
    Bad(
        "ClaimReview",
        {"account_id": -1, "lease": "0.999s", "reviewer": "n" * 201, "content_id": -1},
        fields=("account_id", "lease", "reviewer", "content_id"),
    ),
]
