"""`contentgen account create|list|show|update`. Layer: commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from contentgen.cli import tables
from contentgen.cli.command import Session, command
from contentgen.cli.commands.workers import pauses
from contentgen.cli.completion import account_ids
from contentgen.cli.lists import Listing
from contentgen.cli.options import All, Limit, PageToken
from contentgen.cli.output import Document, document

AccountId = Annotated[
    int,
    typer.Argument(metavar="ACCOUNT_ID", min=1, help="The account.", show_default=False, autocompletion=account_ids),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="For people; need not be unique.", show_default=False)]
NewName = Annotated[str | None, typer.Option("--name", help="For people.", show_default=False)]
AtOnce = Annotated[
    int | None,
    typer.Option(
        "--max-concurrent-tasks",
        min=0,
        metavar="N",
        help="Tasks that may run at once; 0: no limit.",
        show_default=False,
    ),
]
Pending = Annotated[
    int | None,
    typer.Option(
        "--max-pending-tasks",
        min=0,
        metavar="N",
        help="Tasks that may be pending, scheduled ones included; 0: no limit.",
        show_default=False,
    ),
]
Priority = Annotated[
    int | None,
    typer.Option(
        "--max-priority",
        min=0,
        max=10,
        metavar="P",
        help="Highest priority that submits may have, 1 to 10; 0: no limit.",
        show_default=False,
    ),
]
AMinute = Annotated[
    int | None,
    typer.Option(
        "--max-starts-per-minute",
        min=0,
        metavar="N",
        help="Attempts that may start within any minute; 0: no limit.",
        show_default=False,
    ),
]
AssetBytes = Annotated[
    int | None,
    typer.Option(
        "--max-asset-bytes",
        min=0,
        metavar="N",
        help="Bytes that may be stored of its files; 0: the schedulers' default.",
        show_default=False,
    ),
]
Weight = Annotated[
    float | None,
    typer.Option(
        "--weight", metavar="W", help="Share among the accounts that wait, above 0, at most 1000.", show_default=False
    ),
]
Active = Annotated[
    bool | None, typer.Option("--active/--inactive", help="Whether submits are taken.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of accounts to `app`."""
    command(
        app,
        "create",
        "contentgen account create newsroom",
        "contentgen account create newsroom --max-concurrent-tasks 4 --weight 2",
        "contentgen account create bulk --max-pending-tasks 10000 --max-priority 3 --max-starts-per-minute 60",
    )(create)
    command(app, "list", "contentgen account list", "contentgen -o jsonl account list | jq 'select(.active | not)'")(
        list_
    )
    command(app, "show", "contentgen account show 1")(show)
    command(
        app,
        "update",
        "contentgen account update 1 --max-concurrent-tasks 8",
        "contentgen account update 1 --max-starts-per-minute 0",
        "contentgen account update 1 --inactive",
        "contentgen account update 1 --active --weight 0.5 --name archive",
    )(update)


def create(
    session: Session,
    name: Name,
    max_concurrent_tasks: AtOnce = None,
    weight: Weight = None,
    max_pending_tasks: Pending = None,
    max_priority: Priority = None,
    max_starts_per_minute: AMinute = None,
    max_asset_bytes: AssetBytes = None,
) -> None:
    """Make an account, active at once."""
    account = session.client.create_account(
        name,
        max_concurrent_tasks or 0,
        1.0 if weight is None else weight,
        max_pending_tasks=max_pending_tasks or 0,
        max_priority=max_priority or 0,
        max_starts_per_minute=max_starts_per_minute or 0,
        max_asset_bytes=max_asset_bytes or 0,
    )
    _show(session, account)


def list_(session: Session, limit: Limit = None, all_: All = False, page_token: PageToken = "") -> None:
    """List accounts by their id, inactive ones too, and whether their dispatch is paused."""
    dispatch = pauses(session.connection)

    def row(account: Document) -> Document:
        return {**account, "paused": account["account_id"] in dispatch["paused_account_ids"]}

    listing = Listing(session, session.client.iter_accounts(), row, limit=limit, all_=all_, page_token=page_token)
    listing.write(tables.ACCOUNTS, "accounts")
    if session.output.tables and dispatch["all_paused"]:
        session.output.note(
            "dispatch of everything is paused: `contentgen dispatch resume --all` dispatches tasks again"
        )


def show(session: Session, account_id: AccountId) -> None:
    """Show an account."""
    _show(session, session.client.get_account(account_id))


def _show(session: Session, account: Message) -> None:
    fields = document(account)
    paused = fields["account_id"] in pauses(session.connection)["paused_account_ids"]
    session.output.one({**fields, "paused": paused}, tables.account)


def update(
    session: Session,
    account_id: AccountId,
    name: NewName = None,
    max_concurrent_tasks: AtOnce = None,
    weight: Weight = None,
    max_pending_tasks: Pending = None,
    max_priority: Priority = None,
    max_starts_per_minute: AMinute = None,
    max_asset_bytes: AssetBytes = None,
    active: Active = None,
) -> None:
    """Change an account: only what is given. It holds for what is submitted and dispatched from now on.

    An inactive account submits nothing more; what was submitted continues.
    """
    options: dict[str, Any] = {
        "name": name,
        "max_concurrent_tasks": max_concurrent_tasks,
        "weight": weight,
        "max_pending_tasks": max_pending_tasks,
        "max_priority": max_priority,
        "max_starts_per_minute": max_starts_per_minute,
        "max_asset_bytes": max_asset_bytes,
        "active": active,
    }
    changes = {field: value for field, value in options.items() if value is not None}
    if not changes:
        flags = ", ".join(f"--{field.replace('_', '-')}" for field in options if field != "active")
        raise typer.BadParameter(f"give what to change: {flags}, --active or --inactive")
    _show(session, session.client.update_account(account_id, **changes))
