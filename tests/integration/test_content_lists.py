"""ListContents with all filters: its pages together equal a plain query, and each is bounded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from scheduler_svc.application.tasks.query import list_contents
from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.content import ReviewStatus
from scheduler_svc.store.contents import content_lists
from tests.harness.scheduling import Scheduling

PAGE = 7
MANY = 60
SCOPES = [ALL, Scope((1,)), Scope((1, 2)), Scope((2, 3)), Scope((9,))]
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


def pages(scheduling: Scheduling, scope: Scope, status: ReviewStatus | None) -> list[int]:
    ids: list[int] = []
    before: int | None = None
    while (page := scheduling.run(list_contents, scope, status, before, PAGE)).contents or page.rest:
        assert page.rest is None or len(page.contents) < PAGE
        ids += [content.content_id for content in page.contents]
        before = page.rest or ids[-1]
    return ids


@pytest.mark.parametrize(
    "status", ["1 + n * n % 3", "CASE WHEN n > 50 THEN 2 ELSE 3 END", "2", "CASE n WHEN 3 THEN 1 ELSE 2 END"]
)
@pytest.mark.parametrize("examined", [1, 5, content_lists.MAX_EXAMINED])
def test_all_pages_together_equal_a_plain_query(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int, status: str
) -> None:
    monkeypatch.setattr(content_lists, "MAX_EXAMINED", examined)
    store(contents, status)
    stored = contents.sql("SELECT content_id, account_id, review_status FROM contents ORDER BY content_id DESC")
    for scope, wanted in itertools.product(SCOPES, [None, *ReviewStatus]):
        expected = [key for key, account, found in stored if account in scope and wanted in {None, found}]
        assert pages(contents, scope, wanted) == expected


@pytest.mark.parametrize("scope", [ALL, Scope((1,))], ids=["all", "an account"])
@pytest.mark.parametrize("wanted", [ReviewStatus.APPROVED, ReviewStatus.PENDING_REVIEW])
def test_a_page_examines_a_bounded_number_and_tells_where_it_stopped(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, scope: Scope, wanted: ReviewStatus
) -> None:
    monkeypatch.setattr(content_lists, "MAX_EXAMINED", 4)
    store(contents, "3")
    page = contents.run(list_contents, scope, wanted, None, PAGE)
    looked_at = [key for key in range(MANY, 0, -1) if 1 + key % 3 in scope][:4]
    assert page == ([], looked_at[-1])


def test_a_few_contents_that_wait_for_review_are_found_at_once(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if many newer ones are approved."""
    monkeypatch.setattr(content_lists, "MAX_EXAMINED", 4)
    store(contents, "CASE WHEN n <= 2 THEN 1 ELSE 2 END")
    for scope in (ALL, Scope((2, 3))):
        page = contents.run(list_contents, scope, ReviewStatus.PENDING_REVIEW, None, PAGE)
        assert ([content.content_id for content in page.contents], page.rest) == ([2, 1], None)
