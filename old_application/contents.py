"""Imports contents (of tasks, and of tasks that are gone or left out) and entries of the publish pool."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from old_application import rules
from old_application.old_rows import RowKind
from old_application.rules import ImportedContent, ImportedEntry
from old_application.source import ImportSource, LeftOutRow, PoolCandidate, Row, StoreResult, readable
from scheduler_svc.domain.ids import make_past_key
from scheduler_svc.tasks.submit_checks import TaskKeys

if TYPE_CHECKING:
    from old_application.sql import Imports


def plan_contents(source: ImportSource, ids: Sequence[int]) -> tuple[list[ImportedContent], list[LeftOutRow]]:
    rows = source.old.rows(RowKind.CONTENT, ids)
    pooled = source.old.in_pool(row.key for row in rows)
    return readable(rows, lambda row: rules.content(row, in_pool=row.key in pooled))


def store_contents(
    imports: Imports, source: ImportSource, planned: Sequence[ImportedContent], *, keys: TaskKeys
) -> StoreResult:
    """Stores contents without a task here, each with an unused task key; returns those without an account."""
    accounts = imports.known(source.source_id, RowKind.ACCOUNT, {content.old_account_id for content in planned})
    fitting = [content for content in planned if content.old_account_id in accounts]
    rows = [] if source.dry_run else _rows(imports, keys, fitting, accounts)
    imports.insert_contents(rows)
    new_ids = [row["content_id"] for row in rows] or [0] * len(fitting)
    taken = {_old_id(content): new_id for content, new_id in zip(fitting, new_ids, strict=True)}
    imports.remember(source.source_id, RowKind.CONTENT, taken)
    left_out = [
        LeftOutRow(_old_id(content), f"its account {content.old_account_id} is not there")
        for content in planned
        if content.old_account_id not in accounts
    ]
    return StoreResult(left_out)


def _rows(
    imports: Imports, keys: TaskKeys, contents: Sequence[ImportedContent], accounts: Mapping[int, int]
) -> list[Row]:
    """Returns the rows. The oldest content gets the smallest id: lists are in that order."""
    now = imports.tx.now
    numbers = keys.numbers(imports.tx, len(contents))
    ids = imports.next_content_ids(len(contents))
    rows = []
    for content, number, content_id in zip(contents, numbers, ids, strict=True):
        create_time = min(content.create_time or now, now)
        key = past_key(create_time, number)
        rows.append(content_row(content, content_id, accounts[content.old_account_id], key, create_time))
    return rows


def past_key(create_time: datetime, number: int) -> int:
    return make_past_key(max(0, round(create_time.timestamp() * 1000)), number)


def content_row(
    content: ImportedContent, content_id: int, account_id: int, task_key: int, create_time: datetime
) -> Row:
    """Returns a row, without the fields that only the task's result has."""
    return Row(
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


def plan_entries(source: ImportSource, ids: Sequence[int]) -> tuple[list[ImportedEntry], list[LeftOutRow]]:
    entries, left_out = readable(source.old.rows(RowKind.POOL_ENTRY, ids), rules.entry)
    rejected = source.old.rejected(entry.old_content_id for entry in entries)
    fitting: list[ImportedEntry] = []
    for entry in entries:
        if entry.old_content_id in rejected:
            left_out.append(LeftOutRow(entry.old_id, f"its content {entry.old_content_id} is rejected"))
        else:
            fitting.append(entry)
    return fitting, left_out


def store_entries(imports: Imports, source: ImportSource, planned: Sequence[ImportedEntry]) -> StoreResult:
    """Stores the entries that fit into the pool here; returns the others."""
    contents = imports.known(source.source_id, RowKind.CONTENT, {entry.old_content_id for entry in planned})
    candidates = {} if source.dry_run else imports.pool_candidates(contents.values())
    left_out: list[LeftOutRow] = []
    rows: list[Row] = []
    new_ids: dict[int, int] = {}
    for entry in planned:
        content_id = contents.get(entry.old_content_id)
        reason = _unfit(entry, content_id, candidates, dry_run=source.dry_run)
        if reason is not None:
            left_out.append(LeftOutRow(entry.old_id, reason))
            continue
        assert content_id is not None
        new_ids[entry.old_id] = content_id
        if not source.dry_run:
            row = Row(
                content_id=content_id,
                account_id=candidates[content_id].account_id,
                priority=entry.priority,
                schedule_time=entry.schedule_time,
                status=entry.status.value,
                error=entry.error,
            )
            rows.append(row)
    imports.insert_entries(rows)
    imports.remember(source.source_id, RowKind.POOL_ENTRY, new_ids)
    return StoreResult(left_out)


def _unfit(
    entry: ImportedEntry, content_id: int | None, candidates: Mapping[int, PoolCandidate], *, dry_run: bool
) -> str | None:
    subject = f"its content {entry.old_content_id}"
    if content_id is None:
        return f"{subject} is not there"
    if dry_run:
        return None
    candidate = candidates.get(content_id)
    if candidate is None:
        return f"{subject} was imported, and is gone"
    if candidate.in_pool:
        return f"{subject} is in the pool already"
    return None if candidate.approved else f"{subject} is not approved here: approving it puts it into the pool"
