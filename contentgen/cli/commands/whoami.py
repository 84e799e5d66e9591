"""`contentgen whoami`. Layer: commands."""

from __future__ import annotations

from collections import defaultdict

import typer
from rich.console import Console

from contentgen.cli import cells
from contentgen.cli.command import Session, command
from contentgen.cli.documents import Document, document
from contentgen.cli.output import broken, fields

_BESIDE = 20
"""The width of the longest name before the methods of a service, and some."""


def add_to(app: typer.Typer) -> None:
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
