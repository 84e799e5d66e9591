"""`contentgen context list|use|set|show|delete`. Layer: commands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from contentgen.cli import contexts
from contentgen.cli.cells import line
from contentgen.cli.command import Commands
from contentgen.cli.completion import context_names
from contentgen.cli.connection import target_of
from contentgen.cli.options import given_values, stands_for
from contentgen.cli.output import Column, Document, Output, fields
from contentgen.cli.values import argument, option

Name = Annotated[str, argument("NAME", "The context.", autocompletion=context_names)]
OneOrCurrent = Annotated[str | None, argument("NAME", "Default: the current one.", autocompletion=context_names)]
_SETTINGS = {
    "scheduler": Annotated[str | None, option("Where it is.", "--scheduler", "-s", metavar="HOST:PORT")],
    "account": Annotated[int | None, option("The account; 0: none.", "--account", "-a", min=0, metavar="ID")],
    "token_file": Annotated[str | None, option("File that holds the token.", metavar="FILE")],
    "tls_ca": Annotated[str | None, option("PEM file of its authority.", metavar="FILE")],
    "tls_client_cert": Annotated[str | None, option("Our certificate.", metavar="FILE")],
    "tls_client_key": Annotated[str | None, option("Its key.", metavar="FILE")],
}

_FILES = frozenset({"token_file", "tls_ca", "tls_client_cert", "tls_client_key"})
_COLUMNS = (
    Column("", lambda context: "*" if context["current"] else ""),
    Column("NAME", lambda context: line(context["name"])),
    Column("SCHEDULER", lambda context: line(context["scheduler"])),
    Column("ACCOUNT", lambda context: line(context["account"]), right=True),
)


command = Commands(local=True)


@command("list", "contentgen context list")
def list_(output: Output) -> None:
    """List the contexts; the current one has a star."""
    all_contexts = contexts.load()
    output.many((_document(all_contexts, name) for name in sorted(all_contexts.by_name)), _COLUMNS, "contexts")


@command("use", "contentgen context use production")
def use(output: Output, name: Name) -> None:
    """Make a context the current one: commands use it from now on."""
    all_contexts = contexts.load()
    all_contexts.get(name)
    all_contexts.current = name
    contexts.save(all_contexts)
    output.text(f"the context is {name}", _document(all_contexts, name))


@command(
    "set",
    "contentgen context set local --scheduler 127.0.0.1:50051 --account 1",
    "contentgen context set production -s 10.0.0.5:50051 --tls-ca ca.pem --token-file token",
    "contentgen context set production --account 0",
)
@stands_for("changes", _SETTINGS, given_values)
def set_(output: Output, name: Name, *, changes: Mapping[str, Any]) -> None:
    """Make a context, or change what is given of it; an empty value takes a setting away.

    The first context becomes the current one. A context holds no secret: it names the file of the token.
    """
    if not name.strip():
        raise typer.BadParameter("give the context a name")
    all_contexts = contexts.load()
    settings = all_contexts.by_name.get(name, {}) | {key: _kept(key, value) for key, value in changes.items()}
    settings = {key: value for key, value in settings.items() if value}
    if not settings:
        raise typer.BadParameter("give what the context is to hold, such as --scheduler HOST:PORT")
    target_of({contexts.SETTINGS[key]: value for key, value in settings.items()})
    all_contexts.by_name[name] = settings
    all_contexts.current = all_contexts.current or name
    contexts.save(all_contexts)
    output.one(_document(all_contexts, name), _show)


@command("show", "contentgen context show", "contentgen context show production")
def show(output: Output, name: OneOrCurrent = None) -> None:
    """Show a context."""
    all_contexts = contexts.load()
    context_name = name or all_contexts.current
    if context_name is None:
        raise typer.BadParameter("no context is current: `contentgen context use NAME`")
    all_contexts.get(context_name)
    output.one(_document(all_contexts, context_name), _show)


@command("delete", "contentgen context delete production")
def delete(output: Output, name: Name) -> None:
    """Delete a context. The files that it names stay."""
    all_contexts = contexts.load()
    all_contexts.get(name)
    del all_contexts.by_name[name]
    all_contexts.current = None if all_contexts.current == name else all_contexts.current
    contexts.save(all_contexts)
    output.text(f"context {name} is deleted", {"name": name, "deleted": True})


def _kept(key: str, value: str | int) -> str:
    """Makes the path of a file absolute, so that it is found from any folder. Empty: nothing is kept."""
    return str(Path(str(value)).expanduser().absolute()) if value and key in _FILES else str(value or "")


def _document(all_contexts: contexts.Contexts, name: str) -> Document:
    settings = {key: all_contexts.by_name[name].get(key) for key in contexts.SETTINGS}
    return {"name": name, "current": all_contexts.current == name, **settings}


def _show(console: Console, context: Document) -> None:
    settings = [(key.replace("_", " "), line(context[key])) for key in contexts.SETTINGS]
    fields(console, [("context", line(context["name"])), ("current", "yes" if context["current"] else "no"), *settings])
