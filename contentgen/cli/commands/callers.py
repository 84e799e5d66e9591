"""`contentgen whoami`, `contentgen token list|revoke`, `contentgen audit list`: who may call what, and who made which
call. Layer: commands.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from rich.console import Console

from contentgen.cli import cells, completion, tables, values
from contentgen.cli.command import Commands, Session
from contentgen.cli.lists import write_list
from contentgen.cli.options import All, Limit, OnlyAccount, PageToken, Yes
from contentgen.cli.output import Document, broken, document, fields
from contentgen.cli.values import argument, option

_BESIDE = 20
"""The width of the longest name before the methods of a service, and some."""


command, audit_command, token_command = Commands(), Commands(), Commands()
TokenName = Annotated[str, argument("NAME", "As `token list` shows it.", autocompletion=completion.token_names)]


@command("whoami", "contentgen whoami", "contentgen -o json whoami | jq -r '.methods[]'")
def whoami(session: Session) -> None:
    """Show whose the token is, and which RPCs it may call.

    Every role may ask. All other calls are refused, whatever they are about.
    """
    session.output.one(document(session.client.get_caller()), _write)


def _write(console: Console, caller: Document) -> None:
    width = console.width if console.is_terminal else None
    names_by_service: dict[str, list[str]] = defaultdict(list)
    for method in caller["methods"]:
        service, _, name = cells.line(method).rpartition("/")
        names_by_service[service].append(name)
    facts = {
        "name": cells.line(caller["name"]),
        "role": cells.line(caller["role"]),
        "accounts": ", ".join(map(str, caller["account_ids"])) or "all",
        "tokens": "" if caller["token_required"] else "none are required: every caller may call everything",
    }
    methods = {
        service: "\n".join(broken(", ".join(names), width, _BESIDE)) for service, names in names_by_service.items()
    }
    fields(console, [*facts.items(), *methods.items()])


@token_command("list", "contentgen token list", "contentgen -o jsonl token list | jq 'select(.role == \"operator\")'")
def list_tokens(session: Session, limit: Limit = None, all_: All = False, page_token: PageToken = "") -> None:
    """List the tokens by their names: whose they are, and what they may do; never a token itself."""
    write_list(session, session.client.iter_tokens(), tables.TOKENS, "tokens", limit, all_, page_token)


@token_command("revoke", "contentgen token revoke former-colleague")
def revoke(session: Session, name: TokenName, yes: Yes = False) -> None:
    """Revoke all tokens of a name, for good; within seconds no scheduler knows them any more.

    On a terminal it prompts before that. `contentgen-scheduler token create` makes new ones.
    """
    session.confirm(f"Revoke the tokens named {name}? What uses them is refused.", yes=yes)
    session.output.many([document(session.client.revoke_token(name))], tables.TOKENS, "tokens")


Actor = Annotated[str, option("Only of the token, or the person, of this name.", metavar="NAME")]
Method = Annotated[str, option("Only of this RPC, such as TaskService/CancelTask.", metavar="RPC")]
Since = Annotated[str | None, option("Only then or later; local without a zone.", metavar="TIME")]
Until = Annotated[str | None, option("Only earlier than that.", metavar="TIME")]


@audit_command(
    "list",
    "contentgen audit list --since 2026-01-31",
    "contentgen audit list --account 1 --actor editor --all",
    "contentgen -o jsonl audit list --method ContentService/DeleteContent | jq -r .resource",
)
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
    write_list(session, pages, tables.AUDIT_EVENTS, "calls", limit, all_, page_token)
