"""Lists of contents: which columns readers see, ranges of an index, and how far a page reads.

Without conditions every row that is read belongs on the page. With them that is not so: of a million contents none may
have a certain category. Then a page examines `MAX_EXAMINED` contents at most. If a list is of contents that wait for a
review, or are rejected, it examines only those, by an index that has them in its order. If contents must have some
words, it examines those that the search index names; if somebody is to review them, those that are assigned.

No index has the words of bodies. The bodies of the newest contents are searched; the others are searched as usual.

A range is from `low` to below `high`. A list that is newest first reads it from its upper end, others from the lower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from scheduler_svc.contents.sql.search import Search, folded, searched
from scheduler_svc.database.batch import array
from scheduler_svc.database.statements import EACH_ACCOUNT, Page, Pipeline, Statements, accounts, of_each_account
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.content import Asset, Content, ContentFilter, LeftOut, PublishStatus, ReviewStatus
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.publishing.sql import SEEN_STATUS, shown_time

MAX_EXAMINED = 5_000
"""Contents of which a page finds out whether they match: a few ms, with a search some 50."""
MAX_BODIES = 500
"""Contents whose bodies a list searches: 2,000 characters take some 0.1 ms."""

ContentPage = Page[Content, int]

_NOT_APPROVED = f"review_status <> {ReviewStatus.APPROVED}"
"""The condition of the indexes by review, and spelt like it."""

ENTRY_STATUS = f"(SELECT {SEEN_STATUS} FROM publish_pool AS p WHERE p.content_id = contents.content_id)"
"""The state of a content's entry in the pool; null: it has none."""


class Selection(NamedTuple):
    """The conditions of a list, without their values."""

    of_accounts: bool = False
    oldest_first: bool = False
    review_status: ReviewStatus | None = None
    publish_status: PublishStatus | None = None
    labels: int = 0
    given: tuple[str, ...] = ()
    """Further fields of the filter that have a value."""
    bodies: bool = False
    """Words may be in the body, too."""

    @classmethod
    def of(cls, wanted: ContentFilter, *, of_accounts: bool, oldest_first: bool) -> Selection:
        field_names = tuple(name for name in _BY_FIELD if getattr(wanted, name) not in {None, "", ()})
        return cls(
            of_accounts, oldest_first, wanted.review_status, wanted.publish_status, len(wanted.labels), field_names
        )

    @property
    def examines(self) -> bool:
        """Whether rows that are read may not belong on the page."""
        return any((self.review_status, self.publish_status, self.labels, self.given))

    @property
    def waits(self) -> bool:
        return self.review_status not in {None, ReviewStatus.APPROVED}

    @property
    def order(self) -> str:
        return self._by("content_id")

    @property
    def range(self) -> str:
        """A range of ids, in words that one index alone can serve in `range_order`, whatever the planner believes."""
        columns = ", ".join([*self._prefix, "content_id"])
        values = "".join(f"{value}, " for value in self._prefix.values())
        partial = f" AND {_NOT_APPROVED}" if self.waits else ""
        return f"({columns}) >= ({values}:low) AND ({columns}) < ({values}:high){partial}"

    @property
    def range_order(self) -> str:
        return self._by(*self._prefix, "content_id")

    @property
    def _prefix(self) -> Mapping[str, str]:
        """What comes before the ids in that index: its columns, and what they are equal to."""
        status = {"review_status": f"{self.review_status}"} if self.waits else {}
        return {**status, "account_id": "a.own"} if self.of_accounts else status

    def _by(self, *columns: str) -> str:
        direction = "" if self.oldest_first else " DESC"
        return "ORDER BY " + ", ".join(f"{column}{direction}" for column in columns)

    def review_condition(self) -> str:
        return "" if self.review_status is None else f" AND review_status = {self.review_status}"

    def conditions(self) -> str:
        conditions = [_IN_BODIES if self.bodies and name == "words" else _BY_FIELD[name] for name in self.given]
        if self.publish_status is not None:
            conditions.append(f"{ENTRY_STATUS} = {self.publish_status}")
        conditions += [
            "EXISTS (SELECT FROM task_labels AS y WHERE (y.name, y.value, y.task_key)"
            f" = (:name{i}, :value{i}, contents.task_key) OFFSET 0)"
            for i in range(self.labels)
        ]
        return "".join(f" AND {condition}" for condition in conditions)


def _words(*, body: bool) -> str:
    return (
        f"(SELECT bool_and(strpos(s.text, {folded('w.word')}) > 0)"
        f" FROM (SELECT {searched('contents', body=body)} AS text OFFSET 0) AS s,"
        " unnest(CAST(:words AS text[])) AS w(word))"
    )


_BY_FIELD: Mapping[str, str] = {
    "category": "category = :category",
    "min_quality_score": "quality_score >= :min_quality_score",
    "created_after": "create_time >= :created_after",
    "created_before": "create_time < :created_before",
    "words": _words(body=False),
}
"""Conditions on a content, by the field of the filter; their parameter has its name."""


_IN_BODIES = _words(body=True)


def values(wanted: ContentFilter) -> dict[str, Any]:
    parameters: dict[str, Any] = {name: getattr(wanted, name) for name in _BY_FIELD}
    parameters["words"] = array("text", wanted.words)
    for i, (name, value) in enumerate(wanted.labels.items()):
        parameters |= {f"name{i}": name, f"value{i}": value}
    return parameters


@lru_cache(maxsize=100)
def bound_of(of: Selection) -> sa.TextClause:
    """Finds how far a page reads.

    That is the page's `low` or, if the oldest come first, its `high`. `skipped` is one less than the number of contents
    that a page reads, of each account.
    """
    last, everything = ("min(content_id) + 1", ":high") if of.oldest_first else ("max(content_id)", ":low")
    query = f"SELECT content_id FROM contents WHERE {of.range} {of.range_order} OFFSET :skipped LIMIT 1"
    lasts = f"{EACH_ACCOUNT}, LATERAL ({query})" if of.of_accounts else f"({query})"
    return sa.text(f"SELECT coalesce({last}, {everything}) FROM {lasts} AS k")


@lru_cache
def _assigned(*, oldest_first: bool) -> sa.TextClause:
    """Finds contents of a range that somebody is to review."""
    direction = "" if oldest_first else " DESC"
    return sa.text(f"""
        SELECT content_id FROM content_assignments
        WHERE (assignee, content_id) >= (:assignee, :low) AND (assignee, content_id) < (:assignee, :high)
        ORDER BY assignee{direction}, content_id{direction} LIMIT :limit
    """)


@lru_cache(maxsize=100)
def page_of(columns: str, of: Selection) -> sa.TextClause:
    """Reads a page of some contents: the first `limit` of `ids`."""
    account_condition = " AND account_id + 0 = ANY(CAST(:accounts AS bigint[]))" if of.of_accounts else ""
    conditions = f"{account_condition}{of.review_condition()}{of.conditions()}"
    query = f"SELECT content_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])){conditions}"
    return sa.text(
        f"SELECT {columns} FROM contents WHERE content_id = ANY(ARRAY({query} {of.order} LIMIT :limit)) {of.order}"
    )


@lru_cache(maxsize=100)
def page(columns: str, of: Selection) -> sa.TextClause:
    """Reads a page of contents: the first `limit` in the range.

    Of several accounts the first ids of each are merged first: of a hundred accounts most rows are not on the page.
    """
    conditions = of.conditions() if of.waits else f"{of.review_condition()}{of.conditions()}"
    first = f"FROM contents WHERE {of.range}{conditions} {of.range_order} LIMIT :limit"
    if not of.of_accounts:
        return sa.text(f"SELECT {columns} {first}")
    merged = (
        f"SELECT k.content_id FROM {EACH_ACCOUNT}, LATERAL (SELECT content_id {first}) AS k {of.order} LIMIT :limit"
    )
    return sa.text(f"SELECT {columns} FROM contents WHERE content_id = ANY(ARRAY({merged})) {of.order}")


# Nothing sweeps the expired claim of a review either: readers do not see it.
_HELD = "CASE WHEN review_claim_expire_time > now() THEN {} END"
_CLAIM_END = _HELD.format(shown_time("review_claim_expire_time"))

_ASSIGNMENT = """(SELECT jsonb_build_array(y.assignee, y.assigner, extract(epoch FROM y.assign_time))
    FROM content_assignments AS y WHERE y.content_id = contents.content_id)"""

# In the order of the fields of `Content`.
_META = f"""content_id, account_id, task_key, title, {{bodies}}, summary, category, images, word_count, quality_score,
    review_status, review_comment, create_time, coalesce(cover_image, images ->> 0, ''), revision, etag,
    reviewer, review_time, {_HELD.format("review_holder")}, {_CLAIM_END},
    {ENTRY_STATUS}, superseded_by_content_id, usage, model,
    {_ASSIGNMENT}, {{named}}"""
# What its result names, in order.
_NAMED = """(
        SELECT jsonb_agg(jsonb_build_array(n.reason, n.name, n.sha256, a.media_type, a.size, a.width, a.height)
            ORDER BY n.position)
        FROM content_assets AS n
        LEFT JOIN LATERAL (SELECT * FROM assets AS x WHERE x.sha256 = n.sha256 OFFSET 0) AS a ON true
        WHERE n.content_id = contents.content_id) AS named"""
WHOLE = _META.format(bodies="body, html_body", named=_NAMED)
LISTED = _META.format(bodies="'', ''", named=_NAMED)
_FIELDS = [field.name for field in fields(Content)][:-5]
"""All but the assignment, and `assets` and `left_out`, which come from `named`."""


def content(*row: Any) -> Content:
    *columns, assignment, named = row
    assignee, assigner, assign_time = assignment or ("", "", None)
    values = dict(zip(_FIELDS, columns, strict=True))
    publish_status = values["publish_status"]
    return Content(
        **{
            **values,
            "images": tuple(values["images"]),
            "review_status": ReviewStatus(values["review_status"]),
            "publish_status": None if publish_status is None else PublishStatus(publish_status),
            "review_holder": values["review_holder"] or "",
            "superseded_by_content_id": values["superseded_by_content_id"] or 0,
            "usage": values["usage"] or {},
            "model": values["model"] or "",
            "assignee": assignee,
            "assigner": assigner,
            "assign_time": None if assign_time is None else datetime.fromtimestamp(assign_time, UTC),
            "assets": tuple(Asset(*asset) for reason, *asset in named or () if reason is None),
            "left_out": tuple(LeftOut(name, reason) for reason, name, *_ in named or () if reason is not None),
        }
    )


class _Ids(NamedTuple):
    """A range of ids, from `low` to below `high`."""

    low: int
    high: int


class ContentList(Statements):
    def __init__(self, session: Pipeline, scope: Scope, wanted: ContentFilter, of: Selection) -> None:
        super().__init__(session)
        self._scope = scope
        self._wanted = wanted
        self._of = of
        self._values = accounts(scope) | values(wanted)

    def page(self, after: int | None, limit: int) -> ContentPage:
        """Returns the contents behind the id `after`."""
        newest_first = _Ids(0, KEY_MAX if after is None else after)
        ids = _Ids((after or 0) + 1, KEY_MAX) if self._of.oldest_first else newest_first
        if not self._wanted.search_bodies:
            return self._page(ids, limit)
        older, newer = self._split(ids, self._first_body())
        return self._join([(self._page, older), (self._scan_bodies, newer)], limit)

    def _page(self, ids: _Ids, limit: int) -> ContentPage:
        if self._wanted.assignee:
            return self._read_assigned(self._of, ids, limit)
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
        """Returns how far a page gets in this range that reads one content after another."""
        return ids._replace(**{self._end: self._bound(self._of, ids, MAX_EXAMINED)})

    def _bound(self, of: Selection, ids: _Ids, most: int) -> int:
        skipped = of_each_account(self._scope, most) - 1
        return int(self._row(bound_of(of), **self._values, **ids._asdict(), skipped=skipped)[0])

    def _first_body(self) -> int:
        if self._wanted.assignee:
            assigned = self._assigned(_Ids(0, KEY_MAX), MAX_BODIES, oldest_first=False)
            return assigned[-1] if assigned else KEY_MAX
        return self._bound(self._of._replace(oldest_first=False), _Ids(0, KEY_MAX), MAX_BODIES)

    def _scan_bodies(self, ids: _Ids, limit: int) -> ContentPage:
        of = self._of._replace(bodies=True)
        if self._wanted.assignee:
            return self._read_assigned(of, ids, limit)
        return ContentPage(self._all(content, page(LISTED, of), **ids._asdict(), **self._values, limit=limit), None)

    def _assigned(self, ids: _Ids, limit: int, *, oldest_first: bool) -> list[int]:
        values = {"assignee": self._wanted.assignee, **ids._asdict(), "limit": limit}
        return self._all(int, _assigned(oldest_first=oldest_first), **values)

    def _read_assigned(self, of: Selection, ids: _Ids, limit: int) -> ContentPage:
        candidates = self._assigned(ids, MAX_EXAMINED, oldest_first=of.oldest_first)
        named = {"ids": array("bigint", candidates), "limit": limit}
        contents = self._all(content, page_of(LISTED, of), **self._values, **named)
        ended = len(candidates) < MAX_EXAMINED or len(contents) == limit
        return ContentPage(contents, None if ended else candidates[-1])

    def _scan(self, ids: _Ids, examined: _Ids, limit: int) -> ContentPage:
        contents = self._all(content, page(LISTED, self._of), **examined._asdict(), **self._values, limit=limit)
        ended = examined == ids or len(contents) == limit
        return ContentPage(contents, None if ended else self._behind(getattr(examined, self._end)))

    def _search(self, ids: _Ids, limit: int) -> ContentPage:
        """Reads what the search index names, and scans what it does not have yet."""
        indexed, newer = self._split(ids, Search(self._session).indexed_to() + 1)
        return self._join([(self._read_named, indexed), (self._read_newer, newer)], limit)

    @staticmethod
    def _split(ids: _Ids, at: int) -> tuple[_Ids, _Ids]:
        return ids._replace(high=min(ids.high, at)), ids._replace(low=max(ids.low, at))

    def _join(self, parts: Sequence[tuple[Callable[[_Ids, int], ContentPage], _Ids]], limit: int) -> ContentPage:
        """Reads the parts of a range in the order of the list, until a page is full."""
        contents: list[Content] = []
        for read, part in parts if self._of.oldest_first else reversed(parts):
            if part.low < part.high and len(contents) < limit:
                page = read(part, limit - len(contents))
                contents += page.rows
                if page.rest is not None:
                    return ContentPage(contents, page.rest)
        return ContentPage(contents, None)

    def _read_named(self, ids: _Ids, limit: int) -> ContentPage:
        examined, oldest_first = MAX_EXAMINED, self._of.oldest_first
        candidates, rest = Search(self._session).find(
            self._scope, self._wanted.words, *ids, examined, oldest_first=oldest_first
        )
        named = {"ids": array("bigint", candidates), "limit": limit}
        contents = self._all(content, page_of(LISTED, self._of), **self._values, **named)
        if rest is None or len(contents) == limit:
            return ContentPage(contents, None)
        return ContentPage(contents, self._behind(rest))

    def _read_newer(self, ids: _Ids, limit: int) -> ContentPage:
        return self._scan(ids, self._examined(ids), limit)

    @property
    def _end(self) -> str:
        """The end of a range where a list stops reading."""
        return "high" if self._of.oldest_first else "low"

    def _behind(self, end: int) -> int:
        """Returns the id behind which a list goes on that has read up to this end of its range."""
        return end - self._of.oldest_first
