"""Entries of the publish pool. Part of `application.imports`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler_svc.application.imports.origin import ImportSource, LeftOutRow, StoreResult, readable
from scheduler_svc.application.imports.ports import ImportedEntryRow, PoolCandidate
from scheduler_svc.application.ports import Tx
from scheduler_svc.domain import imports
from scheduler_svc.domain.imports import ImportedEntry
from scheduler_svc.domain.old_rows import RowKind


def plan_entries(origin: ImportSource, ids: Sequence[int]) -> tuple[list[ImportedEntry], list[LeftOutRow]]:
    """What these entries will be, and those that can't be anything."""
    entries, missed = readable(origin.old.rows(RowKind.POOL_ENTRY, ids), imports.entry)
    rejected = origin.old.rejected(entry.old_content_id for entry in entries)
    fitting: list[ImportedEntry] = []
    for entry in entries:
        if entry.old_content_id in rejected:
            missed.append(LeftOutRow(entry.old_id, f"its content {entry.old_content_id} is rejected"))
        else:
            fitting.append(entry)
    return fitting, missed


def store_entries(tx: Tx, origin: ImportSource, planned: Sequence[ImportedEntry]) -> StoreResult:
    """Stores what can stand in the pool here; returns the others."""
    contents = tx.imports.known(origin.source_id, RowKind.CONTENT, {entry.old_content_id for entry in planned})
    standing = {} if origin.dry_run else tx.imports.pool_candidates(contents.values())
    missed: list[LeftOutRow] = []
    rows: list[ImportedEntryRow] = []
    taken: dict[int, int] = {}
    for entry in planned:
        content_id = contents.get(entry.old_content_id)
        reason = _unfit(entry, content_id, standing, dry_run=origin.dry_run)
        if reason is not None:
            missed.append(LeftOutRow(entry.old_id, reason))
            continue
        assert content_id is not None
        taken[entry.old_id] = content_id
        if not origin.dry_run:
            rows.append(_row(entry, content_id, standing[content_id].account_id))
    tx.imports.insert_entries(rows)
    tx.imports.remember(origin.source_id, RowKind.POOL_ENTRY, taken)
    return StoreResult(missed)


def _unfit(
    entry: ImportedEntry, content_id: int | None, standing: Mapping[int, PoolCandidate], *, dry_run: bool
) -> str | None:
    """Why it can't stand in the pool; None where it can."""
    named = f"its content {entry.old_content_id}"
    if content_id is None:
        return f"{named} is not there"
    if dry_run:
        return None
    here = standing.get(content_id)
    if here is None:
        return f"{named} was imported, and is gone"
    if here.in_pool:
        return f"{named} is in the pool already"
    return None if here.approved else f"{named} is not approved here: approving it puts it into the pool"


def _row(entry: ImportedEntry, content_id: int, account_id: int) -> ImportedEntryRow:
    return ImportedEntryRow(
        content_id, account_id, entry.priority, entry.schedule_time, entry.status.value, entry.error
    )
