"""Imports contents: of tasks, and of tasks that are gone or left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from scheduler_svc.application.imports.rows import ImportedContentRow
from scheduler_svc.application.imports.source import ImportSource, LeftOutRow, StoreResult
from scheduler_svc.application.tasks.new_rows import TaskKeys
from scheduler_svc.domain import imports
from scheduler_svc.domain.ids import make_past_key
from scheduler_svc.domain.imports import ImportedContent
from scheduler_svc.domain.old_rows import LeftOut, OldRow, RowKind

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def read_contents(source: ImportSource, rows: Iterable[OldRow]) -> dict[int, ImportedContent | LeftOut]:
    by_id = {row.key: row for row in rows}
    pooled = source.old.in_pool(by_id)
    return {old_id: _read(row, in_pool=old_id in pooled) for old_id, row in by_id.items()}


def _read(row: OldRow, *, in_pool: bool) -> ImportedContent | LeftOut:
    try:
        return imports.content(row, in_pool=in_pool)
    except LeftOut as left:
        return left


def plan_contents(source: ImportSource, ids: Sequence[int]) -> tuple[list[ImportedContent], list[LeftOutRow]]:
    read = read_contents(source, source.old.rows(RowKind.CONTENT, ids))
    left_out = [LeftOutRow(old_id, found.reason) for old_id, found in read.items() if isinstance(found, LeftOut)]
    return [found for found in read.values() if not isinstance(found, LeftOut)], left_out


def store_contents(tx: Tx, source: ImportSource, planned: Sequence[ImportedContent], *, keys: TaskKeys) -> StoreResult:
    """Stores contents without a task here, each with an unused task key; returns those without an account."""
    accounts = tx.imports.known(source.source_id, RowKind.ACCOUNT, {content.old_account_id for content in planned})
    fitting = [content for content in planned if content.old_account_id in accounts]
    rows = [] if source.dry_run else _rows(tx, keys, [(it, accounts[it.old_account_id]) for it in fitting])
    tx.imports.insert_contents(rows)
    new_ids = [row.content_id for row in rows] or [0] * len(fitting)
    taken = {_old_id(content): new_id for content, new_id in zip(fitting, new_ids, strict=True)}
    tx.imports.remember(source.source_id, RowKind.CONTENT, taken)
    left_out = [
        LeftOutRow(_old_id(content), f"its account {content.old_account_id} is not there")
        for content in planned
        if content.old_account_id not in accounts
    ]
    return StoreResult(left_out)


def _rows(tx: Tx, keys: TaskKeys, contents: Sequence[tuple[ImportedContent, int]]) -> list[ImportedContentRow]:
    """The oldest gets the smallest id: lists are in that order."""
    numbers = keys.numbers(tx, len(contents))
    ids = tx.imports.next_content_ids(len(contents))
    rows = []
    for (content, account_id), number, content_id in zip(contents, numbers, ids, strict=True):
        create_time = min(content.create_time or tx.now, tx.now)
        key = make_past_key(max(0, round(create_time.timestamp() * 1000)), number)
        rows.append(content_row(content, content_id, account_id, key, create_time))
    return rows


def content_row(
    content: ImportedContent, content_id: int, account_id: int, task_key: int, create_time: datetime
) -> ImportedContentRow:
    """Returns a row, without the fields that only the task's result has."""
    return ImportedContentRow(
        content_id=content_id,
        account_id=account_id,
        task_key=task_key,
        title=content.title,
        body=content.body,
        html_body="",
        summary=content.summary,
        category=content.category,
        images=json.dumps(content.images),
        word_count=len(content.body),
        quality_score=None,
        review_status=content.review_status.value,
        review_comment=content.review_comment,
        create_time=create_time,
    )


def _old_id(content: ImportedContent) -> int:
    assert content.old_id is not None, "it was read from a row"
    return content.old_id
