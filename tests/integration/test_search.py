"""The search index of contents: a search by it finds what a plain query finds, whatever is indexed by then."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from scheduler_svc.contents.loop import IDLE_INTERVAL, INTERVAL, SearchIndexer
from scheduler_svc.contents.sql import reads as list_queries
from scheduler_svc.contents.sql import search
from scheduler_svc.contents.work import index_contents, unindexed, update_content
from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.domain.content import ContentEdit, ContentFilter, ReviewStatus
from scheduler_svc.runtime.calls import Calls
from tests.harness.content_pages import pages
from tests.harness.payloads import COLUMNS, NO_OTHER_TEXTS
from tests.harness.scheduling import RESULT, Scheduling

COUNT = 150
CHARACTERS = "aAbÉé 咖啡的％ 👩‍🚀_"
SCOPES = [ALL, Scope((1,)), Scope((1, 3)), Scope((1 + (1 << 21),)), Scope(())]
STORE = f"""
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
        WHERE strpos(lower(title || ' ' || coalesce(topic, '')), lower(word)) = 0)
    ORDER BY content_id DESC
"""


@pytest.fixture
def contents(scheduling: Scheduling) -> Iterator[Scheduling]:
    """For contents without tasks, which are gone at the end."""
    yield scheduling
    scheduling.sql("DELETE FROM contents")
    scheduling.sql("DELETE FROM task_payloads")
    assert scheduling.sql("SELECT count(*) FROM content_grams") == [(0,)], "it goes with the content"
    scheduling.sql("UPDATE search_index SET indexed_to = 0")


def text(choice: random.Random, longest: int) -> str:
    return "".join(choice.choices(CHARACTERS, k=choice.randint(1, longest)))


def store(contents: Scheduling, choice: random.Random) -> list[int]:
    """Contents of some accounts, in many segments and with wide gaps; returns their ids."""
    ids = sorted(choice.sample(range(1, 2_000_000), COUNT // 2))
    ids += sorted((1 << choice.randint(40, 61)) + choice.randint(0, 200_000) for _ in range(COUNT - len(ids)))
    ids = sorted({*ids})
    contents.sql(
        STORE,
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
        (1, 2, 0.4),
        (1, search._MAX_SEGMENTS, 1.0),
        (10, 2, 1.0),
        (10, search._MAX_SEGMENTS, 0.0),
        (10, search._MAX_SEGMENTS, 0.4),
        (list_queries.MAX_EXAMINED, 2, 0.4),
        (list_queries.MAX_EXAMINED, search._MAX_SEGMENTS, 1.0),
    ],
)
def test_a_search_finds_what_a_plain_query_finds(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch, examined: int, segments: int, share: float
) -> None:
    """Whatever share of the contents is indexed."""
    choice = random.Random(f"{examined} {segments} {share}")
    ids = store(contents, choice)
    if share:
        index(contents, ids[round(share * len(ids)) - 1])
    monkeypatch.setattr(list_queries, "MAX_EXAMINED", examined)
    monkeypatch.setattr(search, "_MAX_SEGMENTS", segments)
    total = 0
    for _ in range(12):
        words = text(choice, 4).split() or ["咖"]
        scope, status = choice.choice(SCOPES), choice.choice((None, *ReviewStatus))
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


async def test_the_loop_indexes_what_is_new_and_no_id_that_a_transaction_may_still_commit(
    scheduling: Scheduling,
) -> None:
    def indexed() -> list[int]:
        return [row[0] for row in scheduling.sql("SELECT content_id FROM content_grams ORDER BY content_id")]

    calls = Calls(scheduling.database, 1)
    loop = SearchIndexer(calls)
    ended = [scheduling.start(), scheduling.start()]
    scheduling.end(ended[0], RESULT)
    with scheduling.transaction() as open_one:
        open_one.imports.next_content_ids(1)
        scheduling.end(ended[1], RESULT)
        for _ in range(3):
            assert await loop.run_once() >= INTERVAL
        assert indexed() == []
    await loop.run_once()
    assert indexed() == [scheduling.task(ref.task_key).content_id for ref in ended]
    assert scheduling.run(unindexed) is None
    assert await loop.run_once() == IDLE_INTERVAL
    calls.close()


async def test_a_content_that_somebody_has_locked_is_indexed_later(
    contents: Scheduling, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = store(contents, random.Random(3))
    contents.sql("SELECT setval('content_seq', :last)", last=ids[-1])
    run = contents.database.run
    monkeypatch.setattr(contents.database, "run", lambda work: run(work, lock_timeout=0.05))
    calls = Calls(contents.database, 1)
    loop = SearchIndexer(calls)
    with contents.transaction() as other:
        other.contents.lock([ids[0]])
        await loop.run_once()
        assert contents.sql("SELECT indexed_to FROM search_index") == [(0,)]
    await loop.run_once()
    assert contents.sql("SELECT indexed_to FROM search_index") == [(ids[-1],)]
    calls.close()


def test_an_edited_title_is_found_and_the_old_one_is_not(contents: Scheduling) -> None:
    ids = store(contents, random.Random(1))
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
    ids = store(contents, random.Random(2))
    with contents.transaction() as other:
        index_contents(other, ids[0], 10)
        contents.run(index_contents, ids[-1], 10)
    assert contents.sql("SELECT indexed_to FROM search_index") == [(ids[0],)]
