"""The search index of contents: which two characters stand side by side in title and topic. A loop keeps it.

Each such pair is a *gram*, a number that the index of arrays (GIN) can look up. It needs no extension and no word
boundaries, so it finds Chinese in any database. A search reads the contents that have all grams of its words, and only
those are compared with the words themselves: the index leaves nothing out, but may name too many.

A gram counts within a *segment* of contents, 65,536 ids. So a search reads segment after segment, in the order of its
list, and stops where a page is full: a word that half of all contents have costs little more than a rare one.

Contents up to `indexed_to` are in the index. Those behind, of the last seconds, are read one by one; for words of one
character all of them are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa

from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import Page, Statements, accounts
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.change import Snapshot
from scheduler_svc.watch.sql import Snapshots

_SEGMENT_BITS = 16
_OF_SEGMENT, _OF_FIRST, _OF_SECOND = 2_654_435_761, 2_246_822_519, 3_266_489_917
"""A gram has 31 bits of the sum of these products: all are odd, and large primes."""
_NO_CHARACTER = (1 << 21) - 1
"""Stands for the first character where the second number is an account. Unicode has no such code point."""
_FIRST_BATCH, _LAST_BATCH = 1, 128
"""Segments that one statement reads, doubled each time. A segment without the words costs some 20 µs a gram."""
_MAX_SEGMENTS = 1_000
"""Segments that a page reads: 65 million ids."""


def searched(contents: str, *, body: bool = False) -> str:
    """Returns what is searched of a row of `contents`. A title may be edited, and has the beginning of a long topic."""
    topic = f"(SELECT topic FROM task_payloads AS x WHERE x.task_key = {contents}.task_key)"
    text = f"{contents}.title || ' ' || coalesce({topic}, '')"
    return folded(f"{text} || ' ' || {contents}.body" if body else text)


def folded(text: str) -> str:
    """Returns a text in which neither case nor width of letters count."""
    return f"lower(normalize({text}, NFKC))"


def _grams(text: str) -> str:
    """Returns a query for the grams of a text, without a segment. No word has a space, so no gram has one.

    `ascii` tells the code point of a character.
    """
    return f"""
        SELECT DISTINCT ascii(c.first) * {_OF_FIRST} + ascii(c.second) * {_OF_SECOND}
        FROM (SELECT string_to_array({text}, NULL) AS list OFFSET 0) AS t,
            unnest(t.list, t.list[2:]) AS c(first, second)
        WHERE c.first <> ' ' AND c.second <> ' '"""


def _account_gram(account: str) -> str:
    """Returns the gram of an account: others may have the same one."""
    return f"{_NO_CHARACTER} * {_OF_FIRST} + ({account} & {_NO_CHARACTER}) * {_OF_SECOND}"


def _in_segment(segment: str, grams: str) -> str:
    """Returns a query for grams of a segment. Its higher bits are lost: far away another segment has the same ones."""
    of_segment = f"(({segment}) & {_NO_CHARACTER}) * {_OF_SEGMENT}"
    return f"SELECT CAST(({of_segment} + g.gram) & {(1 << 31) - 1} AS integer) FROM ({grams}) AS g(gram)"


def _index(contents: str) -> sa.TextClause:
    """Indexes contents. Each is locked against an edit."""
    grams = _in_segment(
        f"c.content_id >> {_SEGMENT_BITS}",
        f"{_grams(searched('c'))} UNION ALL SELECT {_account_gram('c.account_id')}",
    )
    return sa.text(f"""
        WITH chosen AS MATERIALIZED (
            SELECT content_id, account_id, task_key, title FROM contents WHERE {contents} FOR KEY SHARE
        ), indexed AS (
            INSERT INTO content_grams (content_id, grams) SELECT c.content_id, ARRAY({grams}) FROM chosen AS c
            ON CONFLICT (content_id) DO UPDATE SET grams = excluded.grams
        )
        SELECT count(*), max(content_id) FROM chosen
    """)


_INDEX_NEXT = _index("content_id > :after AND content_id <= :until ORDER BY content_id LIMIT :limit")
"""Indexes the next contents."""
_INDEX_ONE = _index("content_id = :content_id")
"""Indexes a content anew."""
_INDEX_REST = _index(
    "account_id = :account_id AND NOT EXISTS (SELECT FROM content_grams AS g WHERE g.content_id = contents.content_id)"
)
"""Indexes those of an account that are not indexed."""

_INDEXED_TO = sa.text('SELECT indexed_to FROM search_index WHERE "only"')
"""Reads up to which id all contents are indexed."""
_TAKE_TURN = sa.text(f"{_INDEXED_TO.text} FOR UPDATE SKIP LOCKED")
"""The same, unless another replica indexes."""
_ADVANCE = sa.text('UPDATE search_index SET indexed_to = :to WHERE "only"')
"""Stores up to which id all contents are indexed."""
_LAST_CONTENT_ID = sa.text("SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM content_seq")
"""Reads the last id drawn for a content."""


@lru_cache
def _next(*, oldest_first: bool) -> sa.TextClause:
    """Finds the next indexed content: ids may have wide gaps."""
    return sa.text(
        f"SELECT {'min' if oldest_first else 'max'}(content_id) FROM content_grams"
        " WHERE content_id >= :low AND content_id < :high"
    )


# `+ 0`: by the index of grams, or not at all.
@lru_cache
def _find(*, oldest_first: bool, of_accounts: bool) -> sa.TextClause:
    """Finds contents of some segments that have all grams of the words."""
    step, order = (1, "content_id") if oldest_first else (-1, "content_id DESC")
    words = (
        f"SELECT w.gram FROM unnest(CAST(:words AS text[])) AS v(word), LATERAL ({_grams(folded('v.word'))}) AS w(gram)"
    )
    account_grams = f"SELECT {_account_gram('a')} FROM unnest(CAST(:accounts AS bigint[])) AS a"
    account_condition = f"AND x.grams && ARRAY({_in_segment('s.segment', account_grams)})" if of_accounts else ""
    return sa.text(f"""
        SELECT f.content_id FROM (SELECT ARRAY({words}) AS grams OFFSET 0) AS q,
            generate_series(CAST(:first AS bigint), :last, {step}) AS s(segment), LATERAL (
                SELECT x.content_id FROM content_grams AS x
                WHERE x.grams @> ARRAY({_in_segment("s.segment", "SELECT unnest(q.grams)")}) {account_condition}
                    AND x.content_id >> {_SEGMENT_BITS} = s.segment
                    AND x.content_id + 0 >= :low AND x.content_id + 0 < :high
                ORDER BY x.{order} LIMIT :limit) AS f
        ORDER BY f.{order} LIMIT :limit
    """)


class Search(Statements):
    """Statements on `content_grams` and `search_index`."""

    def indexed_to(self) -> int:
        return int(self._row(_INDEXED_TO)[0])

    def last(self) -> int:
        """Returns the last id drawn for a content, committed or not; 0 before the first."""
        return int(self._row(_LAST_CONTENT_ID)[0])

    def snapshot(self) -> Snapshot:
        """Returns the last id, and then which transactions have drawn one: see `domain/change.py`."""
        return Snapshots(self._session).take(self.last(), "content_seq")

    def take_turn(self) -> int | None:
        """Locks `indexed_to` and returns it; None while another replica indexes."""
        return self._one(int, _TAKE_TURN)

    def index_next(self, after: int, until: int, limit: int) -> None:
        """Indexes up to `limit` contents above `after`, up to `until`, and advances `indexed_to`."""
        count, last = self._row(_INDEX_NEXT, after=after, until=until, limit=limit)
        self._run(_ADVANCE, to=last if count == limit else until)

    def index(self, content_id: int) -> None:
        self._run(_INDEX_ONE, content_id=content_id)

    def index_rest(self, account_id: int) -> None:
        """Indexes the account's contents that are not indexed, wherever their ids are."""
        self._run(_INDEX_REST, account_id=account_id)

    def find(
        self, scope: Scope, words: Sequence[str], low: int, high: int, limit: int, *, oldest_first: bool
    ) -> Page[int, int]:
        """Finds up to `limit` indexed contents from `low` to below `high` that may have all words, in the list's order.

        The search goes on with contents below `rest` or, oldest first, from it on.
        """
        statement = _find(oldest_first=oldest_first, of_accounts=scope.accounts is not None)
        parameters = {"words": array("text", words), **accounts(scope)}
        ids: list[int] = []
        batch, segments_left = _FIRST_BATCH, _MAX_SEGMENTS
        while (
            segments_left
            and (nearest := self._row(_next(oldest_first=oldest_first), low=low, high=high)[0]) is not None
        ):
            batch = min(batch, segments_left)
            first = nearest >> _SEGMENT_BITS
            last = first + batch - 1 if oldest_first else max(first - batch + 1, 0)
            places = {"first": first, "last": last, "low": low, "high": high}
            ids += self._all(int, statement, **parameters, **places, limit=limit - len(ids))
            if len(ids) == limit:
                return Page(ids, ids[-1] + oldest_first)
            if oldest_first:
                low = (last + 1) << _SEGMENT_BITS
            else:
                high = last << _SEGMENT_BITS
            batch, segments_left = min(2 * batch, _LAST_BATCH), segments_left - batch
        return Page(ids, None if segments_left else low if oldest_first else high)
