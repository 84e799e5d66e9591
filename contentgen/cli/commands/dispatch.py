"""`contentgen dispatch status|pause|resume`. Layer: commands."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from contentgen.cli.command import Session, command
from contentgen.cli.documents import Document, document
from contentgen.cli.options import account_option
from contentgen.cli.output import fields

Account = Annotated[int | None, account_option("The switch of this account.")]
Everything = Annotated[bool, typer.Option("--all", help="The switch of everything.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands of dispatch to `app`."""
    command(app, "status", "contentgen dispatch status", "contentgen -o json dispatch status | jq .all_paused")(status)
    command(app, "pause", "contentgen dispatch pause --account 1", "contentgen dispatch pause --all")(pause)
    command(app, "resume", "contentgen dispatch resume --account 1", "contentgen dispatch resume --all")(resume)


def status(session: Session) -> None:
    """Show whether dispatch is paused, of everything and of accounts."""
    session.output.one(document(session.client.get_dispatch_status()), _status)


def _status(console: Console, dispatch: Document) -> None:
    accounts = ", ".join(map(str, dispatch["paused_account_ids"]))
    fields(
        console,
        [
            ("everything", Text("paused", "yellow") if dispatch["all_paused"] else Text("on", "green")),
            ("paused accounts", accounts or "none"),
        ],
    )


def pause(session: Session, account: Account = None, all_: Everything = False) -> None:
    """Dispatch no more tasks, of an account or of everything, until `resume`.

    Running tasks continue, and submits are taken. The two switches are separate: a task waits while either is on. It
    lasts over restarts.
    """
    account_id = _account_id(account, all_)
    session.client.pause_dispatch(account_id)
    _say(session, account_id, paused=True)


def resume(session: Session, account: Account = None, all_: Everything = False) -> None:
    """Dispatch tasks again. It takes back the pause of the same switch only."""
    account_id = _account_id(account, all_)
    session.client.resume_dispatch(account_id)
    _say(session, account_id, paused=False)


def _account_id(account: int | None, everything: bool) -> int:
    """Returns the account of the switch; 0 is that of everything, which nobody should name by accident."""
    if (account is not None) == everything:
        raise typer.BadParameter("give either --account ID or --all")
    return account or 0


def _say(session: Session, account_id: int, *, paused: bool) -> None:
    subject = f"account {account_id}" if account_id else "everything"
    text = f"dispatch of {subject} is {'paused' if paused else 'on again'}"
    session.output.text(text, {"account_id": account_id or None, "paused": paused})
