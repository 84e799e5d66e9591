"""What `import` shows: rows that were left out and the sums on the standard output, how far it is on the other.

Part of `scheduler_svc.importer`.
"""

from __future__ import annotations

import time
from typing import TextIO

from scheduler_svc.application.imports import Tally
from scheduler_svc.domain.old_rows import Kind

_BAR = 30
_EACH = 0.2
_EACH_WITHOUT_TERMINAL = 10.0
_PLURALS = {Kind.ACCOUNT: "accounts", Kind.TASK: "tasks", Kind.CONTENT: "contents", Kind.POOL_ENTRY: "pool entries"}


class Report:
    """Implements `application.imports.Listener`. How far it is: a bar on a terminal, else a line now and then."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out = out
        self._bar = _Bar(err)
        self._tallies: dict[Kind, Tally] = {}

    def begins(self, kind: Kind, total: int) -> None:
        self._bar.begin(_PLURALS[kind], total)

    def moved(self, rows: int) -> None:
        self._bar.move(rows)

    def left_out(self, kind: Kind, old_id: int, reason: str) -> None:
        self._bar.clear()
        print(f"left out: {kind.label} {old_id}: {reason}", file=self._out)

    def ends(self, kind: Kind, tally: Tally) -> None:
        self._bar.clear()
        self._tallies[kind] = tally

    def sums(self, *, dry_run: bool) -> None:
        """The table at the end."""
        verb = "to take" if dry_run else "taken"
        print(f"{'':<14}{verb:>12}{'before':>12}{'left out':>12}", file=self._out)
        for kind, tally in self._tallies.items():
            numbers = f"{tally.taken:>12,}{tally.before:>12,}{tally.left_out:>12,}"
            print(f"{_PLURALS[kind]:<14}{numbers}", file=self._out)
        if dry_run:
            print("Nothing was written.", file=self._out)


class _Bar:
    """How many rows of how many, and how fast."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._terminal = err.isatty()
        self._name = ""
        self._total = self._done = 0
        self._begun = self._shown = 0.0

    def begin(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._begun = time.monotonic()
        self._shown = self._begun if not self._terminal else 0.0

    def move(self, rows: int) -> None:
        self._done += rows
        now = time.monotonic()
        if now - self._shown >= (_EACH if self._terminal else _EACH_WITHOUT_TERMINAL):
            self._shown = now
            self._show(now - self._begun)

    def clear(self) -> None:
        if self._terminal:
            self._err.write("\r\033[K")
            self._err.flush()

    def _show(self, seconds: float) -> None:
        share = min(1.0, self._done / self._total) if self._total else 1.0
        rate = self._done / seconds if seconds > 0 else 0.0
        text = f"{self._name} {self._done:,} of {self._total:,} ({share:.0%}, {rate:,.0f}/s)"
        if self._terminal:
            bar = ("#" * round(share * _BAR)).ljust(_BAR, ".")
            self._err.write(f"\r\033[K[{bar}] {text}")
        else:
            self._err.write(f"{text}\n")
        self._err.flush()
