"""The server's own log, kept bounded.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

from pathlib import Path

LIMIT_BYTES = 10_000_000
_TAIL_BYTES = 1_000


def trim(log: Path) -> None:
    """Keep a log above the limit as `….1` (in place of the one before) and begin a new one; not for a log in use."""
    if log.exists() and log.stat().st_size > LIMIT_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def tail(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
