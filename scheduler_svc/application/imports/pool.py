"""Imports entries of the publish pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scheduler_svc.application.imports.rows import ImportedEntryRow, PoolCandidate
from scheduler_svc.application.imports.source import ImportSource, LeftOutRow, StoreResult, readable
from scheduler_svc.domain import imports
from scheduler_svc.domain.imports import ImportedEntry
from scheduler_svc.domain.old_rows import RowKind

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx


def plan_entries(source: ImportSource, ids: Sequence[int]) -> tuple[list[ImportedEntry], list[LeftOutRow]]:
    entries, left_out = readable(source.old.rows(RowKind.POOL_ENTRY, ids), imports.entry)
    rejected = source.old.rejected(entry.old_content_id for entry in entries)
    fitting: list[ImportedEntry] = []
    for entry in entries:
        if entry.old_content_id in rejected:
            left_out.append(LeftOutRow(entry.old_id, f"its content {entry.old_content_id} is rejected"))
        else:
            fitting.append(entry)
    return fitting, left_out


def store_entries(tx: Tx, source: ImportSource, planned: Sequence[ImportedEntry]) -> StoreResult:
    """Stores the entries that fit into the pool here; returns the others."""
    contents = tx.imports.known(source.source_id, RowKind.CONTENT, {entry.old_content_id for entry in planned})
    candidates = {} if source.dry_run else tx.imports.pool_candidates(contents.values())
    left_out: list[LeftOutRow] = []
    rows: list[ImportedEntryRow] = []
    taken: dict[int, int] = {}
    for entry in planned:
        content_id = contents.get(entry.old_content_id)
        reason = _unfit(entry, content_id, candidates, dry_run=source.dry_run)
        if reason is not None:
            left_out.append(LeftOutRow(entry.old_id, reason))
            continue
        assert content_id is not None
        taken[entry.old_id] = content_id
        if not source.dry_run:
            rows.append(_row(entry, content_id, candidates[content_id].account_id))
    tx.imports.insert_entries(rows)
    tx.imports.remember(source.source_id, RowKind.POOL_ENTRY, taken)
    return StoreResult(left_out)


def _unfit(
    entry: ImportedEntry, content_id: int | None, candidates: Mapping[int, PoolCandidate], *, dry_run: bool
) -> str | None:
    named = f"its content {entry.old_content_id}"
    if content_id is None:
        return f"{named} is not there"
    if dry_run:
        return None
    here = candidates.get(content_id)
    if here is None:
        return f"{named} was imported, and is gone"
    if here.in_pool:
        return f"{named} is in the pool already"
    return None if here.approved else f"{named} is not approved here: approving it puts it into the pool"


def _row(entry: ImportedEntry, content_id: int, account_id: int) -> ImportedEntryRow:
    return ImportedEntryRow(
        content_id, account_id, entry.priority, entry.schedule_time, entry.status.value, entry.error
    )
