"""Edits of contents and their revisions, over a real server on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from contentgen.v1 import content_service_pb2 as pb
from scheduler_svc.contents.sql.contents import MAX_REVISIONS
from tests.contract.maker import BODY, Maker
from tests.harness.rpc_errors import refused

if TYPE_CHECKING:
    from contentgen.v1.content_service_pb2_grpc import ContentServiceAsyncStub

pytestmark = pytest.mark.usefixtures("shared")

MIB = 1024 * 1024


async def edit(
    contents: ContentServiceAsyncStub, content_id: int, etag: str = "", reviewer: str = "", **texts: Any
) -> pb.Content:
    content = pb.Content(content_id=content_id, **texts)
    request = pb.UpdateContentRequest(
        content=content, update_mask=FieldMask(paths=list(texts)), etag=etag, reviewer=reviewer
    )
    return (await contents.UpdateContent(request)).content


async def read(contents: ContentServiceAsyncStub, content_id: int) -> pb.Content:
    return (await contents.GetContent(pb.GetContentRequest(content_id=content_id))).content


async def revisions(
    contents: ContentServiceAsyncStub, content_id: int, size: int = 0
) -> list[list[pb.ContentRevision]]:
    """By page."""
    request = pb.ListContentRevisionsRequest(content_id=content_id, page_size=size)
    pages = []
    while True:
        page = await contents.ListContentRevisions(request)
        pages.append(list(page.revisions))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return pages


def rows(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM content_revisions")).scalar_one())


async def test_an_edit_changes_what_the_mask_names_and_no_more(made: Maker) -> None:
    content = await made(html_body="<p>", images=["one.png", "two.png"], category="科技", auto_approve=False)
    edited = await edit(made.contents, content.content_id, content.etag, title="新题目", cover_image="two.png")
    assert (edited.title, edited.cover_image, edited.revision) == ("新题目", "two.png", 2)
    assert edited.etag != content.etag
    assert await read(made.contents, content.content_id) == edited
    for name in ("title", "cover_image", "revision", "etag"):
        edited.ClearField(name)
        content.ClearField(name)
    assert edited == content


async def test_what_is_derived_from_the_body_follows_it(made: Maker) -> None:
    content = await made(html_body="<p>old")
    edited = await edit(made.contents, content.content_id, body="new")
    assert (edited.body, edited.html_body, edited.summary, edited.word_count) == ("new", "", "new", 3)
    edited = await edit(made.contents, content.content_id, body="newer", html_body="<p>newer", summary="an abstract")
    assert (edited.body, edited.html_body, edited.summary) == ("newer", "<p>newer", "an abstract")
    edited = await edit(made.contents, content.content_id, body="the newest")
    assert (edited.html_body, edited.summary) == ("", "an abstract"), "whose summary was written stays"


async def test_a_cover_image_can_be_taken_away(made: Maker) -> None:
    content = await made(images=["one.png"])
    assert content.cover_image == "one.png"
    assert (await edit(made.contents, content.content_id, cover_image="")).cover_image == ""


async def test_of_two_editors_of_one_text_the_second_is_refused(made: Maker) -> None:
    content = await made()
    first = await edit(made.contents, content.content_id, content.etag, title="the first")
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
        await edit(made.contents, content.content_id, content.etag, title="the second")
    assert refusal.metadata == {"etag": first.etag}
    assert await read(made.contents, content.content_id) == first
    assert (await edit(made.contents, content.content_id, first.etag, title="the second")).revision == 3


async def test_a_review_makes_etags_stale(made: Maker) -> None:
    content = await made(auto_approve=False)
    request = pb.ReviewContentRequest(content_id=content.content_id, decision=pb.REVIEW_DECISION_APPROVE)
    approved = (await made.contents.ReviewContent(request)).content
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await edit(made.contents, content.content_id, content.etag, title="too late")
    edited = await edit(made.contents, content.content_id, approved.etag, title="in time")
    assert edited.review_status == pb.REVIEW_STATUS_APPROVED


async def test_an_edit_that_changes_nothing_makes_no_revision(made: Maker, engine: sa.Engine) -> None:
    content = await made()
    assert await edit(made.contents, content.content_id, title=content.title, body=content.body) == content
    assert rows(engine) == 0


async def test_a_content_that_was_never_edited_has_the_creator_s_text_as_its_revision(
    made: Maker, engine: sa.Engine
) -> None:
    content = await made(html_body="<p>", images=["one.png"])
    ((first,),) = await revisions(made.contents, content.content_id)
    assert (first.number, first.author, first.create_time) == (1, "", content.create_time)
    assert (first.title, first.body, first.html_body, first.summary) == ("a topic", BODY, "<p>", BODY[:200])
    assert first.cover_image == "one.png"
    assert rows(engine) == 0
    await edit(made.contents, content.content_id, title="edited")
    ((kept, second),) = await revisions(made.contents, content.content_id)
    assert kept == first
    assert (second.number, second.title, second.body) == (2, "edited", BODY)


async def test_each_revision_has_its_author(made: Maker) -> None:
    content = await made()
    for name, title in (("", "one"), ("编辑", "two")):
        await edit(made.contents, content.content_id, reviewer=name, title=title)
    (page,) = await revisions(made.contents, content.content_id)
    assert [(revision.number, revision.author, revision.title) for revision in page] == [
        (1, "", "a topic"),
        (2, "anonymous", "one"),
        (3, "编辑", "two"),
    ]


async def test_revisions_come_in_pages_that_end_before_3_mib(made: Maker) -> None:
    content = await made()
    for n in range(4):
        await edit(made.contents, content.content_id, body=str(n) + "x" * 2 * MIB)
    pages = await revisions(made.contents, content.content_id)
    assert [[revision.number for revision in page] for page in pages] == [[1, 2], [3], [4], [5]]
    pages = await revisions(made.contents, content.content_id, size=1)
    assert [[revision.number for revision in page] for page in pages] == [[1], [2], [3], [4], [5]]


async def test_the_first_revision_and_the_newest_are_kept(made: Maker) -> None:
    content = await made()
    for n in range(MAX_REVISIONS + 3):
        await edit(made.contents, content.content_id, title=f"title {n}")
    (page,) = await revisions(made.contents, content.content_id, size=1_000)
    assert [revision.number for revision in page] == [1, *range(6, MAX_REVISIONS + 5)]
    assert len(page) == MAX_REVISIONS


async def test_body_and_html_together_are_bounded(made: Maker) -> None:
    content = await made()
    await edit(made.contents, content.content_id, html_body="字" * (MIB - 1_000))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await edit(made.contents, content.content_id, title="not this either", html_body="x" * 3 * MIB)
    assert refusal.fields == ["content.body"]
    assert (await read(made.contents, content.content_id)).title == "a topic"
    assert len((await edit(made.contents, content.content_id, body="字" * MIB)).body) == MIB, "it empties the HTML"


async def test_revisions_are_deleted_with_their_content(made: Maker, engine: sa.Engine) -> None:
    content, other = await made(), await made()
    for item in (content, other):
        await edit(made.contents, item.content_id, title="edited")
    await made.contents.DeleteContent(pb.DeleteContentRequest(content_id=content.content_id))
    assert rows(engine) == 2
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await revisions(made.contents, content.content_id)


@pytest.mark.parametrize("path", ["review_status", "images", "content_id", "word_count", "etag"])
async def test_other_fields_cannot_be_edited(made: Maker, path: str) -> None:
    content = await made()
    request = pb.UpdateContentRequest(content=content, update_mask=FieldMask(paths=["title", path]))
    with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
        await made.contents.UpdateContent(request)
    assert refusal.fields == ["update_mask.paths[1]"]
