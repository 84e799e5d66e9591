"""CreateWebhook, UpdateWebhook and their neighbours."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import NotFound, TooManyWebhooks
from scheduler_svc.domain.webhook import MAX_WEBHOOKS, Webhook, WebhookChange

if TYPE_CHECKING:
    from scheduler_svc.store.engine.transactions import Tx

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
    """Raises NotFound, also for a webhook of another account or of all accounts that `scope` does not hold."""
    webhook = tx.webhooks.get(webhook_id)
    if webhook is None or webhook.account_id not in scope:
        raise NotFound("webhook", webhook_id)
    return webhook


def read_interest(tx: Tx) -> list[tuple[str, int]]:
    """Returns the event types that active webhooks want, each with an account (0: all)."""
    return tx.webhooks.wanted()


def list_webhooks(tx: Tx, scope: Scope, after: int, limit: int) -> list[Webhook]:
    return tx.webhooks.list(scope, after, limit)


def update_webhook(tx: Tx, scope: Scope, webhook_id: int, change: WebhookChange) -> Webhook:
    """Returns the webhook after the change. Raises NotFound."""
    get_webhook(tx, scope, webhook_id)
    tx.signals.webhooks = True
    changed = tx.webhooks.update(webhook_id, change)
    if changed is None:
        raise NotFound("webhook", webhook_id)
    return changed


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
    if webhook is None:
        raise NotFound("webhook", webhook_id)
    return WithSecret(webhook, secret)


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
