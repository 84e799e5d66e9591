"""ListContents with all filters: its pages together equal a plain query, and each is bounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from scheduler_svc.contents.sql import reads as list_queries
from scheduler_svc.contents.work import list_contents
from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.content import ContentFilter, PublishStatus, ReviewStatus
from tests.harness.content_pages import PAGE, pages
from tests.harness.payloads import COLUMNS, NO_OTHER_TEXTS
from tests.harness.scheduling import Scheduling

MANY = 60
SCOPES = [ALL, Scope((1,)), Scope((1, 2)), Scope((2, 3)), Scope((9,))]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
VARIED = [
    f"""UPDATE contents SET category = 'c' || content_id % 2, quality_score = nullif(content_id % 8, 0),
        create_time = '{NOON}'::timestamptz + (content_id % 3 - 1) * interval '1 hour',
        title = 'a title' || CASE WHEN content_id % 6 = 0 THEN '：手冲咖啡的历史' ELSE '' END""",
    f"""INSERT INTO task_payloads ({COLUMNS}) SELECT content_id, 'A Topic', {NO_OTHER_TEXTS}
        FROM contents WHERE content_id % 10 <> 9""",
    "INSERT INTO task_labels SELECT 'team', 'a', content_id FROM contents WHERE content_id % 5 = 0",
    "INSERT INTO task_labels SELECT 'run', '7', content_id FROM contents WHERE content_id % 7 = 0",
    """INSERT INTO publish_pool (content_id, account_id, priority, status, claim_id, claim_expire_time)
        SELECT content_id, account_id, 5, CASE WHEN content_id % 4 = 1 THEN 1 ELSE 2 END, 'c', CASE content_id % 4
            WHEN 2 THEN now() - interval '1 s' WHEN 3 THEN now() + interval '1 h' END
        FROM contents WHERE content_id % 4 > 0""",
]
"""Contents of which 1/4 waits in the pool, 1/4 waits again after an expired claim, and 1/4 is claimed."""
STORE = """
    INSERT INTO contents (content_id, account_id, task_key, title, body, html_body, summary, category, images,
        word_count, review_status, create_time)
    SELECT n, 1 + n % 3, n, 't', '', '', '', '', '[]', 1, {status}, now() FROM generate_series(1, {count}) AS n
"""


@pytest.fixture
def contents(scheduling: Scheduling) -> Iterator[Scheduling]:
    """For contents without tasks, which are gone at the end."""
    yield scheduling
    scheduling.sql("DELETE FROM contents")


def store(scheduling: Scheduling, status: str, count: int = MANY) -> None:
    scheduling.sql(STORE.format(status=status, count=count))


@pytest.mark.parametrize(
    "status", ["1 + n * n % 3", "CASE WHEN n > 50 THEN 2 ELSE 3 END", "2", "CASE n WHEN 3 THEN 1 ELSE 2 END"]
)
@pytest.mark.parametrize("examined", [1, 5, list_queries.MAX_EXAMINED])
def test_all_pages_together_equal_a_plain_query(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int, status: str
) -> None:
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", examined)
    store(contents, status)
    stored = contents.sql("SELECT content_id, account_id, review_status FROM contents ORDER BY content_id DESC")
    for scope, wanted in itertools.product(SCOPES, [None, *ReviewStatus]):
        expected = [
            key for key, account, review_status in stored if account in scope and wanted in {None, review_status}
        ]
        filter_ = ContentFilter(review_status=wanted)
        assert pages(contents, scope, filter_) == expected
        assert pages(contents, scope, filter_, oldest_first=True) == expected[::-1]


FILTERS = [
    (ContentFilter(category="c1"), "category = 'c1'"),
    (ContentFilter(min_quality_score=3.5), "quality_score >= 3.5"),
    (ContentFilter(min_quality_score=0.0), "quality_score >= 0"),
    (ContentFilter(created_after=NOON), f"create_time >= '{NOON}'"),
    (ContentFilter(created_before=NOON), f"create_time < '{NOON}'"),
    (ContentFilter(publish_status=PublishStatus.PENDING), "content_id % 4 IN (1, 2)"),
    (ContentFilter(publish_status=PublishStatus.PUBLISHING), "content_id % 4 = 3"),
    (ContentFilter(publish_status=PublishStatus.FAILED), "false"),
    (ContentFilter(labels={"team": "a"}), "content_id % 5 = 0"),
    (ContentFilter(labels={"team": "a", "run": "7"}), "content_id % 35 = 0"),
    (ContentFilter(words=("咖啡",)), "content_id % 6 = 0"),
    (ContentFilter(words=("tOpIc",)), "content_id % 10 <> 9"),
    (ContentFilter(words=("咖啡", "topic", "title")), "content_id % 6 = 0 AND content_id % 10 <> 9"),
    (ContentFilter(words=("%",)), "false"),
    (
        ContentFilter(ReviewStatus.REJECTED, category="c1", words=("咖啡",)),
        "review_status = 3 AND category = 'c1' AND content_id % 6 = 0",
    ),
]


@pytest.mark.parametrize("examined", [5, list_queries.MAX_EXAMINED])
@pytest.mark.parametrize(("wanted", "condition"), FILTERS)
def test_all_pages_of_a_filter_equal_a_plain_query(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int, wanted: ContentFilter, condition: str
) -> None:
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", examined)
    store(contents, "1 + n % 3")
    for statement in VARIED:
        contents.sql(statement)
    stored = contents.sql(f"SELECT content_id, account_id FROM contents WHERE {condition} ORDER BY content_id DESC")
    for scope in SCOPES:
        expected = [key for key, account in stored if account in scope]
        assert pages(contents, scope, wanted) == expected
        assert pages(contents, scope, wanted, oldest_first=True) == expected[::-1]
    for table in ("publish_pool", "task_labels", "task_payloads"):
        contents.sql(f"DELETE FROM {table}")


@pytest.mark.parametrize("scope", [ALL, Scope((1,))], ids=["all", "an account"])
@pytest.mark.parametrize(
    "wanted", [ContentFilter(ReviewStatus.APPROVED), ContentFilter(ReviewStatus.REJECTED, category="none")]
)
def test_a_page_examines_a_bounded_number_and_tells_where_it_stopped(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, scope: Scope, wanted: ContentFilter
) -> None:
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", 4)
    store(contents, "3")
    looked_at = [key for key in range(MANY, 0, -1) if 1 + key % 3 in scope]
    assert contents.run(list_contents, scope, wanted, None, PAGE) == ([], looked_at[3])
    oldest_first = partial(list_contents, oldest_first=True)
    assert contents.run(oldest_first, scope, wanted, None, PAGE) == ([], looked_at[-4])


def test_a_few_contents_that_wait_for_review_are_found_at_once(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if many newer ones are approved."""
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", 4)
    store(contents, "CASE WHEN n <= 2 THEN 1 ELSE 2 END")
    for scope in (ALL, Scope((2, 3))):
        page = contents.run(list_contents, scope, ContentFilter(ReviewStatus.PENDING_REVIEW), None, PAGE)
        assert ([content.content_id for content in page.contents], page.rest) == ([2, 1], None)


@pytest.mark.parametrize("scope", [ALL, Scope((1,))], ids=["all", "an account"])
@pytest.mark.parametrize("oldest_first", [True, False])
def test_many_contents_that_wait_for_review_are_found_at_once(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, scope: Scope, *, oldest_first: bool
) -> None:
    """Even if more wait than a page examines, behind as many that are approved or rejected."""
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", 4)
    store(contents, f"CASE WHEN n {'>' if oldest_first else '<='} {MANY // 2} THEN 1 ELSE 2 + n / 2 % 2 END")
    stored = contents.sql("SELECT content_id, account_id FROM contents WHERE review_status = 1 ORDER BY content_id")
    waiting = [key for key, account in (stored if oldest_first else reversed(stored)) if account in scope]
    lists = partial(list_contents, oldest_first=oldest_first)
    page = contents.run(lists, scope, ContentFilter(ReviewStatus.PENDING_REVIEW), None, PAGE)
    assert ([content.content_id for content in page.contents], page.rest) == (waiting[:4], waiting[3])
