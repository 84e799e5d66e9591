"""The erasure of an account, a bounded number of rows in each transaction; its export and import, each in one.

What tells of tasks and contents goes before what they are found by: marks of imports, tasks, contents, assets, then the
rows of all other tables until none has any, and the account last. No row comes back: submits are refused from the first
transaction on, attempts are cancelled, and tasks stay until their leases are gone, so that no report finds a task whose
rows it could write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.accounts.work import update_account
from scheduler_svc.assets.objects import claim_store
from scheduler_svc.assets.work import StoredFile
from scheduler_svc.dispatch.routing import forget_selectors, queues_of_ended
from scheduler_svc.dispatch.work import pause_dispatch
from scheduler_svc.domain.account import ALL_ACCOUNTS, Account, AccountChange
from scheduler_svc.domain.content import Media
from scheduler_svc.domain.dispatch import priority_of
from scheduler_svc.domain.errors import AssetStoreUnavailable, InvalidState, NotFound, ResourceExists
from scheduler_svc.history.work import Ledger, ReadyRow
from scheduler_svc.holdings.archive import Archive
from scheduler_svc.holdings.tables import ASSETS, IMPORTED, OWN, Table, countable, movable, tables
from scheduler_svc.tasks import bulk

if TYPE_CHECKING:
    from scheduler_svc.holdings.sql import Writes
    from scheduler_svc.transactions import Tx

MAX_BATCH = 500
"""Rows that one transaction deletes."""


def left(tx: Tx, account_id: int) -> dict[str, int]:
    """Returns how many rows of each kind are left. Calls that named an account after its erasure are none."""
    counts = tx.holdings.count(account_id)
    return {} if counts.keys() <= {"audit_events"} else counts


def count(tx: Tx, account_id: int) -> dict[str, int]:
    """Returns how many rows of each kind an account has. Raises NotFound if nothing is left of it."""
    counts = left(tx, account_id)
    if not counts:
        raise NotFound("account", account_id)
    return counts


def begin(tx: Tx, account_id: int) -> bool:
    """Refuses the account's submits and ends its webhooks; returns whether submits may be under way. Raises NotFound.

    An account that is gone may have left rows: of a transaction that had begun before.
    """
    counts = count(tx, account_id)
    tx.holdings.end_webhooks(account_id)
    tx.signals.webhooks = True
    if "accounts" not in counts or not tx.accounts.require(account_id).active:
        return False
    update_account(tx, account_id, AccountChange(active=False))
    return True


def forget_imports(tx: Tx, account_id: int) -> int:
    """Deletes what is remembered of where the account came from."""
    imported = [table for table in tables() if table.by == IMPORTED]
    return tx.holdings.delete(imported, account_id, MAX_BATCH)


def delete_tasks(tx: Tx, account_id: int) -> int:
    """Deletes ended tasks with all that is theirs; returns how many."""
    keys = tx.holdings.lock_tasks(account_id, MAX_BATCH)
    bulk.delete(tx, keys)
    return len(keys)


def delete_contents(tx: Tx, account_id: int) -> int:
    """Deletes contents with all that is theirs; returns how many."""
    content_ids = tx.holdings.lock_contents(account_id, MAX_BATCH)
    tx.contents.delete(content_ids)
    return len(content_ids)


def retire_assets(tx: Tx, account_id: int) -> int:
    return tx.holdings.retire_assets(account_id, MAX_BATCH)


def disown(tx: Tx, account_id: int) -> None:
    """Keeps what others need of the account's, without its id."""
    tx.holdings.keep_mark(account_id)
    forget_selectors(tx)
    tx.holdings.disown_selectors(account_id)


def delete_rest(tx: Tx, account_id: int) -> int:
    """Deletes rows of the other tables; returns how many. What webhooks name goes before them, the account last."""
    rest = sorted(countable(), key=lambda table: (table.name == "accounts", table.by == OWN, table.name))
    return tx.holdings.delete(rest, account_id, MAX_BATCH)


def export(tx: Tx, account_id: int, file_of: Callable[[Table], Writes]) -> None:
    """Writes the account's rows, as of one moment. Raises NotFound, and InvalidState while attempts are running."""
    tx.holdings.hold_snapshot()
    tx.accounts.require(account_id)
    if running := tx.holdings.running(account_id):
        text = (
            f"account {account_id} has {running:,} running attempts: pause its dispatch, and wait until they have ended"
        )
        raise InvalidState(text, "running", ["paused"])
    for table in movable():
        tx.holdings.copy(table, account_id, file_of(table))


class StoredAsset(NamedTuple):
    """A file of an archive, whose object is there."""

    file: StoredFile
    media: Media


MAX_BYTES = 2**20
"""Characters of rows that one statement stores, or one row more."""
_QUEUES = ("ready", "delayed")


def receive(tx: Tx, archive: Archive, assets: Iterable[StoredAsset], store_id: str) -> tuple[Account, dict[str, int]]:
    """Stores an account with all rows of the archive; returns it, and how many rows of each table.

    Raises ResourceExists, and InvalidArgument for rows that are not the account's.
    """
    account_id, counts = archive.account_id, {}
    for asset in assets:
        complete_asset(tx, asset, store_id)
    for table in movable():
        if table.name not in archive.columns or table.name in (*_QUEUES, "pauses"):
            continue
        counts[table.name] = _store_rows(tx, archive, table)
        if table.name == "accounts":
            _settle_account(tx, account_id, paused=_is_paused(archive))
    for status, n in tx.holdings.task_counts(account_id).items():
        tx.counts.add({(account_id, status): n, (ALL_ACCOUNTS, status): n})
    counts |= {name: _enqueue(tx, archive, name) for name in _QUEUES if name in archive.columns}
    tx.holdings.count_bytes(account_id)
    tx.search.index_rest(account_id)  # what had not been when it was exported: here its turn may be over
    if not tx.holdings.skip_ids(account_id):
        text = (
            f"account {account_id} was made by another deployment of the same CONTENTGEN_CELL, {archive.cell}, and the"
        )
        raise InvalidState(f"{text} role of DATABASE_URL may not skip its ids", "same_cell", ["other_cell"])
    return tx.accounts.require(account_id), {name: n for name, n in counts.items() if n}


def complete_asset(tx: Tx, asset: StoredAsset, store_id: str) -> None:
    """Completes a file whose object is there. Raises AssetStoreUnavailable if it was deleted meanwhile."""
    if not tx.assets.lock(asset.file.sha256):
        raise AssetStoreUnavailable(f"asset {asset.file.sha256} was deleted while it was stored")
    tx.assets.complete(asset.file.sha256, asset.file.size, asset.media)
    claim_store(tx, store_id)


def _settle_account(tx: Tx, account_id: int, *, paused: bool) -> None:
    """Lets the limits of a new account hold before it has tasks."""
    account = tx.accounts.require(account_id)
    if account.max_starts_per_minute:
        tx.start_quotas.add(account_id)
    tx.signals.limits = account.max_concurrent_tasks > 0
    if paused:
        pause_dispatch(tx, account_id)


def _store_rows(tx: Tx, archive: Archive, table: Table) -> int:
    if table.name == ASSETS:
        return len(archive.assets())
    columns, stored = archive.columns[table.name], 0
    for lines in _batches(archive.lines(table.name)):
        count = tx.holdings.store(table, columns, archive.account_id, lines)
        if count < len(lines):
            raise ResourceExists(table.name, archive.account_id)
        stored += count
    return stored


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if len(batch) == MAX_BATCH or size >= MAX_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_paused(archive: Archive) -> bool:
    """Returns whether somebody had paused it; a stop for its budget is decided anew."""
    rows = map(json.loads, archive.lines("pauses") if "pauses" in archive.columns else ())
    return any(row.get("by_operator", True) for row in rows)


def _enqueue(tx: Tx, archive: Archive, name: str) -> int:
    """Lets tasks wait as they waited; a lease of theirs may bar none here."""
    count = 0
    for lines in _batches(archive.lines(name)):
        ledger = Ledger(tx, rolls_up=False)
        rows = [json.loads(line) for line in lines]
        queues = queues_of_ended(tx, {row["task_key"]: (row[OWN], priority_of(row["priority"])) for row in rows})
        for row in rows:
            key = row["task_key"]
            place = ReadyRow(key, queues[key], None, row[OWN], row["attempt"], row["timeout_ms"])
            until = datetime.fromisoformat(row["due_time"]) if "due_time" in row else None
            expires = row.get("expire_time")
            ledger.enqueue(
                place,
                until=until,
                cause=row.get("cause", 0),
                expire_time=datetime.fromisoformat(expires) if expires else None,
            )
        ledger.write()
        count += len(lines)
    return count
