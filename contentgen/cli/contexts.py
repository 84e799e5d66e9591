"""Contexts: named settings of a scheduler and an account, in a file of the user's.

Layer: the bottom of cli. Secrets are not in it: a context names the file of a token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import typer

SETTINGS: Mapping[str, str] = {
    "scheduler": "CONTENTGEN_SCHEDULER",
    "account": "CONTENTGEN_ACCOUNT",
    "token_file": "CONTENTGEN_TOKEN_FILE",
    "tls_ca": "CONTENTGEN_TLS_CA",
    "tls_client_cert": "CONTENTGEN_TLS_CLIENT_CERT",
    "tls_client_key": "CONTENTGEN_TLS_CLIENT_KEY",
}
"""What a context may hold, and the variable that each setting stands in for."""


@dataclass
class Contexts:
    """The contexts that the file holds, and the name of the current one."""

    current: str | None = None
    by_name: dict[str, dict[str, str]] = field(default_factory=dict)

    def get(self, name: str) -> dict[str, str]:
        """Returns the settings of a context. Raises BadParameter if there is no such context."""
        if name not in self.by_name:
            names = ", ".join(sorted(self.by_name)) or "none yet: `contentgen context set NAME --scheduler HOST:PORT`"
            raise typer.BadParameter(f"there is no context {name!r}; there are: {names}")
        return self.by_name[name]


def path() -> Path:
    """Returns the file of the contexts, below XDG_CONFIG_HOME or ~/.config."""
    root = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(root).expanduser() / "contentgen" / "contexts.json"


def load() -> Contexts:
    """Reads the file of the contexts; without a file there are none. Raises BadParameter if it can't be read."""
    try:
        data = json.loads(path().read_text(encoding="utf-8"))
        return Contexts(data["current"], {name: dict(settings) for name, settings in data["contexts"].items()})
    except FileNotFoundError:
        return Contexts()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise typer.BadParameter(f"{path()} should be a file of contexts: {error}") from None


def save(contexts: Contexts) -> None:
    """Writes the file whole, or leaves it as it was. Raises BadParameter if it can't be written."""
    file = path()
    new_file = file.with_suffix(".new")
    text = json.dumps({"current": contexts.current, "contexts": contexts.by_name}, indent=2, ensure_ascii=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new_file.write_text(text + "\n", encoding="utf-8")
        new_file.replace(file)
    except OSError as error:
        raise typer.BadParameter(f"{file} can't be written: {error.strerror}") from None


def variables(name: str | None, flags: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the settings of a context, by the variables that they stand in for.

    Args:
        name: the requested context; None: the current one, if there is one, unless a scheduler is given by a flag or
            its variable: that one must not get the current context's token.
        flags: by the name of their variable.

    Raises:
        typer.BadParameter: no such context.
    """
    contexts = load()
    scheduler = flags.get("CONTENTGEN_SCHEDULER") or os.environ.get("CONTENTGEN_SCHEDULER")
    chosen_name = name or (None if scheduler else contexts.current)
    settings = contexts.get(chosen_name) if chosen_name else {}
    return {SETTINGS[key]: value for key, value in settings.items() if key in SETTINGS}
