"""The events of a transaction's moves, stored in that transaction for the webhooks that want them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.application.records import WebhookEvent
from scheduler_svc.domain.content import Content, PoolEntry, PublishStatus, ReviewStatus
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import ENDED, Status
from scheduler_svc.domain.webhook import EventType

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

_OF_REVIEW: Mapping[ReviewStatus, EventType] = {
    ReviewStatus.PENDING_REVIEW: EventType.CONTENT_PENDING_REVIEW,
    ReviewStatus.APPROVED: EventType.CONTENT_APPROVED,
    ReviewStatus.REJECTED: EventType.CONTENT_REJECTED,
}
_OF_PUBLICATION: Mapping[PublishStatus, EventType] = {
    PublishStatus.PUBLISHED: EventType.PUBLISH_PUBLISHED,
    PublishStatus.FAILED: EventType.PUBLISH_FAILED,
}


class LastMove(NamedTuple):
    """Where a transaction leaves a task, and by which reason."""

    account_id: int
    status: Status
    reason: str


def store_ended_tasks(tx: Tx, last_moves: Mapping[int, LastMove]) -> None:
    """Stores the events of tasks, by their keys, that this transaction leaves ended, and not pending for a retry."""
    _store(tx, (_of_task(key, last) for key, last in last_moves.items() if last.status in ENDED))


def store_review(tx: Tx, content: Content) -> None:
    """Stores the event of a content's present review status."""
    _store(tx, [of_content(content.content_id, content.account_id, content.task_key, content.review_status)])


def store_new_contents(tx: Tx, contents: Iterable[tuple[int, int, int, ReviewStatus]]) -> None:
    """Stores the events of new contents: content id, account id, task key, review status of each."""
    _store(tx, (of_content(*content) for content in contents))


def store_publication(tx: Tx, entry: PoolEntry) -> None:
    """Stores the event of an entry that is published or has failed; nothing of another one."""
    event_type = _OF_PUBLICATION.get(entry.status)
    if event_type is None or not tx.webhook_interest.wants(event_type, entry.account_id):
        return
    task_key = tx.deliveries.task_of(entry.content_id)
    _store(tx, [_about_content(event_type, entry.content_id, entry.account_id, task_key, entry.status.label)])


def of_content(content_id: int, account_id: int, task_key: int, status: ReviewStatus) -> WebhookEvent:
    return _about_content(_OF_REVIEW[status], content_id, account_id, task_key, status.label)


def _about_content(event_type: EventType, content_id: int, account_id: int, task_key: int, status: str) -> WebhookEvent:
    data = {
        "content_id": content_id,
        "task_id": format_task_id(task_key),
        "account_id": account_id,
        "status": status,
    }
    return WebhookEvent(event_type, account_id, task_key, json.dumps(data))


def _of_task(task_key: int, last: LastMove) -> WebhookEvent:
    data = {
        "task_id": format_task_id(task_key),
        "account_id": last.account_id,
        "status": last.status.label,
        "reason": last.reason,
    }
    return WebhookEvent(EventType.TASK_ENDED, last.account_id, task_key, json.dumps(data))


def _store(tx: Tx, events: Iterable[WebhookEvent]) -> None:
    wanted = [event for event in events if tx.webhook_interest.wants(event.event_type, event.account_id)]
    if wanted:
        tx.deliveries.store(wanted)
        tx.signals.deliveries = True
