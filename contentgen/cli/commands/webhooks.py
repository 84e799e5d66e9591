"""`contentgen webhook create|list|show|update|delete|rotate|ping|deliveries|redeliver`. Layer: commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, get_args

import typer
from google.protobuf.message import Message

from contentgen.cli import completion, lists, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.failures import Status
from contentgen.cli.lists import each, write_list
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, Yes, account_option
from contentgen.cli.output import document
from contentgen.cli.values import argument, option
from contentgen.client.results import DeliveryStatus, EventType

Event = StrEnum("Event", {name: name for name in get_args(EventType) if name != "webhook.ping"})  # type: ignore[misc]
"""What a webhook may be created for."""
WebhookId = Annotated[int, argument("WEBHOOK_ID", "The webhook.", min=1, autocompletion=completion.webhook_ids)]
WebhookIds = Annotated[
    list[int], argument("WEBHOOK_ID", "One or more webhooks.", min=1, autocompletion=completion.webhook_ids)
]
SomeDeliveryIds = Annotated[list[int] | None, argument("DELIVERY_ID", "As `webhook deliveries` lists them.", min=1)]
OfWebhook = Annotated[
    int | None,
    option("Those of this webhook.", min=1, metavar="WEBHOOK_ID", autocompletion=completion.webhook_ids),
]
Url = Annotated[str, argument("URL", "https, or http to a network that the schedulers allow.")]
NewUrl = Annotated[str | None, option("Where it receives its events.", metavar="URL")]
Events = Annotated[list[Event] | None, option("What it receives; may be given several times.", "--event", "-e")]
WhoseEvents = Annotated[
    int | None,
    account_option("Whose events; 0: those of all accounts. Default: CONTENTGEN_ACCOUNT, or of all.", minimum=0),
]
Active = Annotated[bool | None, option("Whether events are stored and sent.", "--active/--inactive")]
Overlap = Annotated[
    float | None,
    option(
        "How long the present secret stays valid, up to 7d. Default: 1d.", parser=values.seconds, metavar="DURATION"
    ),
]
OnlyState = Annotated[DeliveryStatus | None, option("Only in this state.", "--status")]
MAX_REDELIVERED = 1_000_000
"""As many as may wait for a webhook."""
_KEEP_IT = "keep the secret: it is not shown again"


command = Commands()


@command(
    "create",
    "contentgen webhook create https://news.example/hook",
    "contentgen webhook create https://news.example/hook -e task.ended -e publish.failed --account 1",
)
def create(session: Session, url: Url, event: Events = None, account: WhoseEvents = None) -> None:
    """Notify an address of what happens to tasks and contents; without --event of everything.

    Prints the secret that its deliveries are signed with, once.
    """
    event_types: list[Any] = event or list(Event)
    answer = session.client.create_webhook(url, event_types, account_id=session.accounts(account))
    _show_secret(session, answer.webhook, answer.secret)


@command("list", "contentgen webhook list", "contentgen -o jsonl webhook list | jq 'select(.last_error != null)'")
def list_(
    session: Session, account: OnlyAccount = None, limit: Limit = None, all_: All = False, page_token: PageToken = ""
) -> None:
    """List webhooks by their id, inactive ones too."""
    webhooks = session.client.iter_webhooks(session.accounts(account))
    write_list(session, webhooks, tables.WEBHOOKS, "webhooks", limit, all_, page_token, below=tables.last_error)


@command("show", "contentgen webhook show 3")
def show(session: Session, webhook_id: WebhookId) -> None:
    """Show a webhook, without its secret."""
    session.output.one(document(session.client.get_webhook(webhook_id)), tables.webhook)


@command(
    "update",
    "contentgen webhook update 3 --active",
    "contentgen webhook update 3 --url https://news.example/new -e content.approved",
)
def update(
    session: Session, webhook_id: WebhookId, url: NewUrl = None, event: Events = None, active: Active = None
) -> None:
    """Change a webhook: only what is given. The events that are given replace the present ones.

    A webhook becomes inactive by itself if its receiver answers 410.
    """
    if url is None and not event and active is None:
        raise typer.BadParameter("give what to change: --url, --event, --active or --inactive")
    event_types: list[Any] | None = event or None
    webhook = session.client.update_webhook(webhook_id, url=url, event_types=event_types, active=active)
    session.output.one(document(webhook), tables.webhook)


@command("delete", "contentgen webhook delete 3")
def delete(session: Session, webhook_ids: WebhookIds, yes: Yes = False) -> int:
    """Delete webhooks with their deliveries, also what was not delivered yet.

    On a terminal it prompts before that.
    """
    delete_webhook, line = session.client.delete_webhook, "webhook {webhook_id} is deleted"
    also = " and what was not delivered"
    return lists.delete(session, "webhook", webhook_ids, delete_webhook, line, yes=yes, also=also)


@command("rotate", "contentgen webhook rotate 3", "contentgen webhook rotate 3 --overlap 1h")
def rotate(session: Session, webhook_id: WebhookId, overlap: Overlap = None) -> None:
    """Make a new secret and print it, once. The one before stays valid for a while.

    Meanwhile deliveries are signed with both, so that the receiver can change over.
    """
    answer = session.client.rotate_webhook_secret(webhook_id, overlap=overlap)
    _show_secret(session, answer.webhook, answer.secret)


def _show_secret(session: Session, webhook: Message, secret: str) -> None:
    session.output.one({**document(webhook), "secret": secret}, tables.webhook)
    session.output.note(_KEEP_IT)


@command("ping", "contentgen webhook ping 3")
def ping(session: Session, webhook_id: WebhookId) -> int:
    """Send a webhook.ping now, and show how that went; exit status 1 if the receiver failed."""
    delivery = document(session.client.ping_webhook(webhook_id))
    session.output.one(delivery, tables.delivery)
    return Status.DONE if delivery["status"] == "delivered" else Status.FAILED


@command("deliveries", "contentgen webhook deliveries 3", "contentgen webhook deliveries 3 --status exhausted --all")
def deliveries(
    session: Session,
    webhook_id: WebhookId,
    status: OnlyState = None,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
) -> None:
    """List what a webhook received or is still to receive, the newest first."""
    pages = session.client.iter_deliveries(webhook_id, status)
    write_list(session, pages, tables.DELIVERIES, "deliveries", limit, all_, page_token, below=tables.last_error)


@command(
    "redeliver",
    "contentgen webhook redeliver 17 18",
    "contentgen webhook redeliver --webhook 3",
    "contentgen webhook redeliver --webhook 3 --status delivered --limit 100",
)
def redeliver(
    session: Session,
    delivery_ids: SomeDeliveryIds = None,
    webhook: OfWebhook = None,
    status: OnlyState = None,
    limit: Limit = None,
) -> int:
    """Send deliveries again, with the same webhook-id; of those that wait it takes the wait away.

    With --webhook: its deliveries in a state, by default those that were given up, the oldest first.
    """
    if bool(delivery_ids) == bool(webhook):
        raise typer.BadParameter("give either deliveries or --webhook")
    if webhook is None:
        if status or limit:
            raise typer.BadParameter("--status and --limit go with --webhook")
        ids = delivery_ids or []
        return each(session, ids, session.client.redeliver_webhook, "delivery {delivery_id} is {status}")
    count = session.client.redeliver_deliveries(webhook, status or "exhausted", limit=limit or MAX_REDELIVERED)
    session.output.text(f"sent again: {count:,}", {"redelivered_count": count})
    return Status.DONE
