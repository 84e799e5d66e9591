"""`contentgen context list|use|set|show|delete`. Layer: commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from contentgen.cli import contexts
from contentgen.cli.cells import line
from contentgen.cli.command import local_command
from contentgen.cli.completion import context_names
from contentgen.cli.connection import Target
from contentgen.cli.documents import Document
from contentgen.cli.output import Column, Output, fields

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The context.", show_default=False, autocompletion=context_names)
]
OneOrCurrent = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Default: the current one.", show_default=False, autocompletion=context_names),
]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", "-s", metavar="HOST:PORT", help="Where it is.", show_default=False)
]
Account = Annotated[
    int | None,
    typer.Option("--account", "-a", min=0, metavar="ID", help="The account; 0: none.", show_default=False),
]
TokenFile = Annotated[str | None, typer.Option(metavar="FILE", help="File that holds the token.", show_default=False)]
Ca = Annotated[
    str | None, typer.Option("--tls-ca", metavar="FILE", help="PEM file of its authority.", show_default=False)
]
Cert = Annotated[
    str | None, typer.Option("--tls-client-cert", metavar="FILE", help="Our certificate.", show_default=False)
]
Key = Annotated[str | None, typer.Option("--tls-client-key", metavar="FILE", help="Its key.", show_default=False)]

_FILES = frozenset({"token_file", "tls_ca", "tls_client_cert", "tls_client_key"})
_COLUMNS = (
    Column("", lambda it: "*" if it["current"] else ""),
    Column("NAME", lambda it: line(it["name"])),
    Column("SCHEDULER", lambda it: line(it["scheduler"])),
    Column("ACCOUNT", lambda it: line(it["account"]), right=True),
)


def add_to(app: typer.Typer) -> None:
    """All of them."""
    local_command(app, "list", "contentgen context list")(list_)
    local_command(app, "use", "contentgen context use production")(use)
    local_command(
        app,
        "set",
        "contentgen context set local --scheduler 127.0.0.1:50051 --account 1",
        "contentgen context set production -s 10.0.0.5:50051 --tls-ca ca.pem --token-file token",
        "contentgen context set production --account 0",
    )(set_)
    local_command(app, "show", "contentgen context show", "contentgen context show production")(show)
    local_command(app, "delete", "contentgen context delete production")(delete)


def list_(output: Output) -> None:
    """List the contexts; the current one has a star."""
    held = contexts.load()
    output.many((_document(held, name) for name in sorted(held.by_name)), _COLUMNS, "contexts")


def use(output: Output, name: Name) -> None:
    """Make a context the current one: commands use it from now on."""
    held = contexts.load()
    held.get(name)
    held.current = name
    contexts.save(held)
    output.text(f"the context is {name}", _document(held, name))


def set_(
    output: Output,
    name: Name,
    scheduler: Scheduler = None,
    account: Account = None,
    token_file: TokenFile = None,
    tls_ca: Ca = None,
    tls_client_cert: Cert = None,
    tls_client_key: Key = None,
) -> None:
    """Make a context, or change what is given of it; an empty value takes a setting away.

    The first context becomes the current one. A context holds no secret: it names the file of the token.
    """
    given = {
        "scheduler": scheduler,
        "account": None if account is None else str(account or ""),
        "token_file": token_file,
        "tls_ca": tls_ca,
        "tls_client_cert": tls_client_cert,
        "tls_client_key": tls_client_key,
    }
    if not name.strip():
        raise typer.BadParameter("give the context a name")
    held = contexts.load()
    settings = held.by_name.get(name, {}) | {key: _kept(key, it) for key, it in given.items() if it is not None}
    settings = {key: value for key, value in settings.items() if value}
    if not settings:
        raise typer.BadParameter("give what the context is to hold, such as --scheduler HOST:PORT")
    Target.of({contexts.SETTINGS[key]: value for key, value in settings.items()})
    held.by_name[name] = settings
    held.current = held.current or name
    contexts.save(held)
    output.one(_document(held, name), _show)


def show(output: Output, name: OneOrCurrent = None) -> None:
    """Show a context."""
    held = contexts.load()
    chosen = name or held.current
    if chosen is None:
        raise typer.BadParameter("no context is current: `contentgen context use NAME`")
    held.get(chosen)
    output.one(_document(held, chosen), _show)


def delete(output: Output, name: Name) -> None:
    """Delete a context. The files that it names stay."""
    held = contexts.load()
    held.get(name)
    del held.by_name[name]
    held.current = None if held.current == name else held.current
    contexts.save(held)
    output.text(f"context {name} is deleted", {"name": name, "deleted": True})


def _kept(key: str, value: str) -> str:
    """A file is found from any folder."""
    return str(Path(value).expanduser().absolute()) if value and key in _FILES else value


def _document(held: contexts.Contexts, name: str) -> Document:
    settings = {key: held.by_name[name].get(key) for key in contexts.SETTINGS}
    return {"name": name, "current": held.current == name, **settings}


def _show(to: Console, it: Document) -> None:
    shown = [(key.replace("_", " "), line(it[key])) for key in contexts.SETTINGS]
    fields(to, [("context", line(it["name"])), ("current", "yes" if it["current"] else "no"), *shown])
