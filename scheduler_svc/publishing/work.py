"""The publish pool: claims and their reports, what an editor changes, what readers see, and a content's deletion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from scheduler_svc.domain.account import ALL, Scope
from scheduler_svc.domain.content import PoolEntry, PublishStatus
from scheduler_svc.domain.errors import InvalidState, NotFound, existing
from scheduler_svc.domain.publishing import EntryChange, PublishAttempt, PublishPolicy, PublishReport
from scheduler_svc.webhooks.work import store_publication

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


CHANGEABLE = (PublishStatus.PENDING, PublishStatus.FAILED)
"""States of an entry that no publisher has, or has published: it may change, and its content may leave the pool."""


def delete_content(tx: Tx, content_id: int, *, force: bool) -> int:
    """Deletes a content and its pool entry; returns its account. Raises NotFound.

    Without `force`, raises InvalidState if a publisher has claimed it, or it is published.
    """
    entries = tx.contents.lock([content_id])
    if content_id not in entries:
        raise NotFound("content", content_id)
    if not force:
        require_changeable(content_id, entries[content_id], "deleted without force")
    account_id = tx.contents.accounts_of([content_id])[content_id]
    tx.contents.delete([content_id])
    return account_id


def require_changeable(content_id: int, entry: PoolEntry | None, to_be: str) -> None:
    """Raises InvalidState if a publisher has claimed the content, or it is published."""
    if entry is not None and entry.status not in CHANGEABLE:
        raise InvalidState.of(f"content {content_id}", to_be, entry.status, CHANGEABLE)


def claim(tx: Tx, scope: Scope, limit: int, lease: timedelta, publisher: str) -> list[PoolEntry]:
    """Claims due entries for this publisher, those that are to be tried again too."""
    tx.publish_pool.resume(scope, limit)
    return tx.publish_pool.claim(scope, limit, lease, publisher)


def renew(tx: Tx, content_id: int, claim_id: str, lease: timedelta) -> PoolEntry:
    """Extends a claim. Raises NotFound, and InvalidState if it has expired, is not the latest, or has ended."""
    return tx.publish_pool.renew(content_id, claim_id, lease) or _refuse_claim(tx, content_id, claim_id)


def report(tx: Tx, content_id: int, claim_id: str, outcome: PublishReport, policy: PublishPolicy) -> PoolEntry:
    """Ends a claim, which counts as an attempt; after a failure the entry may be tried again later.

    Raises NotFound, and InvalidState if the claim has expired, is not the latest, or has ended.
    """
    entry = tx.publish_pool.lock_claimed(content_id, claim_id) or _refuse_claim(tx, content_id, claim_id)
    wait = None if outcome.published else policy.wait_after(entry.attempt_count + 1)
    ended_entry = tx.publish_pool.end_claim(content_id, outcome, wait)
    store_publication(tx, ended_entry)
    return ended_entry


def _refuse_claim(tx: Tx, content_id: int, claim_id: str) -> PoolEntry:
    entry = get_entry(tx, content_id)
    holder = " by another claim" if entry.status is PublishStatus.PUBLISHING else ""
    message = f"claim {claim_id!r} does not hold content {content_id}: in the pool it is {entry.status.label}{holder}"
    raise InvalidState(message, entry.status.label, [PublishStatus.PUBLISHING.label])


def retry(tx: Tx, content_id: int) -> PoolEntry:
    """Makes a failed entry pending, with all its attempts; of one that waits for its next attempt it ends the wait.

    Raises NotFound, and InvalidState if it has not failed.
    """
    return tx.publish_pool.retry(content_id) or _refuse(tx, content_id, "retried", (PublishStatus.FAILED,))


def update(tx: Tx, content_id: int, change: EntryChange) -> tuple[PoolEntry, PoolEntry]:
    """Returns an entry before and after the change. Raises NotFound, and InvalidState if it is claimed or published."""
    before = get_entry(tx, content_id)
    return before, tx.publish_pool.update(content_id, change) or _refuse(tx, content_id, "updated", CHANGEABLE)


def remove(tx: Tx, content_id: int) -> None:
    """Removes an entry; its content stays. Raises NotFound, and InvalidState if it is claimed."""
    if not tx.publish_pool.remove(content_id):
        _refuse(tx, content_id, "removed", (PublishStatus.PENDING, PublishStatus.PUBLISHED, PublishStatus.FAILED))


def _refuse(tx: Tx, content_id: int, to_be: str, required: tuple[PublishStatus, ...]) -> PoolEntry:
    status = get_entry(tx, content_id).status
    raise InvalidState.of(f"in the publish pool content {content_id}", to_be, status, required)


def get_entry(tx: Tx, content_id: int) -> PoolEntry:
    return existing(tx.publish_pool.get(content_id), "content", content_id)


def require_own_contents(tx: Tx, scope: Scope, content_ids: Sequence[int]) -> None:
    """Raises NotFound for the first content that is another account's, or does not exist; accounts never change."""
    accounts = tx.contents.accounts_of(content_ids)
    for content_id in content_ids:
        if content_id not in accounts or accounts[content_id] not in scope:
            raise NotFound("content", content_id)


def list_publish_attempts(tx: Tx, content_id: int, after: int, limit: int) -> list[PublishAttempt]:
    """Returns a content's attempts with numbers above `after`, oldest first. Raises NotFound."""
    attempts = tx.publish_pool.attempts(content_id, after, limit)
    if not attempts:
        require_own_contents(tx, ALL, [content_id])
    return attempts
