"""ContentService over a real server on a real database, with contents of a scripted worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from contentgen.v1 import content_service_pb2 as pb
from tests.contract.maker import BODY, Maker
from tests.harness.rpc_errors import refused

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub

pytestmark = pytest.mark.usefixtures("shared")


async def test_a_content_has_the_fields_of_the_cli_s_result(made: Maker) -> None:
    content = await made(
        "题" * 300, category="科技", html_body="<p>", images=["https://a/1.png", "2.png"], quality_score=0.0
    )
    assert content.account_id == made.account
    assert content.task_id.startswith("task-")
    assert content.title == "题" * 255
    assert (content.body, content.html_body, content.category) == (BODY, "<p>", "科技")
    assert content.summary == BODY[:200]
    assert (list(content.images), content.cover_image) == (["https://a/1.png", "2.png"], "https://a/1.png")
    assert content.word_count == len(BODY)
    assert content.HasField("quality_score")
    assert content.review_status == pb.REVIEW_STATUS_APPROVED
    assert content.HasField("create_time")


async def test_fields_that_the_cli_left_out_are_unset(made: Maker) -> None:
    content = await made()
    assert not content.HasField("quality_score")
    assert (content.html_body, list(content.images), content.cover_image) == ("", [], "")


async def test_an_unapproved_content_waits_for_review_outside_the_pool(made: Maker) -> None:
    content = await made(auto_approve=False)
    assert content.review_status == pb.REVIEW_STATUS_PENDING_REVIEW
    assert not (await made.contents.ListPublishPool(pb.ListPublishPoolRequest())).entries


async def test_contents_are_listed_newest_first_without_their_texts(made: Maker) -> None:
    contents = [await made(html_body="<p>"), await made(auto_approve=False), await made()]
    for content in contents:
        content.ClearField("body")
        content.ClearField("html_body")
    newest_first = contents[::-1]
    assert list((await made.contents.ListContents(pb.ListContentsRequest())).contents) == newest_first
    first = await made.contents.ListContents(pb.ListContentsRequest(account_id=made.account, page_size=2))
    token = first.next_page_token
    rest = await made.contents.ListContents(pb.ListContentsRequest(account_id=made.account, page_token=token))
    assert [*first.contents, *rest.contents] == newest_first
    assert not rest.next_page_token
    waiting = pb.ListContentsRequest(review_status=pb.REVIEW_STATUS_PENDING_REVIEW)
    assert list((await made.contents.ListContents(waiting)).contents) == [contents[1]]
    other = pb.ListContentsRequest(account_id=made.account + 1)
    assert not (await made.contents.ListContents(other)).contents


async def test_the_publish_pool_lists_approved_contents(made: Maker) -> None:
    later = await made(schedule_time=Timestamp(seconds=1_000_000_000))
    first = await made("A headline", priority=9)
    entries = (await made.contents.ListPublishPool(pb.ListPublishPoolRequest())).entries
    assert [entry.content_id for entry in entries] == [first.content_id, later.content_id]
    high, low = entries
    assert (high.account_id, high.priority, high.status) == (made.account, 9, pb.PUBLISH_STATUS_PENDING)
    assert (high.error, high.claim_id, high.publisher, high.published_url) == ("", "", "", "")
    assert (high.title, high.attempt_count, high.max_attempts) == ("A headline", 0, 3)
    assert not high.HasField("next_attempt_time")
    assert not high.HasField("claim_expire_time")
    assert low.priority == 5
    page = await made.contents.ListPublishPool(pb.ListPublishPoolRequest(account_id=made.account, page_size=1))
    assert list(page.entries) == [high]
    token = page.next_page_token
    rest = await made.contents.ListPublishPool(pb.ListPublishPoolRequest(account_id=made.account, page_token=token))
    assert list(rest.entries) == [low]
    assert not rest.next_page_token


async def test_an_unknown_content_is_not_found(contents: ContentServiceAsyncStub) -> None:
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
        await contents.GetContent(pb.GetContentRequest(content_id=999))
    assert refusal.metadata == {"resource_type": "content", "resource_id": "999"}
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await contents.GetContent(pb.GetContentRequest())
    assert refusal.fields == ["content_id"]


async def test_bad_lists_are_refused_with_every_bad_field(contents: ContentServiceAsyncStub) -> None:
    request = pb.ListContentsRequest(account_id=-1, page_size=-1, page_token="?", review_status=9)  # type: ignore[arg-type]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await contents.ListContents(request)
    assert refusal.fields == ["account_id", "review_status", "page_size", "page_token"]
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await contents.ListPublishPool(pb.ListPublishPoolRequest(account_id=-1, page_size=-1, page_token="?"))
    assert refusal.fields == ["account_id", "page_size", "page_token"]


async def test_title_usage_and_model_are_the_creator_s_where_it_gives_them(made: Maker) -> None:
    usage = {"input_tokens": 1200.0, "cost": 0.25, "": 1.0, "n" * 64: 1.0, "inf": float("inf")}
    content = await made("a topic", "# A *title*\n\nA text.", title=" 一个标题\0 ", usage=usage, model="a model")
    assert (content.title, content.model) == ("一个标题", "a model")
    assert dict(content.usage) == {"input_tokens": 1200.0, "cost": 0.25}
    assert content.summary == "A title A text."


async def test_the_title_is_the_topic_where_the_creator_gives_none(made: Maker) -> None:
    content = await made("a topic")
    assert (content.title, content.model, dict(content.usage)) == ("a topic", "", {})
    assert (await made("a topic", title="t" * 300)).title == "t" * 255
