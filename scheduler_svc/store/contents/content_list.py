"""Reads the pages of a list of contents: by an index in the list's order, and a search by the search index."""

from __future__ import annotations

from typing import NamedTuple

from scheduler_svc.application.records import ContentPage
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.content import Content, ContentFilter
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.store.contents import list_queries
from scheduler_svc.store.contents.content_rows import LISTED, content
from scheduler_svc.store.contents.list_queries import Selection
from scheduler_svc.store.contents.search import Search
from scheduler_svc.store.engine.access_paths import accounts, of_each_account
from scheduler_svc.store.engine.batch import array
from scheduler_svc.store.engine.rows import Pipeline, Statements


class _Ids(NamedTuple):
    """A range, from `low` to below `high`."""

    low: int
    high: int


class ContentList(Statements):
    """Reads pages of one list."""

    def __init__(self, session: Pipeline, scope: Scope, wanted: ContentFilter, of: Selection) -> None:
        super().__init__(session)
        self._scope = scope
        self._wanted = wanted
        self._of = of
        self._values = accounts(scope) | list_queries.values(wanted)

    def page(self, after: int | None, limit: int) -> ContentPage:
        """Contents behind the id `after`."""
        newest_first = _Ids(0, KEY_MAX if after is None else after)
        ids = _Ids((after or 0) + 1, KEY_MAX) if self._of.oldest_first else newest_first
        if not self._of.examines:
            return self._scan(ids, ids, limit)
        searches = any(len(word) > 1 for word in self._wanted.words)
        if searches and not self._of.waits:
            return self._search(ids, limit)
        examined = self._examined(ids)
        if searches and examined != ids:  # else a page can look at all of them, and the search index may name more
            return self._search(ids, limit)
        return self._scan(ids, examined, limit)

    def _examined(self, ids: _Ids) -> _Ids:
        """How far a page gets in this range that reads one content after another."""
        skipped = of_each_account(self._scope, list_queries.MAX_EXAMINED) - 1
        (bound,) = self._row(list_queries.bound(self._of), **accounts(self._scope), **ids._asdict(), skipped=skipped)
        return ids._replace(**{self._end: bound})

    def _scan(self, ids: _Ids, examined: _Ids, limit: int) -> ContentPage:
        """Reads contents of the part that is examined."""
        rows = self._rows(list_queries.page(LISTED, self._of), **examined._asdict(), **self._values, limit=limit)
        ended = examined == ids or len(rows) == limit
        rest = None if ended else self._behind(getattr(examined, self._end))
        return ContentPage([content(row) for row in rows], rest)

    def _search(self, ids: _Ids, limit: int) -> ContentPage:
        """Reads what the search index names, and scans what it does not have yet."""
        split = Search(self._session).indexed_to() + 1
        indexed, newer = ids._replace(high=min(ids.high, split)), ids._replace(low=max(ids.low, split))
        parts = [(self._read_named, indexed), (self._read_newer, newer)]
        found: list[Content] = []
        for read, part in parts if self._of.oldest_first else reversed(parts):
            if part.low < part.high and len(found) < limit:
                page = read(part, limit - len(found))
                found += page.contents
                if page.rest is not None:
                    return ContentPage(found, page.rest)
        return ContentPage(found, None)

    def _read_named(self, ids: _Ids, limit: int) -> ContentPage:
        examined, oldest_first = list_queries.MAX_EXAMINED, self._of.oldest_first
        named, rest = Search(self._session).find(
            self._scope, self._wanted.words, *ids, examined, oldest_first=oldest_first
        )
        rows = self._rows(
            list_queries.page_of(LISTED, self._of), ids=array("bigint", named), **self._values, limit=limit
        )
        contents = [content(row) for row in rows]
        if rest is None or len(rows) == limit:
            return ContentPage(contents, None)
        return ContentPage(contents, self._behind(rest))

    def _read_newer(self, ids: _Ids, limit: int) -> ContentPage:
        return self._scan(ids, self._examined(ids), limit)

    @property
    def _end(self) -> str:
        """The end of a range where a list stops reading."""
        return "high" if self._of.oldest_first else "low"

    def _behind(self, end: int) -> int:
        """The id behind which a list goes on that has read up to this end of its range."""
        return end - self._of.oldest_first
