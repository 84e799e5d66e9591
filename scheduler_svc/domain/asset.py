"""Assets: files that contents name, stored once per SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

MAX_BYTES = 32 * 1024 * 1024
MAX_NAMED = 100
"""Assets of a content; and as many entries of what was left out."""
MAX_NAME = 200
MAX_SOURCE = 500
"""Characters of what the CLI named and was left out."""
KEPT_UNNAMED = timedelta(days=7)
"""How long an asset stays that no content names, since it was uploaded or the last content that named it was deleted.

A backup takes less, and what was uploaded is named sooner.
"""


class NamedAsset(NamedTuple):
    """A file that a result names. `sha256` is lower-case hex."""

    name: str
    sha256: str


class LeftOut(NamedTuple):
    """What a result names and is not stored, as the CLI named it, and why."""

    name: str
    reason: str


NOT_UPLOADED = "NOT_FOUND"
"""The reason of an asset that a result names and that is not stored."""
OUTSIDE = "OUTSIDE_FOLDER"
"""The reason of an asset whose name leads elsewhere."""


def stays_below(name: str) -> bool:
    """Returns whether an asset's name, as a path, leads to a place below the folder where it is put, on any system."""
    return not (name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"))


class Media(NamedTuple):
    """What a file is, by its content. Pixels; None if it is no picture."""

    media_type: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset as a content names it."""

    name: str
    sha256: str
    media_type: str
    size: int
    width: int | None
    height: int | None
