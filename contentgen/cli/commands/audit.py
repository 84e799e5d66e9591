"""`contentgen audit list`. Layer: commands."""

from __future__ import annotations

from typing import Annotated

import typer

from contentgen.cli import tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.lists import Listing
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken

Actor = Annotated[
    str, typer.Option("--actor", metavar="NAME", help="Only of the token of this name.", show_default=False)
]
Method = Annotated[
    str,
    typer.Option(
        "--method", metavar="RPC", help="Only of this RPC, such as TaskService/CancelTask.", show_default=False
    ),
]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only then or later; local without a zone.", show_default=False),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Only earlier than that.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    command(
        app,
        "list",
        "contentgen audit list --since 2026-01-31",
        "contentgen audit list --account 1 --actor editor --all",
        "contentgen -o jsonl audit list --method ContentService/DeleteContent | jq -r .resource",
    )(list_)


def list_(
    session: Session,
    account: OnlyAccount = None,
    actor: Actor = "",
    method: Method = "",
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    all_: All = False,
    page_token: PageToken = "",
) -> None:
    """List the calls that may have changed something, refused ones too, the newest first.

    What schedulers and workers do by themselves is no call: `contentgen task events` shows it.
    """
    pages = session.client.iter_audit_events(
        session.accounts(account),
        actor=actor,
        method=method,
        start_time=values.moment(since),
        end_time=values.moment(until),
    )
    Listing(session, pages, limit=limit, all_=all_, page_token=page_token).write(tables.AUDIT_EVENTS, "calls")
