"""Lists of contents in SQL: ranges of an index, and how far a page reads. Part of `store`.

Without conditions every row that is read belongs on the page. With them that is not so: of a million contents none may
have a certain category. Then a page examines `MAX_EXAMINED` contents at most. If a list is of contents that wait for
a review, or are rejected, it examines only those, by an index that has them in its order. If contents must have some
words, it examines those that the search index names.

A range is from `low` to below `high`. A list that is newest first reads it from its upper end, others from the lower.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from scheduler_svc.domain.content import ContentFilter, PublishStatus, ReviewStatus
from scheduler_svc.store.contents.publish_pool import SEEN_STATUS
from scheduler_svc.store.contents.search import searched
from scheduler_svc.store.engine.access_paths import EACH_ACCOUNT
from scheduler_svc.store.engine.batch import array
from scheduler_svc.store.schema.tables import NOT_APPROVED

MAX_EXAMINED = 5_000
"""Contents of which a page finds out whether they match: a few ms, with a search some 50."""

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

    @classmethod
    def of(cls, wanted: ContentFilter, *, of_accounts: bool, oldest_first: bool) -> Selection:
        given = tuple(name for name in _BY_FIELD if getattr(wanted, name) not in {None, "", ()})
        return cls(of_accounts, oldest_first, wanted.review_status, wanted.publish_status, len(wanted.labels), given)

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
        columns, values = ", ".join([*self._prefix, "content_id"]), "".join(f"{it}, " for it in self._prefix.values())
        partial = f" AND {NOT_APPROVED}" if self.waits else ""
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
        """All others."""
        found = [_BY_FIELD[name] for name in self.given]
        if self.publish_status is not None:
            found.append(f"{ENTRY_STATUS} = {self.publish_status}")
        found += [
            "EXISTS (SELECT FROM task_labels AS y WHERE (y.name, y.value, y.task_key)"
            f" = (:name{i}, :value{i}, contents.task_key) OFFSET 0)"
            for i in range(self.labels)
        ]
        return "".join(f" AND {condition}" for condition in found)


_BY_FIELD: Mapping[str, str] = {
    "category": "category = :category",
    "min_quality_score": "quality_score >= :min_quality_score",
    "created_after": "create_time >= :created_after",
    "created_before": "create_time < :created_before",
    "words": (
        "(SELECT bool_and(strpos(s.text, lower(w.word)) > 0)"
        f" FROM (SELECT {searched('contents')} AS text OFFSET 0) AS s, unnest(CAST(:words AS text[])) AS w(word))"
    ),
}
"""Conditions on a content, by the field of the filter; their parameter has its name."""


def values(wanted: ContentFilter) -> dict[str, Any]:
    """The parameters of the conditions."""
    found: dict[str, Any] = {name: getattr(wanted, name) for name in _BY_FIELD}
    found["words"] = array("text", wanted.words)
    for i, (name, value) in enumerate(wanted.labels.items()):
        found |= {f"name{i}": name, f"value{i}": value}
    return found


@lru_cache(maxsize=100)
def bound(of: Selection) -> sa.TextClause:
    """Finds how far a page reads.

    That is the page's `low` or, if the oldest come first, its `high`. `skipped` is one less than the number of contents
    that a page reads, of each account.
    """
    last, everything = ("min(content_id) + 1", ":high") if of.oldest_first else ("max(content_id)", ":low")
    found = f"SELECT content_id FROM contents WHERE {of.range} {of.range_order} OFFSET :skipped LIMIT 1"
    lasts = f"{EACH_ACCOUNT}, LATERAL ({found})" if of.of_accounts else f"({found})"
    return sa.text(f"SELECT coalesce({last}, {everything}) FROM {lasts} AS k")


@lru_cache(maxsize=100)
def page_of(columns: str, of: Selection) -> sa.TextClause:
    """Reads a page of some contents: the first `limit` of `ids`."""
    own = " AND account_id + 0 = ANY(CAST(:accounts AS bigint[]))" if of.of_accounts else ""
    conditions = f"{own}{of.review_condition()}{of.conditions()}"
    found = f"SELECT content_id FROM contents WHERE content_id = ANY(CAST(:ids AS bigint[])){conditions}"
    return sa.text(
        f"SELECT {columns} FROM contents WHERE content_id = ANY(ARRAY({found} {of.order} LIMIT :limit)) {of.order}"
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
