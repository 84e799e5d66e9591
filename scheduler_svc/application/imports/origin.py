"""Where an import comes from, and what it has taken already. Part of `application.imports`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from scheduler_svc.application.import_ports import OldApplication


@dataclass(frozen=True, slots=True)
class Origin:
    """The old application, and the number under which what comes from it is remembered.

    `dry_run`: nothing is stored, and what would be taken is remembered for this run alone.
    """

    old: OldApplication
    source_id: int
    dry_run: bool


class Missed(NamedTuple):
    """A row that was left out, and why."""

    old_id: int
    reason: str


class Stored(NamedTuple):
    """What a transaction left out, and how many contents it took beside its own rows."""

    missed: list[Missed]
    with_contents: int = 0
