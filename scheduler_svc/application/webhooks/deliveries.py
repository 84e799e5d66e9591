"""Deliveries: a replica's next tries, and what follows from an answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.application.records import DeliveryOutcome
from scheduler_svc.application.webhooks.webhooks import get_webhook
from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import InvalidState, NotFound
from scheduler_svc.domain.webhook import MAX_PENDING, Delivery, DeliveryAttempt, DeliveryStatus, Response, retry_delay

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

CLAIM_LEASE = timedelta(seconds=30)
"""How long a try is its replica's: longer than an answer may take, so that it is stored before."""


class Tried(NamedTuple):
    """A try with its answer."""

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


def mark_backlogs(tx: Tx, limit: int = MAX_PENDING) -> list[tuple[int, bool]]:
    """Stops the events of webhooks for which `limit` deliveries wait, until fewer do; returns those that changed."""
    return tx.deliveries.mark_backlogs(limit)


def record(tx: Tx, tried: Sequence[Tried], *, final: bool = False) -> None:
    """Records how tries went; `final`: none of them is repeated. Those that are not this replica's any more stay."""
    if tried:
        outcomes = [_outcome(it, final=final) for it in sorted(tried, key=lambda it: it.attempt.delivery_id)]
        tx.deliveries.record(outcomes)
        if any(it.response.gone for it in tried):
            tx.signals.webhooks = True


def _outcome(tried: Tried, *, final: bool) -> DeliveryOutcome:
    attempt, response = tried
    return DeliveryOutcome(
        attempt.delivery_id,
        attempt.webhook_id,
        attempt.claim_expire_time,
        response.delivered,
        final or response.gone,
        response.gone,
        response.status_code,
        response.error,
        retry_delay(attempt.attempt_count, random.random()),  # noqa: S311 - no secret
    )


def claim_ping(tx: Tx, scope: Scope, webhook_id: int) -> DeliveryAttempt:
    """Stores a ping, as a try of this replica. Raises NotFound."""
    get_webhook(tx, scope, webhook_id)
    return tx.deliveries.claim_ping(webhook_id, CLAIM_LEASE)


def record_ping(tx: Tx, tried: Tried) -> Delivery:
    """Returns the ping after its only try."""
    record(tx, [tried], final=True)
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
    if not webhook.active:
        message = f"webhook {webhook.webhook_id} is inactive; set `active` by UpdateWebhook to deliver again"
        raise InvalidState(message, "inactive", ["active"])
    tx.deliveries.redeliver(delivery_id)
    tx.signals.deliveries = True
    return _get_delivery(tx, delivery_id)


def _get_delivery(tx: Tx, delivery_id: int) -> Delivery:
    delivery = tx.deliveries.get(delivery_id)
    if delivery is None:
        raise NotFound("delivery", delivery_id)
    return delivery
