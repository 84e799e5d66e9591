"""Contents and the publish pool, as readers see them."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scheduler_svc.application.records import ContentRow, PoolRow
from scheduler_svc.domain.content import Content, PoolEntry, PublishStatus, ReviewStatus
from scheduler_svc.store.batch import Insert
from scheduler_svc.store.rows import Statements

_META = """content_id, account_id, task_key, title, {bodies}, summary, category, images, word_count, quality_score,
    review_status, review_comment, create_time"""
_WHOLE = _META.format(bodies="body, html_body")
_LISTED = _META.format(bodies="'', ''")

_GET = sa.text(f"SELECT {_WHOLE} FROM contents WHERE content_id = :content_id")

# Each form is a range of one index, so that a late page costs what the first one costs.
_OF_ALL = "content_id < :before"
_OF_ACCOUNT = "account_id = :account_id AND content_id < :before"


def _list(columns: str, table: str, condition: str) -> sa.TextClause:
    return sa.text(f"SELECT {columns} FROM {table} WHERE {condition} ORDER BY content_id DESC LIMIT :limit")


_POOL = "content_id, account_id, priority, schedule_time, status, error, claim_id"
_LATEST = 9_223_372_036_854_775_807


_CONTENTS = Insert(
    "contents",
    content_id="bigint",
    account_id="bigint",
    task_key="bigint",
    title="text",
    body="text",
    html_body="text",
    summary="text",
    category="text",
    images="jsonb",
    word_count="integer",
    quality_score="float8",
    review_status="smallint",
)
_ENTRIES = Insert(
    "publish_pool", content_id="bigint", account_id="bigint", priority="smallint", schedule_time="timestamptz"
)


class Contents(Statements):
    """Statements on `contents` and `publish_pool`."""

    def insert(self, contents: Sequence[ContentRow], pool: Sequence[PoolRow]) -> None:
        """Stores what completed tasks made; their unique keys refuse a second content of a task."""
        self._session.insert(_CONTENTS, contents)
        self._session.insert(_ENTRIES, pool)

    def get(self, content_id: int) -> Content | None:
        """One content, whole."""
        row = self._row(_GET, content_id=content_id)
        return None if row is None else _content(row)

    def list(
        self, account_id: int, review_status: ReviewStatus | None, before: int | None, limit: int
    ) -> list[Content]:
        """Contents without their bodies, newest first, with ids below `before`."""
        condition = _OF_ACCOUNT if account_id else _OF_ALL
        if review_status is not None:
            # a literal, so that the partial index of what is not approved can serve
            condition += f" AND review_status = {int(review_status)}"
            condition += " AND review_status <> 2" if review_status is not ReviewStatus.APPROVED else ""
        statement = _list(_LISTED, "contents", condition)
        return [_content(row) for row in self._page(statement, account_id, before, limit)]

    def list_pool(self, account_id: int, before: int | None, limit: int) -> builtins.list[PoolEntry]:
        """Entries of the publish pool, newest first, with content ids below `before`."""
        statement = _list(_POOL, "publish_pool", _OF_ACCOUNT if account_id else _OF_ALL)
        return [_entry(row) for row in self._page(statement, account_id, before, limit)]

    def _page(self, statement: sa.TextClause, account_id: int, before: int | None, limit: int) -> builtins.list[Any]:
        parameters: dict[str, int] = {"before": _LATEST if before is None else before, "limit": limit}
        if account_id:
            parameters["account_id"] = account_id
        return list(self._rows(statement, **parameters))


def _content(row: Any) -> Content:
    (content_id, account_id, task_key, title, body, html_body, summary, category, images, *rest) = row
    word_count, quality_score, review_status, comment, create_time = rest
    return Content(
        content_id=content_id,
        account_id=account_id,
        task_key=task_key,
        title=title,
        body=body,
        html_body=html_body,
        summary=summary,
        category=category,
        images=tuple(images),
        word_count=word_count,
        quality_score=quality_score,
        review_status=ReviewStatus(review_status),
        review_comment=comment,
        create_time=create_time,
    )


def _entry(row: Any) -> PoolEntry:
    content_id, account_id, priority, schedule_time, status, error, claim_id = row
    return PoolEntry(content_id, account_id, priority, schedule_time, PublishStatus(status), error, claim_id)
