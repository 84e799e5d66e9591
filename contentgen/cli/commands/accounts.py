"""`contentgen account create|list|show|update|costs|erase|export|import`. Layer: commands."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from contentgen.account_fields import FIELDS
from contentgen.cli import tables
from contentgen.cli.command import Commands, Session
from contentgen.cli.commands.workers import pauses
from contentgen.cli.completion import account_ids
from contentgen.cli.failures import Failure, Status
from contentgen.cli.lists import write_list
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, Yes, with_options
from contentgen.cli.output import Document, document
from contentgen.cli.values import argument, option

AccountId = Annotated[int, argument("ACCOUNT_ID", "The account.", min=1, autocompletion=account_ids)]
Name = Annotated[str, argument("NAME", "For people; need not be unique.")]
Since = Annotated[str, option("The first month, such as 2026-01; without it, this one.", metavar="MONTH")]
CountOnly = Annotated[bool, option("Only count what it has.", "--dry-run")]
ToFile = Annotated[Path, argument("FILE", "The archive.")]

_COSTS = ("account_id", "account", "month", "model", "contents", "cost", "currency")

command = Commands()


@command(
    "create",
    "contentgen account create newsroom",
    "contentgen account create newsroom --max-concurrent-tasks 4 --weight 2",
    "contentgen account create bulk --max-pending-tasks 10000 --max-priority 3 --max-starts-per-minute 60",
)
@with_options([field for field in FIELDS if field.name not in {"name", "active"}], defaults=False)
def create(session: Session, name: Name, *, given: Mapping[str, Any]) -> None:
    """Make an account, active at once."""
    _show(session, session.client.create_account(name, **given))


@command("list", "contentgen account list", "contentgen -o jsonl account list | jq 'select(.active | not)'")
def list_(session: Session, limit: Limit = None, all_: All = False, page_token: PageToken = "") -> None:
    """List accounts by their id, inactive ones too, and whether their dispatch is paused."""
    dispatch = pauses(session.connection)

    def row(account: Document) -> Document:
        return {**account, "paused": account["account_id"] in dispatch["paused_account_ids"]}

    accounts = session.client.iter_accounts()
    write_list(session, accounts, tables.ACCOUNTS, "accounts", limit, all_, page_token, row=row)
    if session.output.tables and dispatch["all_paused"]:
        session.output.note(
            "dispatch of everything is paused: `contentgen dispatch resume --all` dispatches tasks again"
        )


@command("show", "contentgen account show 1")
def show(session: Session, account_id: AccountId) -> None:
    """Show an account."""
    _show(session, session.client.get_account(account_id))


def _show(session: Session, account: Message) -> None:
    fields = document(account)
    paused = fields["account_id"] in pauses(session.connection)["paused_account_ids"]
    session.output.one({**fields, "paused": paused}, tables.account)


@command(
    "update",
    "contentgen account update 1 --max-concurrent-tasks 8",
    "contentgen account update 1 --max-starts-per-minute 0",
    "contentgen account update 1 --inactive",
    "contentgen account update 1 --active --weight 0.5 --name archive",
)
@with_options(FIELDS, defaults=False)
def update(session: Session, account_id: AccountId, *, given: Mapping[str, Any]) -> None:
    """Change an account: only what is given. It holds for what is submitted and dispatched from now on.

    An inactive account submits nothing more; what was submitted continues.
    """
    if not given:
        flags = ", ".join(f"--{field.name.replace('_', '-')}" for field in FIELDS)
        raise typer.BadParameter(f"give what to change: {flags} or --inactive")
    _show(session, session.client.update_account(account_id, **given))


@command("costs", "contentgen account costs --since 2026-01", "contentgen account costs --account 1")
def costs(session: Session, account: OnlyAccount = None, since: Since = "") -> None:
    """Write what contents have cost as CSV: a line for each account, month (UTC) and model.

    It reads the contents that there are, newest first: what was deleted is missing. Costs are what creators said.
    """
    since = since or f"{datetime.now(UTC):%Y-%m}"
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", since):
        raise typer.BadParameter(f"--since {since!r} should be a month such as 2026-01")
    accounts = {it.account_id: it for it in session.client.iter_accounts()}
    sums: defaultdict[tuple[int, str, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for content in session.client.iter_contents(session.accounts(account)):
        month = f"{content.create_time.ToDatetime():%Y-%m}"
        if month < since:
            break
        total = sums[content.account_id, month, content.model]
        total[0] += 1
        total[1] += max(0.0, content.usage.get("cost", 0.0))
    writer = csv.writer(session.output.out.file, lineterminator="\n")
    writer.writerow(_COSTS)
    for (account_id, month, model), (number, cost) in sorted(sums.items()):
        owner = accounts.get(account_id) or session.client.get_account(account_id)
        writer.writerow([account_id, owner.name, month, model, int(number), round(cost, 6), owner.currency])


@command("erase", "contentgen account erase 7 --dry-run", "contentgen account erase 7")
def erase(session: Session, account_id: AccountId, dry_run: CountOnly = False, yes: Yes = False) -> None:
    """Erase an account with all that belongs to it, for good: tasks, contents, files, schedules, webhooks, audit.

    It deactivates the account first, and cancels its tasks, running ones too. On a terminal it prompts before that,
    with what there is. If it is interrupted, or a scheduler stops, run it again. Backups keep what they have.
    """
    counts = dict(session.client.erase_account(account_id, dry_run=True).counts)
    if dry_run:
        result = {"account_id": account_id, "counts": counts, "dry_run": True}
        session.output.text(f"would be erased: {_listed(counts)}", result)
        return
    session.confirm(f"Erase account {account_id} for good, with {_listed(counts)}?", yes=yes)
    answer = session.client.erase_account(account_id)
    while not answer.done:
        session.output.note(f"left: {_listed(answer.counts)}")
        answer = session.client.erase_account(account_id)
    result = {"account_id": account_id, "counts": counts, "dry_run": False}
    session.output.text(f"account {account_id} is erased", result)


@command("export", "contentgen account export 7 account-7.tar")
def export(session: Session, account_id: AccountId, file: ToFile) -> None:
    """Write an account with its tasks, history, contents and files into an archive, to move it or to keep it.

    To move it to a deployment with another CONTENTGEN_CELL, without anything lost or run twice:

    1. `contentgen dispatch pause --account 7`, and wait until nothing of it runs; it submits as before.

    2. `contentgen account update 7 --inactive`: its submits are refused from here on.

    3. `contentgen account export 7 FILE` here, `contentgen account import FILE` there. Create its webhooks there.

    4. There `contentgen account update 7 --active` and `contentgen dispatch resume --account 7`: its programs submit
    there, what was refused in between, too.

    5. Once all is well there: `contentgen account erase 7` here.
    """
    with _files():
        size = session.client.export_account(account_id, file)
    result = {"account_id": account_id, "file": str(file), "bytes": size}
    session.output.text(f"{file}: account {account_id}, {size:,} bytes", result)


@command("import", "contentgen account import account-7.tar")
def import_(session: Session, file: ToFile) -> None:
    """Store an account from an archive, with its ids; `contentgen account export --help` has the steps of a move.

    It is stored whole or not at all, active or paused as it was.
    """
    with _files():
        answer = session.client.import_account(file)
    account = document(answer.account)
    result = {"account": account, "counts": dict(answer.counts)}
    session.output.text(f"account {account['account_id']} is stored: {_listed(answer.counts)}", result)


@contextmanager
def _files() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(Status.FAILED, f"{error.filename}: {error.strerror}") from None


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
