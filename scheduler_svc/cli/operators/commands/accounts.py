"""`contentgen account create|list|show|update`. Layer: commands."""

from __future__ import annotations

from typing import Annotated

import typer
from contentgen.v1 import account_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from scheduler_svc.cli.operators import tables
from scheduler_svc.cli.operators.command import Session, command
from scheduler_svc.cli.operators.documents import document
from scheduler_svc.cli.operators.options import Limit, page_size
from scheduler_svc.cli.operators.output import first

AccountId = Annotated[int, typer.Argument(metavar="ACCOUNT_ID", min=1, help="The account.", show_default=False)]
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
    """All of them."""
    command(
        app,
        "create",
        "contentgen account create newsroom",
        "contentgen account create newsroom --max-concurrent-tasks 4 --weight 2",
    )(create)
    command(app, "list", "contentgen account list", "contentgen -o jsonl account list | jq 'select(.active | not)'")(
        list_
    )
    command(app, "show", "contentgen account show 1")(show)
    command(
        app,
        "update",
        "contentgen account update 1 --max-concurrent-tasks 8",
        "contentgen account update 1 --inactive",
        "contentgen account update 1 --active --weight 0.5 --name archive",
    )(update)


def create(session: Session, name: Name, max_concurrent_tasks: AtOnce = None, weight: Weight = None) -> None:
    """Make an account, active at once."""
    request = pb.CreateAccountRequest(name=name, max_concurrent_tasks=max_concurrent_tasks or 0, weight=weight)
    connection = session.connection
    session.output.one(document(connection.call(connection.accounts.CreateAccount, request).account), tables.account)


def list_(session: Session, limit: Limit = None) -> None:
    """List accounts by their id, inactive ones too."""
    connection = session.connection
    pages = connection.call.pages(connection.accounts.ListAccounts, pb.ListAccountsRequest(page_size=page_size(limit)))
    accounts = (document(account) for page in pages for account in page.accounts)
    session.output.many(first(accounts, limit), tables.ACCOUNTS, "accounts")


def show(session: Session, account_id: AccountId) -> None:
    """Show an account."""
    connection = session.connection
    request = pb.GetAccountRequest(account_id=account_id)
    session.output.one(document(connection.call(connection.accounts.GetAccount, request).account), tables.account)


def update(
    session: Session,
    account_id: AccountId,
    name: NewName = None,
    max_concurrent_tasks: AtOnce = None,
    weight: Weight = None,
    active: Active = None,
) -> None:
    """Change an account: only what is given. It holds for what is dispatched from now on.

    An inactive account submits nothing more; what was submitted goes on.
    """
    given = {"name": name, "max_concurrent_tasks": max_concurrent_tasks, "weight": weight, "active": active}
    changed = {field: value for field, value in given.items() if value is not None}
    if not changed:
        raise typer.BadParameter(
            "give what to change: --name, --max-concurrent-tasks, --weight, --active or --inactive"
        )
    account = pb.Account(account_id=account_id, **changed)  # type: ignore[arg-type] # each has its field's type
    request = pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=list(changed)))
    connection = session.connection
    session.output.one(document(connection.call(connection.accounts.UpdateAccount, request).account), tables.account)
