"""How far a backup or a restore is, by what PostgreSQL's programs say. Part of `backups`."""

from __future__ import annotations

from pathlib import Path

from scheduler_svc.live_line import LiveLine


class DumpProgress:
    """Follows `pg_dump`: how large its file is, and which table it reads."""

    def __init__(self, line: LiveLine, file: Path) -> None:
        self._line = line
        self._file = file
        self._table = "the database"

    def said(self, line: str) -> None:
        if "dumping contents of table" in line:
            self._table = line.rpartition(" ")[2].strip('"')

    def tick(self) -> None:
        self._line.show(f"{size(self._file.stat().st_size)} written, reading {self._table}")


class RestoreProgress:
    """How many of so many steps are done, and which one it is at."""

    def __init__(self, line: LiveLine, steps: int) -> None:
        self._line = line
        self._steps = steps
        self._done = -1
        self.step = "beginning"

    def at(self, kind: str, name: str) -> None:
        """A step begins, such as `TABLE` of `tasks`."""
        self._done += 1
        self.step = f"{kind} {name}"
        self.tick()

    def tick(self) -> None:
        """Shows it, now and then."""
        self._line.show(f"{max(0, self._done)} of {self._steps} steps done: {self.step}")


def size(n: int) -> str:
    """`1536` → `1.5 KiB`."""
    amount = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
