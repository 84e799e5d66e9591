"""The progress of a backup or a restore, from the output of PostgreSQL's programs. Part of `backups`."""

from __future__ import annotations

from pathlib import Path

from scheduler_svc.live_line import LiveLine


class DumpProgress:
    """Follows `pg_dump`: shows the size of its file, and the table that it reads."""

    def __init__(self, line: LiveLine, file: Path) -> None:
        self._line = line
        self._file = file
        self._table = "the database"

    def on_line(self, line: str) -> None:
        if "dumping contents of table" in line:
            self._table = line.rpartition(" ")[2].strip('"')

    def tick(self) -> None:
        self._line.show(f"{size(self._file.stat().st_size)} written, reading {self._table}")


class RestoreProgress:
    """Shows how many steps of how many are done, and the present one."""

    def __init__(self, line: LiveLine, steps: int) -> None:
        self._line = line
        self._steps = steps
        self._done = -1
        self.step = "beginning"

    def at(self, kind: str, name: str) -> None:
        """Begins a step, such as `TABLE` `tasks`."""
        self._done += 1
        self.step = f"{kind} {name}"
        self.tick()

    def tick(self) -> None:
        """Shows the progress, from time to time."""
        self._line.show(f"{max(0, self._done)} of {self._steps} steps done: {self.step}")


def size(n: int) -> str:
    """`1536` → `1.5 KiB`."""
    amount = float(n)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
