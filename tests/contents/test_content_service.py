"""ContentService over a real server: contents, their edits, and those that are regenerated."""

from __future__ import annotations

from base64 import b64encode

import pytest
import sqlalchemy as sa
from grpc import StatusCode

from contentgen.v1 import content_service_pb2 as pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as task_pb
from scheduler_svc.contents.sql.contents import MAX_REVISIONS
from tests.api.cases import NOTHING, OWN, Bad, Good, The, an_opaque_token, missing, of, wrong_state
from tests.harness.client import bad_fields, not_found, pages_of, refused
from tests.harness.maker import BODY, Maker
from tests.harness.pictures import png, sha256
from tests.harness.scheduling import sql

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

APPROVED, REJECTED = pb.REVIEW_STATUS_APPROVED, pb.REVIEW_STATUS_REJECTED
MIB = 1024 * 1024
PNG = b64encode(png()).decode()
ROWS = "SELECT count(*) FROM content_revisions"


async def test_a_content_has_the_fields_of_the_cli_s_result(maker: Maker) -> None:
    content = await maker(
        "题" * 300, category="科技", html_body="<p>", images=["https://a/1.png", "2.png"], quality_score=0.0
    )
    assert content.account_id == maker.account
    assert content.task_id.startswith("task-")
    assert content.title == "题" * 255
    assert (content.body, content.html_body, content.category) == (BODY, "<p>", "科技")
    assert content.summary == BODY[:200]
    assert (list(content.images), content.cover_image) == (["https://a/1.png", "2.png"], "https://a/1.png")
    assert content.word_count == len(BODY)
    assert content.HasField("quality_score")
    assert (content.review_status, content.publish_status) == (APPROVED, pb.PUBLISH_STATUS_PENDING)
    assert content.HasField("create_time")
    assert (content.reviewer, content.HasField("review_time")) == ("", False)


async def test_contents_are_listed_without_their_texts(maker: Maker) -> None:
    content = await maker(html_body="<p>")
    content.ClearField("body")
    content.ClearField("html_body")
    assert list((await maker.contents.ListContents(pb.ListContentsRequest())).contents) == [content]


async def test_title_usage_and_model_are_the_creator_s_where_it_gives_them(maker: Maker) -> None:
    usage = {"input_tokens": 1200.0, "cost": 0.25, "": 1.0, "n" * 64: 1.0, "inf": float("inf")}
    content = await maker("a topic", "# A *title*\n\nA text.", title=" 一个标题\0 ", usage=usage, model="a model")
    assert (content.title, content.model) == ("一个标题", "a model")
    assert dict(content.usage) == {"input_tokens": 1200.0, "cost": 0.25}
    assert content.summary == "A title A text."


async def test_fields_that_the_cli_left_out_are_unset_and_the_title_is_the_topic(maker: Maker) -> None:
    content = await maker("a topic")
    assert not content.HasField("quality_score")
    assert (content.html_body, list(content.images), content.cover_image) == ("", [], "")
    assert (content.title, content.model, dict(content.usage)) == ("a topic", "", {})
    assert (await maker("a topic", title="t" * 300)).title == "t" * 255


# Edits of contents and their revisions.


async def revisions(maker: Maker, content_id: int, size: int = 0) -> list[list[pb.ContentRevision]]:
    """By page."""
    request = pb.ListContentRevisionsRequest(content_id=content_id, page_size=size)
    return await pages_of(maker.contents.ListContentRevisions, request, "revisions")


async def test_an_edit_changes_what_the_mask_names_and_no_more(maker: Maker) -> None:
    content = await maker(html_body="<p>", images=["one.png", "two.png"], category="科技", auto_approve=False)
    edited = await maker.edit(content.content_id, content.etag, title="新题目", cover_image="two.png")
    assert (edited.title, edited.cover_image, edited.revision) == ("新题目", "two.png", 2)
    assert edited.etag != content.etag
    assert await maker.read(content.content_id) == edited
    for name in ("title", "cover_image", "revision", "etag"):
        edited.ClearField(name)
        content.ClearField(name)
    assert edited == content
    assert (await maker.edit(content.content_id, cover_image="")).cover_image == "", "not the first picture again"


async def test_what_is_derived_from_the_body_follows_it(maker: Maker) -> None:
    content = await maker(html_body="<p>old")
    edited = await maker.edit(content.content_id, body="new")
    assert (edited.body, edited.html_body, edited.summary, edited.word_count) == ("new", "", "new", 3)
    edited = await maker.edit(content.content_id, body="newer", html_body="<p>newer", summary="an abstract")
    assert (edited.body, edited.html_body, edited.summary) == ("newer", "<p>newer", "an abstract")
    edited = await maker.edit(content.content_id, body="the newest")
    assert (edited.html_body, edited.summary) == ("", "an abstract"), "whose summary was written stays"


async def test_after_an_edit_or_a_review_an_edit_of_the_text_before_is_refused(maker: Maker) -> None:
    content = await maker(auto_approve=False)
    first = await maker.edit(content.content_id, content.etag, title="the first")
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
        await maker.edit(content.content_id, content.etag, title="the second")
    assert refusal.metadata == {"etag": first.etag}
    assert await maker.read(content.content_id) == first
    approved = await maker.review(content.content_id)
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH"):
        await maker.edit(content.content_id, first.etag, title="too late")
    edited = await maker.edit(content.content_id, approved.etag, title="the second")
    assert (edited.review_status, edited.revision) == (APPROVED, 3)


async def test_an_edit_that_changes_nothing_makes_no_revision(maker: Maker, engine: sa.Engine) -> None:
    content = await maker()
    assert await maker.edit(content.content_id, title=content.title, body=content.body) == content
    assert sql(engine, ROWS) == [(0,)]


async def test_a_content_never_edited_has_the_creator_s_text_as_its_revision(maker: Maker, engine: sa.Engine) -> None:
    content = await maker(html_body="<p>", images=["one.png"])
    ((first,),) = await revisions(maker, content.content_id)
    assert (first.number, first.author, first.create_time) == (1, "", content.create_time)
    assert (first.title, first.body, first.html_body, first.summary) == ("a topic", BODY, "<p>", BODY[:200])
    assert first.cover_image == "one.png"
    assert sql(engine, ROWS) == [(0,)]
    await maker.edit(content.content_id, title="edited")
    ((kept, second),) = await revisions(maker, content.content_id)
    assert kept == first
    assert (second.number, second.title, second.body) == (2, "edited", BODY)


async def test_each_revision_has_its_author(maker: Maker) -> None:
    content = await maker()
    for name, title in (("", "one"), ("编辑", "two")):
        await maker.edit(content.content_id, reviewer=name, title=title)
    (page,) = await revisions(maker, content.content_id)
    assert [(revision.number, revision.author, revision.title) for revision in page] == [
        (1, "", "a topic"),
        (2, "anonymous", "one"),
        (3, "编辑", "two"),
    ]


async def test_revisions_come_in_pages_that_end_before_3_mib(maker: Maker) -> None:
    content = await maker()
    for n in range(4):
        await maker.edit(content.content_id, body=str(n) + "x" * 2 * MIB)
    pages = await revisions(maker, content.content_id)
    assert [[revision.number for revision in page] for page in pages] == [[1, 2], [3], [4], [5]]
    pages = await revisions(maker, content.content_id, size=1)
    assert [[revision.number for revision in page] for page in pages] == [[1], [2], [3], [4], [5]]


async def test_the_first_revision_and_the_newest_are_kept(maker: Maker) -> None:
    content = await maker()
    for n in range(MAX_REVISIONS + 3):
        await maker.edit(content.content_id, title=f"title {n}")
    (page,) = await revisions(maker, content.content_id, size=1_000)
    assert [revision.number for revision in page] == [1, *range(6, MAX_REVISIONS + 5)]
    assert len(page) == MAX_REVISIONS


async def test_body_and_html_together_are_bounded(maker: Maker) -> None:
    content = await maker()
    await maker.edit(content.content_id, html_body="字" * (MIB - 1_000))
    with bad_fields("content.body"):
        await maker.edit(content.content_id, title="not this either", html_body="x" * 3 * MIB)
    assert (await maker.read(content.content_id)).title == "a topic"
    assert len((await maker.edit(content.content_id, body="字" * MIB)).body) == MIB, "it empties the HTML"


async def test_revisions_are_deleted_with_their_content(maker: Maker, engine: sa.Engine) -> None:
    content, other = await maker(), await maker()
    for item in (content, other):
        await maker.edit(item.content_id, title="edited")
    await maker.delete(content.content_id)
    assert sql(engine, ROWS) == [(2,)]
    with not_found("content", content.content_id):
        await revisions(maker, content.content_id)


# Contents that are written anew, and what becomes of the old ones.


async def regenerate(maker: Maker, content_id: int, feedback: str = "shorter") -> task_pb2.Task:
    request = pb.RegenerateContentRequest(content_id=content_id, feedback=feedback)
    return (await maker.contents.RegenerateContent(request)).task


async def rewritten(maker: Maker, content_id: int) -> pb.Content:
    """The content that is written in its place."""
    task = await regenerate(maker, content_id)
    await maker.worker.complete(await maker.worker.run(), "a shorter body")
    return await maker.content_of(task.task_id)


async def test_the_new_task_has_the_brief_and_the_feedback(maker: Maker) -> None:
    content = await maker(
        "题", requirements="800 words", tone="dry", category="c", priority=8, labels={"run": "7"}, max_retries=1
    )
    task = await regenerate(maker, content.content_id, "shorter")
    assert task.regenerates_content_id == content.content_id
    new_task = (await maker.tasks.GetTask(task_pb.GetTaskRequest(task_id=task.task_id))).task
    assert (new_task.topic, new_task.tone, new_task.category, new_task.priority) == ("题", "dry", "c", 8)
    assert (dict(new_task.labels), new_task.max_retries, new_task.auto_approve) == ({"run": "7"}, 1, False)
    assert new_task.requirements == "800 words\n\nshorter"
    assert new_task.regenerates_content_id == content.content_id
    listed = (await maker.tasks.ListTasks(task_pb.ListTasksRequest())).tasks
    assert [item.regenerates_content_id for item in listed] == [content.content_id, 0]
    assert await maker.read(content.content_id) == content


@pytest.mark.parametrize("auto_approve", [True, False])
async def test_an_approved_one_supersedes_the_old_one(maker: Maker, auto_approve: bool) -> None:
    old = await maker(auto_approve=auto_approve)
    new = await rewritten(maker, old.content_id)
    assert new.review_status == pb.REVIEW_STATUS_PENDING_REVIEW
    assert await maker.read(old.content_id) == old, "nothing happens to it before that"
    await maker.review(new.content_id, reviewer="anna")
    superseded = await maker.read(old.content_id)
    assert superseded.superseded_by_content_id == new.content_id
    assert (superseded.review_status, superseded.reviewer) == (REJECTED, "anna")
    assert superseded.review_comment == f"superseded by content {new.content_id}"
    assert superseded.etag != old.etag
    assert await maker.pooled() == [new.content_id]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_of_both_in_one_batch_only_the_new_one_is_published(maker: Maker, newest_first: bool) -> None:
    old = await maker(auto_approve=False)
    new = await rewritten(maker, old.content_id)
    ids = [new.content_id, old.content_id] if newest_first else [old.content_id, new.content_id]
    reviews = [
        pb.ReviewContentRequest(content_id=content_id, decision=pb.REVIEW_DECISION_APPROVE) for content_id in ids
    ]
    decided = await maker.contents.BatchReviewContents(pb.BatchReviewContentsRequest(requests=reviews))
    assert [content.content_id for content in decided.contents] == ids
    superseded = await maker.read(old.content_id)
    assert (superseded.review_status, superseded.superseded_by_content_id) == (REJECTED, new.content_id)
    assert await maker.pooled() == [new.content_id]


async def test_a_rejected_one_supersedes_nothing(maker: Maker) -> None:
    old = await maker()
    new = await rewritten(maker, old.content_id)
    await maker.review(new.content_id, pb.REVIEW_DECISION_REJECT)
    assert await maker.read(old.content_id) == old
    assert await maker.pooled() == [old.content_id]


async def test_what_a_publisher_has_stays_approved(maker: Maker) -> None:
    old = await maker()
    await maker.claim()
    new = await rewritten(maker, old.content_id)
    await maker.review(new.content_id)
    superseded = await maker.read(old.content_id)
    assert (superseded.review_status, superseded.superseded_by_content_id) == (APPROVED, new.content_id)
    assert await maker.pooled() == [old.content_id, new.content_id]


async def test_the_approval_can_be_taken_back(maker: Maker) -> None:
    old = await maker()
    new = await rewritten(maker, old.content_id)
    await maker.review(new.content_id)
    await maker.reopen(new.content_id)
    assert (await maker.read(old.content_id)).superseded_by_content_id == 0
    await maker.reopen(old.content_id)
    await maker.review(old.content_id)
    assert await maker.pooled() == [old.content_id]


async def test_a_deleted_one_is_superseded_by_nothing(maker: Maker) -> None:
    old = await maker()
    new = await rewritten(maker, old.content_id)
    await maker.delete(old.content_id)
    await maker.review(new.content_id)
    assert await maker.pooled() == [new.content_id]
    await maker.reopen(new.content_id)


async def test_requirements_stay_within_their_bounds(maker: Maker) -> None:
    long, wide = await maker(requirements="x" * 19_000), await maker("题" * 4_000, requirements="字" * 17_000)
    for content, feedback in ((long, "y" * 999), (wide, "字" * 1_000)):
        with bad_fields("feedback"):
            await regenerate(maker, content.content_id, feedback)
    assert await regenerate(maker, long.content_id, "y" * 998)


async def test_a_content_whose_task_was_cleaned_up_cannot_be_written_anew(maker: Maker) -> None:
    content = await maker()
    await maker.tasks.CleanupTasks(task_pb.CleanupTasksRequest(days=0))
    with not_found("task", content.task_id):
        await regenerate(maker, content.content_id)


# What tests/api calls: requests that are answered, and those that are refused.
TEXTS = {
    "title": "题" * 255,
    "body": "新的正文",
    "html_body": "<p>新的正文",
    "summary": "要" * 2_000,
    "category": "c" * 200,
    "cover_image": "two.png",
}
GOOD = [
    Good(
        "GetContent",
        of(content="approved"),
        {
            "content": {
                **of(content="approved"),
                "account_id": OWN,
                **of(task="approved"),
                "title": "a topic",
                "body": "an article",
                "summary": "an article",
                "word_count": 10,
                "review_status": "REVIEW_STATUS_APPROVED",
                "images": [],
                "cover_image": "",
                "create_time": str,
            }
        },
    ),
    Good(
        "ListContents",
        {**of(account="unreviewed"), "review_status": "REVIEW_STATUS_PENDING_REVIEW"},
        {"contents": [{**of(content="unreviewed"), "body": ""}], "next_page_token": ""},
    ),
    Good(
        "ListContents",
        {
            **of(account="approved"),
            "review_status": "REVIEW_STATUS_APPROVED",
            "publish_status": "PUBLISH_STATUS_PENDING",
            "category": "新闻",
            "labels": {"run": "7"},
            "min_quality_score": 8.5,
            "created_after": "2020-01-01T00:00:00Z",
            "created_before": "2999-01-01T00:00:00Z",
            "query": "topic a",
            "oldest_first": True,
        },
        {"contents": [], "next_page_token": ""},
    ),
    Good(
        "ListContents",
        {**of(account="edited"), "query": "EDIT topic", "publish_status": "PUBLISH_STATUS_PENDING"},
        {"contents": [of(content="edited")], "next_page_token": ""},
    ),
    Good(
        "RegenerateContent",
        {**of(content="approved"), "feedback": "短" * 2_000},
        {
            "task": {
                "account_id": OWN,
                "topic": "a topic",
                "requirements": "",
                "auto_approve": False,
                "status": "TASK_STATUS_PENDING",
                "regenerates_content_id": The("approved", "content_id"),
            }
        },
    ),
    Good(
        "UpdateContent",
        {
            "content": {**of(content="approved"), **TEXTS},
            "update_mask": "title,body,htmlBody,summary,category,coverImage",
            "etag": The("approved", "etag"),
            "reviewer": "编辑",
        },
        {"content": {**TEXTS, "word_count": 4, "revision": 2, "etag": an_opaque_token}},
    ),
    Good(
        "UpdateContent",
        {"content": {**of(content="approved"), "body": "a new text"}, "update_mask": "body"},
        {"content": {"title": "a topic", "body": "a new text", "summary": "a new text", "html_body": ""}},
    ),
    Good(
        "ListContentRevisions",
        {**of(content="approved"), "page_size": 1},
        {"revisions": [{"number": 1, "author": "", "body": "an article", "create_time": str}], "next_page_token": ""},
    ),
    Good(
        "ListContentRevisions",
        of(content="edited"),
        {
            "revisions": [{"number": 1, "title": "a topic"}, {"number": 2, "author": "anonymous", "title": "edited"}],
            "next_page_token": "",
        },
    ),
    Good(
        "RestoreContentRevision",
        {**of(content="edited"), "revision": 1, "etag": The("edited", "etag")},
        {"content": {"title": "a topic", "revision": 3, "etag": an_opaque_token}},
    ),
    Good("RestoreContentRevision", {**of(content="approved"), "revision": 1}, {"content": {"revision": 1}}),
    Good(
        "UploadAsset",
        {**of(content="approved"), "name": "图.png", "etag": The("approved", "etag"), "chunk": PNG},
        {
            "asset": {"name": "图.png", "sha256": sha256(png()), "media_type": "image/png", "size": str(len(png()))},
            "content": {"revision": 2, "etag": an_opaque_token},
        },
    ),
    Good(
        "RemoveAsset",
        {**of(content="pictured"), "name": "cover.png", "etag": The("pictured", "etag")},
        {"content": {"assets": [], "images": [], "cover_image": "", "revision": 2}},
    ),
    Good(
        "AddComment",
        {**of(content="approved"), "text": "字" * 2_000},
        {"comment": {"number": 1, "author": "anonymous", "text": "字" * 2_000, "create_time": str}},
    ),
    Good("ListComments", of(content="approved"), {"comments": [], "next_page_token": ""}),
    Good(
        "ListComments",
        {**of(content="commented"), "page_size": 1},
        {"comments": [{"number": 1, "text": "first"}], "next_page_token": an_opaque_token},
    ),
    Good("ListReviewEvents", of(content="approved"), {"events": [], "next_page_token": ""}),
    Good(
        "ListReviewEvents",
        {**of(content="assigned"), "page_size": 1},
        {"events": [{"number": 1, "actor": "anonymous", "assignee": "anna"}], "next_page_token": ""},
    ),
    Good(
        "AssignReview",
        {**of(content="approved"), "assignee": "小王"},
        {
            "content": {
                "assignee": "小王",
                "assigner": "anonymous",
                "assign_time": str,
                "revision": 1,
                "etag": The("approved", "etag"),
            }
        },
    ),
    Good("AssignReview", of(content="assigned"), {"content": {"assignee": "", "assigner": ""}}),
    Good(
        "ListContents",
        {**of(account="assigned"), "assignee": "anna", "query": "ＡＲＴＩＣＬＥ", "search_bodies": True},
        {"contents": [of(content="assigned")], "next_page_token": ""},
    ),
    Good("DeleteContent", of(content="approved"), {}),
    Good("DeleteContent", {**of(content="published"), "force": True}, {}),
]
BAD = [
    Bad(
        "ListContents",
        {
            "category": "c" * 201,
            "query": "0 1 2 3 4 5 6 7 8 9 10",
            "min_quality_score": "NaN",
            "labels": {"": "v"},
            "publish_status": 9,
        },
        fields=("category", "min_quality_score", "query", "publish_status", 'labels[""]'),
    ),
    Bad("ListContents", {"assignee": "n" * 201}, fields=("assignee",)),
    Bad("RestoreContentRevision", {"etag": "e" * 201}, fields=("content_id", "revision", "etag")),
    missing("RestoreContentRevision", {"content_id": NOTHING, "revision": 1}, "content"),
    missing("RestoreContentRevision", {**of(content="edited"), "revision": 3}, "revision", "3"),
    Bad("UploadAsset", {"etag": "e" * 201}, fields=("content_id", "name", "etag")),
    Bad("UploadAsset", {**of(content="approved"), "name": "../a.png", "chunk": "YQ=="}, fields=("name",)),
    Bad("UploadAsset", {**of(content="approved"), "name": "empty.png"}, fields=("chunk",)),
    missing("UploadAsset", {"content_id": NOTHING, "name": "a.png", "chunk": "YQ=="}, "content"),
    *(
        Bad(
            rpc,
            {**of(content="edited"), **more, "etag": The("edited", "stale_etag")},
            StatusCode.ABORTED,
            "ETAG_MISMATCH",
            metadata={"etag": The("edited", "etag")},
        )
        for rpc, more in (
            ("UploadAsset", {"name": "a.png", "chunk": "YQ=="}),
            ("RemoveAsset", {"name": "a.png"}),
            ("RestoreContentRevision", {"revision": 1}),
        )
    ),
    Bad("RemoveAsset", {"name": " ", "etag": "e" * 201}, fields=("content_id", "name", "etag")),
    missing("RemoveAsset", {**of(content="approved"), "name": "a.png"}, "asset", "a.png"),
    Bad("AddComment", {"text": " "}, fields=("content_id", "text")),
    Bad("AddComment", {**of(content="approved"), "text": "字" * 2_001}, fields=("text",)),
    missing("AddComment", {"content_id": NOTHING, "text": "lost"}, "content"),
    Bad("ListComments", {"page_size": -1, "page_token": "?"}, fields=("content_id", "page_size", "page_token")),
    Bad("ListReviewEvents", {"page_size": -1, "page_token": "?"}, fields=("content_id", "page_size", "page_token")),
    Bad("AssignReview", {"assignee": "n" * 201}, fields=("content_id", "assignee")),
    Bad("RegenerateContent", {}, fields=("content_id", "feedback")),
    Bad("RegenerateContent", {**of(content="approved"), "feedback": "字" * 2_001}, fields=("feedback",)),
    missing("RegenerateContent", {"content_id": NOTHING, "feedback": "shorter"}, "content"),
    Bad("UpdateContent", {}, fields=("content.content_id", "update_mask")),
    Bad(
        "UpdateContent",
        {
            "content": {"content_id": NOTHING, "title": " ", "summary": "字" * 2_001},
            "update_mask": "title,body,summary,reviewStatus",
            "etag": "e" * 201,
            "reviewer": "n" * 201,
        },
        fields=("update_mask.paths[3]", "content.title", "content.body", "content.summary", "etag", "reviewer"),
    ),
    missing(
        "UpdateContent", {"content": {"content_id": NOTHING, "title": "a title"}, "update_mask": "title"}, "content"
    ),
    Bad(
        "UpdateContent",
        {
            "content": {**of(content="edited"), "title": "another"},
            "update_mask": "title",
            "etag": The("edited", "stale_etag"),
        },
        StatusCode.ABORTED,
        "ETAG_MISMATCH",
        metadata={"etag": The("edited", "etag")},
    ),
    Bad("ListContentRevisions", {"page_size": -1, "page_token": "?"}, fields=("content_id", "page_size", "page_token")),
    Bad("DeleteContent", {"force": True}, fields=("content_id",)),
    wrong_state("DeleteContent", of(content="claimed"), "publishing", "pending,failed"),
]
