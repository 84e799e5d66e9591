"""ListContents with all filters, and the search index behind it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from old_application.sql import Imports
from scheduler_svc.contents.loop import IDLE_INTERVAL, INTERVAL, SearchIndexer
from scheduler_svc.contents.sql import reads as list_queries
from scheduler_svc.contents.sql import search
from scheduler_svc.contents.work import index_contents, unindexed, update_content
from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.content import ContentEdit, ContentFilter, PublishStatus, ReviewStatus
from scheduler_svc.runtime.calls import Calls
from tests.harness.maker import page_of, pages
from tests.harness.scheduling import COLUMNS, NO_OTHER_TEXTS, RESULT, Scheduling

pytestmark = pytest.mark.integration

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
    scheduling.sql("DELETE FROM task_payloads")
    assert scheduling.sql("SELECT count(*) FROM content_grams") == [(0,)], "it goes with the content"
    scheduling.sql("UPDATE search_index SET indexed_to = 0")


def store(scheduling: Scheduling, status: str, count: int = MANY) -> None:
    scheduling.sql(STORE.format(status=status, count=count))


@pytest.mark.parametrize(
    ("examined", "status"),
    [
        (1, "1 + n * n % 3"),
        (5, "CASE WHEN n > 50 THEN 2 ELSE 3 END"),
        (5, "CASE n WHEN 3 THEN 1 ELSE 2 END"),
        (list_queries.MAX_EXAMINED, "1 + n * n % 3"),
        (list_queries.MAX_EXAMINED, "2"),
    ],
)
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
    (ContentFilter(words=("ＴＯＰＩＣ",)), "content_id % 10 <> 9"),
    (ContentFilter(words=("咖啡", "topic", "title")), "content_id % 6 = 0 AND content_id % 10 <> 9"),
    (ContentFilter(words=("%",)), "false"),
    (
        ContentFilter(ReviewStatus.REJECTED, category="c1", words=("咖啡",)),
        "review_status = 3 AND category = 'c1' AND content_id % 6 = 0",
    ),
]


@pytest.mark.parametrize(
    ("examined", "wanted", "condition"),
    [*((5, *case) for case in FILTERS), *((list_queries.MAX_EXAMINED, *case) for case in FILTERS[::-4])],
)
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
    assert page_of(contents, scope, wanted) == ([], looked_at[3])
    assert page_of(contents, scope, wanted, oldest_first=True) == ([], looked_at[-4])


ASSIGN = "INSERT INTO content_assignments SELECT content_id, :assignee, 'boris' FROM contents WHERE {}"


@pytest.mark.parametrize("examined", [3, list_queries.MAX_EXAMINED])
def test_what_somebody_is_to_review_is_found_by_its_index(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int
) -> None:
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", examined)
    store(contents, "1 + n * n % 3")
    for statement in VARIED[:2]:
        contents.sql(statement)
    contents.sql(ASSIGN.format("content_id % 3 = 1"), assignee="小王")
    contents.sql(ASSIGN.format("content_id % 3 = 2"), assignee="anna")
    index(contents, MANY)
    for wanted, condition in (
        (ContentFilter(assignee="小王"), "true"),
        (ContentFilter(ReviewStatus.REJECTED, assignee="小王"), "review_status = 3"),
        (ContentFilter(assignee="小王", words=("咖啡",)), "title LIKE '%咖啡%'"),
        (ContentFilter(assignee="nobody"), "false"),
    ):
        find = f"SELECT content_id, account_id FROM contents WHERE content_id % 3 = 1 AND {condition} ORDER BY 1 DESC"
        stored = contents.sql(find)
        for scope in SCOPES:
            expected = [key for key, account in stored if account in scope]
            assert pages(contents, scope, wanted) == expected
            assert pages(contents, scope, wanted, oldest_first=True) == expected[::-1]


@pytest.mark.parametrize("indexed", [0, 20, MANY])
def test_bodies_are_searched_of_the_newest(contents: Scheduling, monkeypatch: pytest.MonkeyPatch, indexed: int) -> None:
    monkeypatch.setattr(list_queries, "MAX_BODIES", 6)
    store(contents, "1 + n * n % 3")
    contents.sql("UPDATE contents SET body = 'the ＡＩ article'")
    contents.sql(ASSIGN.format("content_id % 2 = 0"), assignee="anna")
    contents.sql("UPDATE contents SET title = 'of ai' WHERE content_id % 10 = 0")
    index(contents, indexed)
    for conditions, ids in (
        ({}, range(1, MANY + 1)),
        ({"assignee": "anna"}, range(2, MANY + 1, 2)),
        ({"review_status": ReviewStatus.REJECTED}, ()),
        ({"review_status": ReviewStatus.PENDING_REVIEW}, range(3, MANY + 1, 3)),
    ):
        expected = [key for key in ids if key in ids[-6:] or key % 10 == 0]
        wanted = ContentFilter(words=("AI",), search_bodies=True, **conditions)
        assert pages(contents, ALL, wanted, oldest_first=True) == expected
        assert pages(contents, ALL, wanted) == expected[::-1]
        of_both = ContentFilter(words=("article", "OF"), search_bodies=True, **conditions)
        assert pages(contents, ALL, of_both) == [key for key in reversed(ids[-6:]) if key % 10 == 0]


def test_few_that_wait_for_review_are_found_at_once(contents: Scheduling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if many newer ones are approved."""
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", 4)
    store(contents, "CASE WHEN n <= 2 THEN 1 ELSE 2 END")
    for scope in (ALL, Scope((2, 3))):
        page = page_of(contents, scope, ContentFilter(ReviewStatus.PENDING_REVIEW))
        assert ([content.content_id for content in page.rows], page.rest) == ([2, 1], None)


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
    page = page_of(contents, scope, ContentFilter(ReviewStatus.PENDING_REVIEW), oldest_first=oldest_first)
    assert ([content.content_id for content in page.rows], page.rest) == (waiting[:4], waiting[3])


# The search index of contents: a search by it finds what a plain query finds, whatever is indexed by then.


COUNT = 150
CHARACTERS = "aAbÉé 咖啡的％ 👩‍🚀_"
SEARCH_SCOPES = [ALL, Scope((1,)), Scope((1, 3)), Scope((1 + (1 << 21),)), Scope(())]
STORE_TITLES = f"""
    WITH stored AS (
        INSERT INTO contents (content_id, account_id, task_key, title, body, html_body, summary, category, images,
            word_count, review_status, create_time)
        SELECT id, account_id, id, title, '', '', '', '', '[]', 1, status, now()
        FROM unnest(CAST(:ids AS bigint[]), CAST(:accounts AS bigint[]), CAST(:titles AS text[]),
            CAST(:statuses AS smallint[])) AS r(id, account_id, title, status)
    )
    INSERT INTO task_payloads ({COLUMNS}) SELECT id, topic, {NO_OTHER_TEXTS}
    FROM unnest(CAST(:ids AS bigint[]), CAST(:topics AS text[])) AS r(id, topic) WHERE topic IS NOT NULL
"""
FIND = """
    SELECT content_id, account_id, review_status FROM contents LEFT JOIN task_payloads USING (task_key)
    WHERE NOT EXISTS (SELECT FROM unnest(CAST(:words AS text[])) AS w(word)
        WHERE strpos(lower(normalize(title || ' ' || coalesce(topic, ''), NFKC)), lower(normalize(word, NFKC))) = 0)
    ORDER BY content_id DESC
"""


def text(choice: random.Random, longest: int) -> str:
    return "".join(choice.choices(CHARACTERS, k=choice.randint(1, longest)))


def store_titles(contents: Scheduling, choice: random.Random) -> list[int]:
    """Contents of some accounts, in many segments and with wide gaps; returns their ids."""
    ids = sorted(choice.sample(range(1, 2_000_000), COUNT // 2))
    ids += sorted((1 << choice.randint(40, 61)) + choice.randint(0, 200_000) for _ in range(COUNT - len(ids)))
    ids = sorted({*ids})
    contents.sql(
        STORE_TITLES,
        ids=ids,
        accounts=[choice.choice((1, 2, 3, 1 + (1 << 21))) for _ in ids],
        titles=[text(choice, 8) for _ in ids],
        topics=[choice.choice((None, text(choice, 12))) for _ in ids],
        statuses=[choice.choice((1, 1, 2, 3)) for _ in ids],
    )
    return ids


def index(contents: Scheduling, until: int) -> None:
    """All contents up to an id."""
    while contents.sql("SELECT indexed_to FROM search_index")[0][0] < until:
        contents.run(index_contents, until, 40)


@pytest.mark.parametrize(
    ("examined", "segments", "share"),
    [
        (3, 2, 0.4),
        (10, 2, 1.0),
        (10, search._MAX_SEGMENTS, 0.0),
        (list_queries.MAX_EXAMINED, search._MAX_SEGMENTS, 0.4),
    ],
)
def test_a_search_finds_what_a_plain_query_finds(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int, segments: int, share: float
) -> None:
    """Whatever share of the contents is indexed."""
    choice = random.Random(f"{examined} {segments} {share}")
    ids = store_titles(contents, choice)
    if share:
        index(contents, ids[round(share * len(ids)) - 1])
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", examined)
    monkeypatch.setattr(search, "_MAX_SEGMENTS", segments)
    total = 0
    for _ in range(12):
        words = text(choice, 4).split() or ["咖"]
        scope, status = choice.choice(SEARCH_SCOPES), choice.choice((None, *ReviewStatus))
        expected = [
            content_id
            for content_id, account_id, review_status in contents.sql(FIND, words=words)
            if account_id in scope and status in {None, review_status}
        ]
        total += len(expected)
        wanted = ContentFilter(status, words=tuple(words))
        assert pages(contents, scope, wanted, oldest_first=False) == expected, words
        assert pages(contents, scope, wanted, oldest_first=True) == expected[::-1], words
    assert total


async def test_the_loop_indexes_what_is_new_and_no_id_that_may_still_be_committed(
    scheduling: Scheduling, calls: Calls
) -> None:
    def indexed() -> list[int]:
        return [row[0] for row in scheduling.sql("SELECT content_id FROM content_grams ORDER BY content_id")]

    loop = SearchIndexer(calls)
    ended = [scheduling.start(), scheduling.start()]
    scheduling.end(ended[0], RESULT)
    with scheduling.transaction() as open_one:
        open_one.group(partial(Imports, open_one)).next_content_ids(1)
        scheduling.end(ended[1], RESULT)
        for _ in range(3):
            assert await loop.run_once() >= INTERVAL
        assert indexed() == []
    await loop.run_once()
    assert indexed() == [scheduling.task(ref.task_key).content_id for ref in ended]
    assert scheduling.run(unindexed) is None
    assert await loop.run_once() == IDLE_INTERVAL


async def test_a_locked_content_is_indexed_later(
    contents: Scheduling, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = store_titles(contents, random.Random(3))
    contents.sql("SELECT setval('content_seq', :last)", last=ids[-1])
    run = contents.database.run
    monkeypatch.setattr(contents.database, "run", lambda work: run(work, lock_timeout=0.05))
    loop = SearchIndexer(calls)
    with contents.transaction() as other:
        other.contents.lock([ids[0]])
        await loop.run_once()
        assert contents.sql("SELECT indexed_to FROM search_index") == [(0,)]
    await loop.run_once()
    assert contents.sql("SELECT indexed_to FROM search_index") == [(ids[-1],)]


def test_an_edited_title_is_found_and_the_old_one_is_not(contents: Scheduling) -> None:
    ids = store_titles(contents, random.Random(1))
    index(contents, ids[-2])
    for content_id in (ids[0], ids[-1]):
        contents.run(update_content, content_id, ContentEdit(title="手冲咖啡 Xyz"), "", "an editor")
    index(contents, ids[-1])
    wanted = ContentFilter(words=("冲咖", "xYZ"))
    assert pages(contents, ALL, wanted, oldest_first=True) == [ids[0], ids[-1]]
    contents.run(update_content, ids[0], ContentEdit(title="茶"), "", "an editor")
    assert pages(contents, ALL, wanted, oldest_first=True) == [ids[-1]]
    assert pages(contents, ALL, ContentFilter(words=("茶",)), oldest_first=False) == [ids[0]]


def test_one_of_several_replicas_indexes(contents: Scheduling) -> None:
    ids = store_titles(contents, random.Random(2))
    with contents.transaction() as other:
        index_contents(other, ids[0], 10)
        contents.run(index_contents, ids[-1], 10)
    assert contents.sql("SELECT indexed_to FROM search_index") == [(ids[0],)]
