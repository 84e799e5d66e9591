"""What an import tells: its progress on stderr, rows that were left out and the sums at the end on stdout."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TextIO

from old_application.old_rows import RowKind
from scheduler_svc.live_line import LiveLine

_BAR = 30
_PLURALS = {
    RowKind.ACCOUNT: "accounts",
    RowKind.TASK: "tasks",
    RowKind.CONTENT: "contents",
    RowKind.POOL_ENTRY: "pool entries",
}


@dataclass(slots=True)
class ImportTally:
    """How many rows of a kind were imported by this run, by earlier ones, and left out."""

    taken: int = 0
    before: int = 0
    left_out: int = 0


class ImportProgress:
    """Is told of each row once, after its transaction. Shows a bar on a terminal, else a line from time to time."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._line = LiveLine(err)
        self._tallies: dict[RowKind, ImportTally] = {}
        self._name = ""
        self._total = self._done = 0
        self._begun = 0.0

    def begins(self, kind: RowKind, total: int) -> None:
        self._name, self._total, self._done = _PLURALS[kind], total, 0
        self._begun = time.monotonic()
        self._line.begin()

    def moved(self, rows: int) -> None:
        self._done += rows
        seconds = time.monotonic() - self._begun
        share = min(1.0, self._done / self._total) if self._total else 1.0
        rate = self._done / seconds if seconds > 0 else 0.0
        bar = ("#" * round(share * _BAR)).ljust(_BAR, ".")
        text = f"{self._name} {self._done:,} of {self._total:,} ({share:.0%}, {rate:,.0f}/s)"
        self._line.show(text, bar=f"[{bar}] ")

    def left_out(self, kind: RowKind, old_id: int, reason: str) -> None:
        self._line.clear()
        print(f"left out: {kind.label} {old_id}: {reason}", file=self._out)

    def without_id(self, kind: RowKind, rows: int) -> None:
        self._line.clear()
        reason = "their ids are not whole numbers of at most 18 digits"
        print(f"left out: {rows:,} {_PLURALS[kind]}: {reason}", file=self._out)

    def ends(self, kind: RowKind, tally: ImportTally) -> None:
        self._line.clear()
        self._tallies[kind] = tally

    def sums(self, *, dry_run: bool) -> None:
        """Prints the table at the end."""
        verb = "to take" if dry_run else "taken"
        print(f"{'':<14}{verb:>12}{'before':>12}{'left out':>12}", file=self._out)
        for kind, tally in self._tallies.items():
            numbers = f"{tally.taken:>12,}{tally.before:>12,}{tally.left_out:>12,}"
            print(f"{_PLURALS[kind]:<14}{numbers}", file=self._out)
        if dry_run:
            print("Nothing was written.", file=self._out)
