"""Webhooks: which events they want, what a transaction stores for them, and how deliveries are tried.

Events are stored in the transaction of the move that they tell of, for the webhooks that want them. While it is known
that none does (`WebhookInterest`), events cost nothing.
"""

from __future__ import annotations

import base64
import json
import random
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.domain.account import Budget, Scope
from scheduler_svc.domain.content import Content, PoolEntry, PublishStatus, ReviewStatus
from scheduler_svc.domain.errors import InvalidState, NotFound, TooManyWebhooks, existing
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lifecycle import ENDED, RETRYABLE, Status
from scheduler_svc.domain.webhook import (
    MAX_WEBHOOKS,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    EventType,
    Response,
    Webhook,
    WebhookChange,
    retry_delay,
)

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class WebhookEvent(NamedTuple):
    """What happened to a task or its content; `data` is JSON. The deliveries of one task are kept in order."""

    event_type: EventType
    account_id: int
    task_key: int
    data: str


class DeliveryOutcome(NamedTuple):
    """How a try went that was claimed until `claim_expire_time`.

    `gone`: it is not tried again, and the webhook is deactivated. `delay`: seconds until the next try.
    """

    delivery_id: int
    webhook_id: int
    claim_expire_time: datetime
    delivered: bool
    gone: bool
    status_code: int
    error: str
    delay: float


class WebhookInterest:
    """Each replica has one; all of its threads read it. It may be a moment old: the statement that stores decides.

    So for up to 10 s after CreateWebhook, if the signal is lost, what other replicas commit is not told.
    """

    def __init__(self, wanted: Iterable[tuple[str, int]] | None = None) -> None:
        """`wanted` as in `replace`; None: it is not known yet, so everything may be wanted."""
        self._wanted = None if wanted is None else frozenset(wanted)
        self.of_channels = wanted is None
        """Whether a channel may want anything."""

    def __bool__(self) -> bool:
        return self._wanted is None or bool(self._wanted)

    def wants(self, event_type: EventType, account_id: int) -> bool:
        """Returns whether a webhook of this account, or of all accounts, may want such events."""
        wanted = self._wanted
        if not wanted:
            return wanted is None
        return (event_type, account_id) in wanted or (event_type, 0) in wanted

    def replace(self, wanted: Sequence[tuple[str, int, bool]]) -> None:
        """Takes what is wanted now: event types, each with an account (0: all), and whether by a channel."""
        self._wanted = frozenset((event_type, account_id) for event_type, account_id, _ in wanted)
        self.of_channels = any(by_channel for _, _, by_channel in wanted)


SECRET_BYTES = 32


class WithSecret(NamedTuple):
    """A webhook with its new secret, which goes to the caller and nowhere else."""

    webhook: Webhook
    secret: str

    def __repr__(self) -> str:
        return f"WithSecret({self.webhook!r})"


def create_webhook(tx: Tx, account_id: int, url: str, event_types: tuple[str, ...]) -> WithSecret:
    """Creates a webhook. Raises NotFound for an account that does not exist, and TooManyWebhooks."""
    if account_id:
        tx.accounts.require(account_id)
    if tx.webhooks.lock_count(account_id) >= MAX_WEBHOOKS:
        raise TooManyWebhooks(account_id, MAX_WEBHOOKS)
    secret = _new_secret()
    tx.signals.webhooks = True
    return WithSecret(tx.webhooks.insert(account_id, url, event_types, secret), secret)


def get_webhook(tx: Tx, scope: Scope, webhook_id: int) -> Webhook:
    """Returns a webhook. Raises NotFound, also for one of another account, or of all, that `scope` does not hold."""
    webhook = tx.webhooks.get(webhook_id)
    if webhook is None or webhook.account_id not in scope:
        raise NotFound("webhook", webhook_id)
    return webhook


def update_webhook(tx: Tx, scope: Scope, webhook_id: int, change: WebhookChange) -> tuple[Webhook, Webhook]:
    """Returns the webhook before and after the change. Raises NotFound."""
    before = get_webhook(tx, scope, webhook_id)
    tx.signals.webhooks = True
    return before, existing(tx.webhooks.update(webhook_id, change), "webhook", webhook_id)


def delete_webhook(tx: Tx, scope: Scope, webhook_id: int) -> None:
    """Deletes a webhook; the retention deletes its deliveries. Raises NotFound."""
    get_webhook(tx, scope, webhook_id)
    tx.signals.webhooks = True
    if not tx.webhooks.delete(webhook_id):
        raise NotFound("webhook", webhook_id)


def rotate_secret(tx: Tx, scope: Scope, webhook_id: int, overlap: timedelta) -> WithSecret:
    """Makes a new secret; the present one stays valid for `overlap`. Raises NotFound."""
    get_webhook(tx, scope, webhook_id)
    secret = _new_secret()
    webhook = tx.webhooks.rotate(webhook_id, secret, overlap)
    return WithSecret(existing(webhook, "webhook", webhook_id), secret)


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


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
    _store(tx, _of_ended_tasks(last_moves, failed_too=tx.webhook_interest.of_channels))


def _of_ended_tasks(last_moves: Mapping[int, LastMove], *, failed_too: bool) -> Iterator[WebhookEvent]:
    for key, last in last_moves.items():
        if last.status in ENDED:
            yield _of_task(EventType.TASK_ENDED, key, last)
            if failed_too and last.status in RETRYABLE:
                yield _of_task(EventType.TASK_FAILED, key, last)


def store_review(tx: Tx, content: Content) -> None:
    store_new_contents(tx, [(content.content_id, content.account_id, content.task_key, content.review_status)])


def store_new_contents(tx: Tx, contents: Iterable[tuple[int, int, int, ReviewStatus]]) -> None:
    """Stores the events of new contents: content id, account id, task key, review status of each."""
    events = (
        _about_content(_OF_REVIEW[status], content_id, account_id, task_key, status.label)
        for content_id, account_id, task_key, status in contents
    )
    _store(tx, events)


def store_publication(tx: Tx, entry: PoolEntry) -> None:
    """Stores the event of an entry that is published or has failed; nothing of another one."""
    event_type = _OF_PUBLICATION.get(entry.status)
    if event_type is None or not tx.webhook_interest.wants(event_type, entry.account_id):
        return
    task_key = tx.deliveries.task_of(entry.content_id)
    _store(tx, [_about_content(event_type, entry.content_id, entry.account_id, task_key, entry.status.label)])


def store_budget(tx: Tx, budget: Budget) -> None:
    """Stores the event of a budget that is used up."""
    data = {
        "account_id": budget.account_id,
        "month": f"{budget.month:%Y-%m}",
        "cost": budget.cost,
        "max_cost_per_month": budget.limit,
        "currency": budget.currency,
    }
    _store(tx, [WebhookEvent(EventType.BUDGET_USED_UP, budget.account_id, 0, json.dumps(data))])


def _about_content(event_type: EventType, content_id: int, account_id: int, task_key: int, status: str) -> WebhookEvent:
    data = {"content_id": content_id, "task_id": format_task_id(task_key), "account_id": account_id, "status": status}
    return WebhookEvent(event_type, account_id, task_key, json.dumps(data))


def _of_task(event_type: EventType, task_key: int, last: LastMove) -> WebhookEvent:
    data = {
        "task_id": format_task_id(task_key),
        "account_id": last.account_id,
        "status": last.status.label,
        "reason": last.reason,
    }
    return WebhookEvent(event_type, last.account_id, task_key, json.dumps(data))


def _store(tx: Tx, events: Iterable[WebhookEvent]) -> None:
    wanted_events = [event for event in events if tx.webhook_interest.wants(event.event_type, event.account_id)]
    if wanted_events:
        tx.deliveries.store(wanted_events)
        tx.signals.deliveries = True


CLAIM_LEASE = timedelta(seconds=30)
"""How long a try is its replica's: longer than an answer may take, so that it is stored before."""


class Tried(NamedTuple):
    attempt: DeliveryAttempt
    response: Response


class DeliveryRound(NamedTuple):
    """The tries to begin; whether more may be due at once; else the seconds until more are due (None: unknown)."""

    attempts: list[DeliveryAttempt]
    more: bool
    next_due: float | None = None


def next_round(tx: Tx, tried: Sequence[Tried], free: Mapping[int, int], limit: int) -> DeliveryRound:
    """Records how tries went, then claims up to `limit` further ones.

    `free`: how many of each webhook may begin, where that is not as usual.
    """
    record(tx, tried)
    if not limit:
        return DeliveryRound([], more=False)
    attempts, put_off = tx.deliveries.claim(free, limit, CLAIM_LEASE)
    if attempts or put_off:
        return DeliveryRound(attempts, more=True)
    return DeliveryRound([], more=False, next_due=tx.deliveries.next_due([key for key, n in free.items() if not n]))


def record(tx: Tx, tried: Sequence[Tried]) -> None:
    """Records how tries went. Those that are not this replica's any more stay."""
    if tried:
        tx.deliveries.record(sorted(map(_outcome, tried)))
        if any(result.response.gone for result in tried):
            tx.signals.webhooks = True


def _outcome(tried: Tried) -> DeliveryOutcome:
    attempt, response = tried
    return DeliveryOutcome(
        attempt.delivery_id,
        attempt.webhook_id,
        attempt.claim_expire_time,
        response.delivered,
        response.gone,
        response.status_code,
        response.error,
        retry_delay(attempt.attempt_count, random.random()),  # noqa: S311 - no secret
    )


def claim_ping(tx: Tx, scope: Scope, webhook_id: int) -> DeliveryAttempt:
    """Stores a ping, as a try of this replica. Raises NotFound."""
    get_webhook(tx, scope, webhook_id)
    return tx.deliveries.claim_ping(webhook_id, EventType.PING, {"webhook_id": webhook_id}, CLAIM_LEASE)


def record_ping(tx: Tx, tried: Tried) -> Delivery:
    record(tx, [tried])
    return _get_delivery(tx, tried.attempt.delivery_id)


def list_deliveries(
    tx: Tx, scope: Scope, webhook_id: int, status: DeliveryStatus | None, *, before: int | None, limit: int
) -> list[Delivery]:
    """Returns deliveries with ids below `before`, newest first; `status` None: all. Raises NotFound."""
    get_webhook(tx, scope, webhook_id)
    return tx.deliveries.list(webhook_id, status, before, limit)


def redeliver(tx: Tx, scope: Scope, delivery_id: int) -> Delivery:
    """Returns a delivery that is sent anew. Raises NotFound, and InvalidState if its webhook is not active."""
    delivery = _get_delivery(tx, delivery_id)
    try:
        webhook = get_webhook(tx, scope, delivery.webhook_id)
    except NotFound:
        raise NotFound("delivery", delivery_id) from None
    _check_active(webhook)
    tx.deliveries.redeliver(delivery_id)
    tx.signals.deliveries = True
    return _get_delivery(tx, delivery_id)


def redeliver_batch(
    tx: Tx, scope: Scope, webhook_id: int, status: DeliveryStatus, *, after: int, limit: int
) -> list[int]:
    """Sends up to `limit` deliveries of a webhook anew, those with the lowest ids above `after`; returns their ids.

    Raises NotFound, and InvalidState if the webhook is not active.
    """
    _check_active(get_webhook(tx, scope, webhook_id))
    tx.signals.deliveries = True
    return tx.deliveries.redeliver_batch(webhook_id, status, after, limit)


def _check_active(webhook: Webhook) -> None:
    if not webhook.active:
        message = f"webhook {webhook.webhook_id} is inactive; set `active` by UpdateWebhook to deliver again"
        raise InvalidState(message, "inactive", ["active"])


def _get_delivery(tx: Tx, delivery_id: int) -> Delivery:
    return existing(tx.deliveries.get(delivery_id), "delivery", delivery_id)
