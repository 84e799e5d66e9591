"""The files that a server writes: `postmaster.pid`, its socket and its log.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SOCKET_NAME = ".s.PGSQL.5432"
_CONNECT_TIMEOUT = 2.0
_STATUS_LINES = 8
MAX_LOG_BYTES = 10_000_000
_TAIL_BYTES = 1_000


@dataclass(frozen=True)
class ServerStatus:
    """`socket_folder`, `ready` and `stopping` are what the file says; a killed server leaves them as they were."""

    pid: int
    socket_folder: Path
    ready: bool
    stopping: bool

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Reads the status; returns None while there is no file, or while it is still being written."""
        try:
            lines = [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return None
        if len(lines) < _STATUS_LINES or not lines[0].isdigit():
            return None
        return cls(int(lines[0]), Path(lines[4]), ready=lines[7] == "ready", stopping=lines[7] == "stopping")


def accepts_connections(socket_folder: Path) -> bool:
    """Returns whether a process listens on the server's socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_CONNECT_TIMEOUT)
        try:
            client.connect(str(socket_folder / SOCKET_NAME))
        except OSError:
            return False
        return True


def trim_log(log: Path) -> None:
    """Rename a log above the limit to `….1`, and begin a new one; not for a log in use."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def tail_log(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
