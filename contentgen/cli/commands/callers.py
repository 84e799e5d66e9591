"""`contentgen whoami`, `contentgen audit list`: who may call what, and who made which call. Layer: commands."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import typer
from rich.console import Console

from contentgen.cli import cells, tables, values
from contentgen.cli.command import Session, command
from contentgen.cli.lists import Listing
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken
from contentgen.cli.output import Document, broken, document, fields

_BESIDE = 20
"""The width of the longest name before the methods of a service, and some."""


def add_whoami_to(app: typer.Typer) -> None:
    """Adds the command `whoami` to `app`."""
    command(
        app,
        "whoami",
        "contentgen whoami",
        "contentgen -o json whoami | jq -r '.methods[]'",
    )(whoami)


def whoami(session: Session) -> None:
    """Show whose the token is, and which RPCs it may call.

    Every role may ask. All other calls are refused, whatever they are about.
    """
    session.output.one(document(session.client.get_caller()), _write)


def _write(console: Console, caller: Document) -> None:
    width = console.width if console.is_terminal else None
    fields(
        console,
        [
            ("name", cells.line(caller["name"])),
            ("role", cells.line(caller["role"])),
            ("accounts", ", ".join(map(str, caller["account_ids"])) or "all"),
            ("tokens", "" if caller["token_required"] else "none are required: every caller may call everything"),
            *(
                (service, "\n".join(broken(", ".join(names), width, _BESIDE)))
                for service, names in _by_service(caller["methods"]).items()
            ),
        ],
    )


def _by_service(methods: list[str]) -> dict[str, list[str]]:
    names_by_service: dict[str, list[str]] = defaultdict(list)
    for method in methods:
        service, _, name = cells.line(method).rpartition("/")
        names_by_service[service].append(name)
    return names_by_service


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


def add_audit_to(app: typer.Typer) -> None:
    """Adds the commands of the audit to `app`."""
    command(
        app,
        "list",
        "contentgen audit list --since 2026-01-31",
        "contentgen audit list --account 1 --actor editor --all",
        "contentgen -o jsonl audit list --method ContentService/DeleteContent | jq -r .resource",
    )(list_calls)


def list_calls(
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
