"""How options are declared, and what their text may mean: durations, times, labels, states.

Each reader raises typer.BadParameter with what it should be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from google.protobuf.descriptor import EnumDescriptor

from contentgen.client import documents

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|min|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_DURATION = 3_650 * 86_400.0


def option(help_: str, *flags: str, **settings: Any) -> Any:
    """Returns an option whose help names its default, if any. Without `flags` its parameter's name is its flag."""
    return typer.Option(*flags, help=help_, show_default=False, **settings)


def argument(metavar: str, help_: str, **settings: Any) -> Any:
    return typer.Argument(metavar=metavar, help=help_, show_default=False, **settings)


def seconds(text: str) -> float:
    """Reads a duration such as `90`, `90s`, `2m` or `1h`."""
    match = _DURATION.fullmatch(text.strip())
    value = float(match[1]) * _UNITS[match[2] or "s"] if match else -1.0
    if not 0 <= value <= _MAX_DURATION:
        raise typer.BadParameter(f"{text!r} should be a duration such as 90, 90s, 2m, 1h or 7d")
    return value


def moment(text: str | None) -> datetime | None:
    return None if text is None else time(text)


def time(text: str) -> datetime:
    """Reads an ISO 8601 time, local where it names no zone, or `+2h` from now; returns it in UTC."""
    if text.startswith("+"):
        return datetime.now(UTC) + timedelta(seconds=seconds(text[1:]))
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} should be a time such as 2030-01-31T08:00, 2030-01-31T08:00+08:00 or +2h"
        ) from None


def pairs(texts: Iterable[str] | None) -> dict[str, str]:
    """Reads texts such as `key=value`; of equal keys the last one holds."""
    return dict(map(pair, texts or ()))


def pair(text: str) -> tuple[str, str]:
    """Reads `key=value`; the value may hold more `=`."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{text!r} should be KEY=VALUE")
    return key, value


def states(enum: EnumDescriptor, texts: Sequence[str]) -> list[Any]:
    """Returns the names of states, as the client's types have them; each text may be several by comma."""
    names = [name.strip().lower() for text in texts for name in text.split(",")]
    try:
        for name in names:
            documents.value(enum, name)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return names
